package journal

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// readOnlyFS is a mount on which nothing can be made, changed or removed.
type readOnlyFS struct{ vfs.FS }

func (readOnlyFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, syscall.EROFS }
func (readOnlyFS) Link(string, string) error                              { return syscall.EROFS }
func (readOnlyFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, syscall.EROFS
}
func (readOnlyFS) Remove(string) error                { return syscall.EROFS }
func (readOnlyFS) Rename(string, string) error        { return syscall.EROFS }
func (readOnlyFS) MkdirAll(string, os.FileMode) error { return syscall.EROFS }
func (readOnlyFS) Lock(string) (io.Closer, error)     { return nil, syscall.EROFS }

// A backup on a read-only mount could not be looked at: the store wanted its lock for
// writing.
func TestReadASnapshot(t *testing.T) {
	dir, bodies := damagedJournal(t, 100)
	for _, locked := range []bool{true, false} {
		if !locked { // a backup that left it out
			if err := os.Remove(filepath.Join(dir, "LOCK")); err != nil {
				t.Fatal(err)
			}
		}
		j, err := Open(Options{Dir: dir, ReadOnly: true, FS: readOnlyFS{vfs.Default}})
		if err != nil {
			t.Fatal(err)
		}
		read := 0
		for e, err := range j.Newest(0) {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := j.Body(e.Seq); err != nil {
				t.Errorf("record %d: %v", e.Seq, err)
			}
			read++
		}
		if read != len(bodies) {
			t.Errorf("read %d records, want %d", read, len(bodies))
		}
		closeJournal(t, j)
	}
}
