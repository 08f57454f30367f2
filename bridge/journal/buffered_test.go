package journal

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A table that is read from one end to the other has what a plain file has, wherever it is
// read, also at its end.
func TestTableReader(t *testing.T) {
	memory := vfs.NewMem()
	want := make([]byte, 5*tableBuffer/2)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range want {
		want[i] = byte(random.Uint32())
	}
	f, err := memory.Create("000001.sst", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(want)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var reads atomic.Int64
	disk := &failStopFS{FS: errorfs.Wrap(memory, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt {
			reads.Add(1)
		}
		return nil
	}))}
	plain, err := disk.Open("000001.sst")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	table, err := disk.Open("000001.sst", vfs.SequentialReadsOption)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	const block = 4 << 10
	for off := 0; off < len(want); off += block {
		got := make([]byte, block)
		if n, err := table.ReadAt(got, int64(off)); n != block || err != nil || !bytes.Equal(got, want[off:off+block]) {
			t.Fatalf("block at %d: %d bytes, %v; want those of the file", off, n, err)
		}
	}
	if got, most := reads.Load(), int64(len(want)/tableBuffer+1); got > most {
		t.Errorf("read from one end to the other: %d reads of the disk, want %d at most", got, most)
	}
	for range 2000 {
		off, length := random.Int64N(int64(len(want))+block), random.IntN(2*tableBuffer)
		got, same := make([]byte, length), make([]byte, length)
		n, err := table.ReadAt(got, off)
		m, sameErr := plain.ReadAt(same, off)
		if n != m || !bytes.Equal(got[:n], same[:m]) || errors.Is(err, io.EOF) != errors.Is(sameErr, io.EOF) {
			t.Fatalf("%d bytes at %d of %d: got %d, %v; a plain file %d, %v", length, off, len(want), n, err, m, sameErr)
		}
	}
}

// countedTables counts the tables that are open to be written.
type countedTables struct {
	vfs.FS
	open *atomic.Int64
}

type countedTable struct {
	vfs.File
	open *atomic.Int64
}

func (d countedTables) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	if err != nil || !strings.HasSuffix(name, ".sst") {
		return f, err
	}
	d.open.Add(1)
	return countedTable{f, d.open}, nil
}

func (f countedTable) Close() error {
	f.open.Add(-1)
	return f.File.Close()
}

// A table that the disk has no room for, or does not sync, is written again after a pause, one
// for each table, and the torn one is not left open.
func TestTornTable(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{"write": errorfs.OpFileWrite, "sync": errorfs.OpFileSync} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var full atomic.Bool
				var tries, open atomic.Int64
				disk := countedTables{errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
					if full.Load() && (op.Kind == kind || op.Kind == errorfs.OpFileSyncData && kind == errorfs.OpFileSync) && strings.HasSuffix(op.Path, ".sst") {
						tries.Add(1)
						return syscall.ENOSPC
					}
					return nil
				})), &open}
				j, err := Open(Options{Dir: "journal", MaxBytes: 128 << 20, FS: disk})
				if err != nil {
					t.Fatal(err)
				}
				full.Store(true)
				for n := range 40 { // more than the memory for one table, less than for all
					appendOne(t, j, largeRecord(n))
				}
				time.Sleep(time.Minute)
				if got, want := tries.Load(), int64(time.Minute/retryPause)-1; got < want {
					t.Errorf("a minute on a full disk: %d attempts to write a table, want %d", got, want)
				}
				if got := open.Load(); got > 1 {
					t.Errorf("after %d torn tables: %d open, want 1 at most", tries.Load(), got)
				}
				full.Store(false)
				if err := j.Flush(); err != nil {
					t.Errorf("flush with room again: %v", err)
				}
				for n := range 40 {
					if got := appendOne(t, j, largeRecord(n)); got.Status != Repeat {
						t.Errorf("record %d: got %+v, want a repeat", n, got)
					}
				}
				if err := j.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		})
	}
}
