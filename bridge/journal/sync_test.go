package journal

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// Sync returns when the marks are on disk, also when the sync that brings them there
// is that of an append that is still under way.
func TestSyncWaitsForTheSyncOfAnAppend(t *testing.T) {
	disk := &heldDisk{FS: vfs.NewMem(), syncing: make(chan struct{}, 100), release: make(chan struct{})}
	j := open(t, "journal", func(o *Options) { o.FS = disk })
	appendOne(t, j, record(1))
	disk.hold.Store(true)
	markPublished(t, j, 1)
	appended, synced := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := j.Append(context.Background(), record(2))
		appended <- err
	}()
	<-disk.syncing
	go func() { synced <- j.Sync() }()
	select {
	case err := <-synced:
		t.Errorf("Sync returned %v while the disk was still syncing", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(disk.release)
	if err := errors.Join(<-appended, j.Sync()); err != nil {
		t.Error(err)
	}
}

// All that comes during a sync is in the log when the next one begins, so that nobody waits
// for a third. It was one batch, and whoever came after that missed the next sync.
func TestAppendsDuringASyncShareTheNext(t *testing.T) {
	disk := &heldDisk{FS: vfs.NewMem(), syncing: make(chan struct{}, 100), release: make(chan struct{})}
	j := open(t, "journal", func(o *Options) { o.FS = disk })
	disk.hold.Store(true)
	var group sync.WaitGroup
	for n := range 6 {
		group.Go(func() { appendOne(t, j, record(n)) })
		if n == 0 {
			<-disk.syncing
		}
		inLog(t, j, record(n))
	}
	close(disk.release)
	group.Wait()
	if more := len(disk.syncing); more != 1 {
		t.Errorf("five appends during a sync took %d more syncs, want 1", more)
	}
}

// inLog waits until a record is in the log.
func inLog(t *testing.T, j *Journal, r Record) {
	t.Helper()
	testwait.Eventually(t, "the record is in the log", func() bool {
		_, closer, err := j.db.Get(append([]byte{prefixSeen}, r.Key...))
		return err == nil && closer.Close() == nil
	})
}

// A dead letter is there for operators once its append is durable. One that was made pending
// before was led past by the records that had just become durable, until the next start.
func TestDeadLettersAreDurable(t *testing.T) {
	disk := &heldDisk{FS: vfs.NewMem(), syncing: make(chan struct{}, 100), release: make(chan struct{})}
	j := open(t, "journal", func(o *Options) { o.FS = disk })
	appendOne(t, j, record(1))
	disk.hold.Store(true)
	dead := record(2)
	dead.Dead = &Death{At: time.Now(), Reason: "conflict"}
	appended := make(chan error, 1)
	go func() {
		_, err := j.AppendAll(context.Background(), []Record{dead, record(3)})
		appended <- err
	}()
	inLog(t, j, dead)
	listed := func() (items []Item) {
		for d, err := range j.AllDead() {
			if err != nil {
				t.Fatal(err)
			}
			items = append(items, d.Item.Clone())
		}
		return items
	}
	if items := listed(); len(items) > 0 {
		t.Errorf("listed before the sync: %v", items)
	}
	if _, err := j.Dead(2); !errors.Is(err, ErrNotFound) {
		t.Errorf("read before the sync: %v, want ErrNotFound", err)
	}
	close(disk.release)
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	if err := j.Requeue(listed()); err != nil {
		t.Fatal(err)
	}
	items, _, err := j.Pending(2, 10)
	if err != nil || len(items) != 2 || items[0].Seq != 2 {
		t.Errorf("got %v, %v, want records 2 and 3", items, err)
	}
}

// No table can be written (no inodes left, no descriptors, a quota), but the log can: the
// memory fills, and an append waits until somebody gives up. That has to be seen.
func TestStallIsSeen(t *testing.T) {
	var broken atomic.Bool
	faulty := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			return syscall.ENOSPC
		}
		return nil
	}))
	j := open(t, "journal", func(o *Options) { o.FS, o.MaxBytes = faulty, 16<<20 })
	appendOne(t, j, record(0))
	if got := j.Stalled(); got != 0 {
		t.Errorf("stalled for %v while nothing is under way", got)
	}
	broken.Store(true)
	var group sync.WaitGroup
	stalled := func() bool { return j.Stalled() > 100*time.Millisecond }
	for w := range 4 {
		group.Go(func() {
			for n := 0; !stalled(); n++ {
				r := record(w*1_000_000 + n + 1)
				r.Body = bytes.Repeat([]byte{byte(n)}, 60_000)
				if _, err := j.Append(t.Context(), r); err != nil {
					return
				}
			}
		})
	}
	testwait.Eventually(t, "a write stalls", stalled)
	j.GiveUp(errors.New("the disk does not answer"))
	group.Wait()
	if _, err := j.Append(t.Context(), record(7)); !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want that the journal has failed", err)
	}
	broken.Store(false)
}

// heldDisk holds every sync until release is closed, once hold is set.
type heldDisk struct {
	vfs.FS
	hold    atomic.Bool
	syncing chan struct{} // takes one for each sync that is held
	release chan struct{}
}

func (d *heldDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return heldFile{f, d}, err
}

func (d *heldDisk) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, category)
	return heldFile{f, d}, err
}

type heldFile struct {
	vfs.File
	disk *heldDisk
}

func (f heldFile) wait() {
	if f.disk.hold.Load() {
		f.disk.syncing <- struct{}{}
		<-f.disk.release
	}
}

func (f heldFile) Sync() error {
	f.wait()
	return f.File.Sync()
}

func (f heldFile) SyncData() error {
	f.wait()
	return f.File.SyncData()
}

func (f heldFile) SyncTo(n int64) (bool, error) {
	f.wait()
	return f.File.SyncTo(n)
}
