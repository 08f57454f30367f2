package journal

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestPowerLoss takes away, again and again, all that was not synced, and finds
// every record that Append had returned for.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	memory := vfs.NewCrashableMem()
	j := open(t, "journal", func(o *Options) { o.FS = memory })
	var mu sync.Mutex
	promised := make(map[uint64]string)
	type crash struct {
		disk     *vfs.MemFS
		promised map[uint64]string
	}
	crashes := make(chan crash, 8*200/100)
	var group sync.WaitGroup
	for sender := range 8 {
		group.Go(func() {
			for n := range 200 {
				r := record(sender*1000 + n)
				result, err := j.Append(context.Background(), r)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				mu.Lock()
				promised[result.Seq] = r.Key
				if len(promised)%100 == 0 {
					crashes <- crash{memory.CrashClone(vfs.CrashCloneCfg{}), maps.Clone(promised)}
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	close(crashes)
	for c := range crashes {
		after, err := Open(Options{Dir: "journal", FS: c.disk})
		if err != nil {
			t.Fatal(err)
		}
		for seq, key := range c.promised {
			item, body, err := after.Load(seq)
			if err != nil || item.Key != key || len(body) == 0 {
				t.Errorf("record %d: got %q, %v; want %q", seq, item.Key, err, key)
			}
		}
		for seq, key := range c.promised {
			_, body, _ := after.Load(seq)
			if result := appendOne(t, after, Record{Key: key, Body: body}); result.Status != Repeat || result.Seq != seq {
				t.Errorf("record %d: its key is not seen: %+v", seq, result)
			}
			break // one is enough: key and record share a batch
		}
		closeJournal(t, after)
	}
}

// The first start makes the directories; the power goes right after the first 2xx.
func TestPowerLossAfterTheFirstStart(t *testing.T) {
	memory := vfs.NewCrashableMem()
	j := open(t, "data/journal", func(o *Options) { o.FS = memory })
	for n := range 10 {
		appendOne(t, j, record(n))
	}
	after := memory.CrashClone(vfs.CrashCloneCfg{})
	k := open(t, "data/journal", func(o *Options) { o.FS = after })
	if got := len(pending(t, k)); got != 10 {
		t.Errorf("after the crash: %d pending, 10 promised", got)
	}
}

// TestFailedSync is the whole promise in a fault: the disk refuses a sync, and
// from then on nothing is promised any more; what was promised before is there.
func TestFailedSync(t *testing.T) {
	memory := vfs.NewCrashableMem()
	var broken atomic.Bool
	var syncs atomic.Int32
	faulty := errorfs.Wrap(memory, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			if broken.Load() {
				syncs.Add(1)
				return errorfs.ErrInjected
			}
		}
		return nil
	}))
	j := open(t, "journal", func(o *Options) { o.FS = faulty })
	for n := range 10 {
		appendOne(t, j, record(n))
	}
	broken.Store(true)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			if _, err := j.Append(context.Background(), record(100+n)); !errors.Is(err, ErrFailed) {
				t.Errorf("append over a failing sync: got %v, want ErrFailed", err)
			}
		})
	}
	group.Wait()
	<-j.Failed()
	broken.Store(false)
	if _, err := j.Append(t.Context(), record(200)); !errors.Is(err, ErrFailed) {
		t.Errorf("append after it: got %v, want ErrFailed: a failed sync is never made good", err)
	}
	if syncs.Load() != 1 {
		t.Errorf("the failed sync was tried %d times, want once", syncs.Load())
	}
	// Power goes: of the unsynced bytes nothing is left.
	j = open(t, "journal", func(o *Options) { o.FS = memory.CrashClone(vfs.CrashCloneCfg{}) })
	if got := len(pending(t, j)); got != 10 {
		t.Errorf("after the crash: got %d pending, want the 10 that were promised", got)
	}
}

// The disk fails at the last sync, that of Close.
func TestCloseOverAFailingSync(t *testing.T) {
	var broken atomic.Bool
	faulty := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			return errorfs.ErrInjected
		}
		return nil
	}))
	j, err := Open(Options{Dir: "journal", FS: faulty})
	if err != nil {
		t.Fatal(err)
	}
	markPublished(t, j, appendOne(t, j, record(1)).Seq)
	broken.Store(true)
	if err := j.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want ErrFailed", err)
	}
}
