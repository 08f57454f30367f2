package journal

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// fullDisk is a disk that takes no table while it is full; its logs have their room.
type fullDisk struct {
	vfs.FS
	memory *vfs.MemFS
	full   atomic.Bool
	tries  atomic.Int64 // tables that it did not take
}

func newFullDisk(memory *vfs.MemFS) *fullDisk {
	d := &fullDisk{memory: memory}
	d.FS = errorfs.Wrap(memory, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if d.full.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			d.tries.Add(1)
			return syscall.ENOSPC
		}
		return nil
	}))
	return d
}

func (d *fullDisk) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	usage := vfs.DiskUsage{TotalBytes: 1 << 30, AvailBytes: 1 << 29, UsedBytes: 1 << 29}
	if d.full.Load() {
		usage.AvailBytes, usage.UsedBytes = 0, 1<<30
	}
	return usage, nil
}

// A full disk burned a core: the store tried to write its tables again at once, more than
// a thousand times a second. It goes on by itself when there is room.
func TestFullDiskIsNotTriedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newFullDisk(vfs.NewMem())
		j, err := Open(Options{Dir: "journal", MaxBytes: 128 << 20, FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		disk.full.Store(true)
		for n := range 40 { // more than the memory for one table, less than for all
			appendOne(t, j, largeRecord(n))
		}
		time.Sleep(time.Minute)
		if got, most := disk.tries.Load(), int64(time.Minute/retryPause)+1; got < 2 || got > most {
			t.Errorf("a minute on a full disk: %d attempts to write a table, want 2 to %d", got, most)
		}
		disk.full.Store(false)
		if err := j.Flush(); err != nil {
			t.Errorf("flush with room again: %v", err)
		}
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// A stop on a full disk had no end: retention waited for a flush that never came. Nothing
// that was promised needs it.
func TestFullDiskCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newFullDisk(vfs.NewMem())
		j, err := Open(Options{Dir: "journal", MaxBytes: 128 << 20, FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 40 {
			appendOne(t, j, largeRecord(n))
		}
		markPublished(t, j, pending(t, j)...)
		disk.full.Store(true)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if err := j.Flush(); err != nil {
				t.Errorf("flush: got %v, want that it ends", err)
			}
		})
		waiting.Go(func() {
			if _, _, err := j.DropPublished(1 << 40); err != nil {
				t.Errorf("drop published: got %v, want that it ends", err)
			}
		})
		time.Sleep(time.Minute)
		j.StopUpkeep()
		waiting.Wait()
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		disk.full.Store(false)
		j, err = Open(Options{Dir: "journal", MaxBytes: 128 << 20, FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		if got := j.Next(); got != 41 {
			t.Errorf("next sequence %d, want 41", got)
		}
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// A start on a full disk had no end either: the store tries to write what its logs have
// for ever. It ends with words, and a start with room finds everything.
func TestFullDiskDoesNotOpen(t *testing.T) {
	t.Parallel()
	disk := newFullDisk(vfs.NewCrashableMem())
	j := open(t, "journal", func(o *Options) { o.FS, o.MaxBytes = disk, 128<<20 })
	for n := range 10 {
		appendOne(t, j, largeRecord(n))
	}
	// The process is killed: the next one has the lock.
	killed := newFullDisk(disk.memory.CrashClone(vfs.CrashCloneCfg{}))
	killed.full.Store(true)
	_, err := Open(Options{Dir: "journal", MaxBytes: 128 << 20, FS: killed})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room") {
		t.Fatalf("open on a full disk: got %v, want ENOSPC and that room is to be made", err)
	}
	again := newFullDisk(killed.memory.CrashClone(vfs.CrashCloneCfg{}))
	j = open(t, "journal", func(o *Options) { o.FS, o.MaxBytes = again, 128<<20 })
	if got := len(pending(t, j)); got != 10 {
		t.Errorf("got %d pending, want 10", got)
	}
}

// largeRecord is one of those of which some twenty fill the memory for one table.
func largeRecord(n int) Record {
	r := record(n)
	r.Body = bytes.Repeat([]byte{byte(n)}, 60_000)
	return r
}

// waitingStore always has something to merge.
type waitingStore struct {
	begun chan pebble.CompactionGrantHandle
}

func (s waitingStore) GetAllowedWithoutPermission() int { return 1 }
func (s waitingStore) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	return true, pebble.WaitingCompaction{}
}

func (s waitingStore) Schedule(h pebble.CompactionGrantHandle) bool {
	s.begun <- h
	return true
}

// Tables are merged while there is room, one merge at a time, and again once there is.
func TestMergesNeedRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var room atomic.Bool
		c := newCompactions(room.Load)
		store := waitingStore{make(chan pebble.CompactionGrantHandle, 10)}
		c.Register(1, store)
		defer c.Unregister()
		time.Sleep(time.Minute)
		if ok, _ := c.TrySchedule(); ok || len(store.begun) > 0 {
			t.Error("a merge began without room")
		}
		room.Store(true)
		handle := <-store.begun
		time.Sleep(time.Minute)
		if ok, _ := c.TrySchedule(); ok || len(store.begun) > 0 {
			t.Error("a second merge began beside the first")
		}
		room.Store(false)
		c.noRoom() // the first one failed for want of it
		handle.Done()
		time.Sleep(time.Minute)
		if len(store.begun) > 0 {
			t.Error("a merge began on a full disk")
		}
		room.Store(true)
		<-store.begun
	})
}
