package journal

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// freshLogs is a disk on which a log is a new file each time.
type freshLogs struct{ vfs.FS }

func (d freshLogs) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.Remove(old); err != nil {
		return nil, err
	}
	return d.Create(name, category)
}

// TestStoreCannotWrite fails the journal with words where the store would panic with its
// lock unlocked ("unlock of unlocked mutex", exit 2): a file system ran out of inodes, and
// strangers' idle connections took all descriptors, when the next log was to be made. What
// was answered before is there at the next start.
func TestStoreCannotWrite(t *testing.T) {
	log := func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }
	manifest := func(op errorfs.Op) bool { return strings.Contains(op.Path, "MANIFEST-") }
	for name, test := range map[string]struct {
		err   error
		is    func(errorfs.Op) bool
		says  string
		reuse bool
	}{
		"no inode for a log":         {syscall.ENOSPC, func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && log(op) }, "df -i", false},
		"no descriptor for a log":    {syscall.EMFILE, func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && log(op) }, "LimitNOFILE", false},
		"a log cannot be used again": {syscall.EROFS, func(op errorfs.Op) bool { return op.Kind == errorfs.OpReuseForWrite && log(op) }, "read-only", true},
		"a log's name not synced":    {syscall.EIO, func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSync && op.Path == "journal" }, "dmesg", false},
		"a quota for a log":          {syscall.EDQUOT, func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && log(op) }, "quota", false},
		"the manifest not written":   {syscall.ENOSPC, func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && manifest(op) }, "make room", false},
		"the manifest not synced":    {syscall.EIO, func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSync && manifest(op) }, "dmesg", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := vfs.NewCrashableMem()
			var broken atomic.Bool
			var faulty vfs.FS = errorfs.Wrap(memory, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && test.is(op) {
					return test.err
				}
				return nil
			}))
			if !test.reuse {
				faulty = freshLogs{faulty}
			}
			j := open(t, "journal", func(o *Options) { o.FS, o.MaxBytes = faulty, 32<<20 })
			body := strings.Repeat("x", 20_000)
			stored := 0
			for n := 0; ; n++ {
				if n == 400 { // logs have been written, and used again
					broken.Store(true)
				}
				r := record(n)
				r.Body = []byte(body)
				_, err := j.Append(t.Context(), r)
				if errors.Is(err, ErrFailed) {
					break
				}
				if err != nil || n > 10_000 {
					t.Fatalf("append %d: got %v, want ErrFailed", n, err)
				}
				stored++
			}
			if err := j.Err(); !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %v and advice with %q", err, test.err, test.says)
			}
			_ = j.DiskBytes() // the status page asks for it: it does not wait
			if err := j.Close(); !errors.Is(err, ErrFailed) {
				t.Errorf("close: got %v, want ErrFailed", err)
			}
			// The process ends, and the lock with it.
			clone := memory.CrashClone(vfs.CrashCloneCfg{}) // and the power fails, too
			j = open(t, "journal", func(o *Options) { o.FS, o.MaxBytes = clone, 32<<20 })
			if got := len(pending(t, j)); got < stored {
				t.Errorf("got %d pending, want the %d that were answered", got, stored)
			}
		})
	}
}
