package journal

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Healing (Run's goroutine) and retention (its own) change the same records.
func TestUnpublishWhileBodiesAreDropped(t *testing.T) {
	for _, drop := range []string{"DropPublished", "Trim"} {
		t.Run(drop, func(t *testing.T) {
			without := 0
			for round := 0; round < 10 && without == 0; round++ {
				j := open(t, t.TempDir())
				var group sync.WaitGroup
				for n := 1; n <= 500; n++ {
					group.Go(func() { appendOne(t, j, record(n)) })
				}
				group.Wait()
				markPublished(t, j, pending(t, j)...)
				group.Go(func() {
					time.Sleep(time.Duration(round) * 100 * time.Microsecond)
					if _, err := j.Unpublish(1001, func(Item) {}); err != nil {
						t.Error(err)
					}
				})
				var err error
				if drop == "Trim" {
					_, err = j.Trim(time.Now(), time.Now())
				} else {
					_, _, err = j.DropPublished(1 << 20)
				}
				if err != nil {
					t.Error(err)
				}
				group.Wait()
				for _, seq := range pending(t, j) {
					if _, _, err := j.Load(seq); err != nil {
						without++
					}
				}
				closeJournal(t, j)
			}
			if without > 0 {
				t.Errorf("%d pending records have no body: they are lost", without)
			}
		})
	}
}

// A host whose clock was ahead for a moment (no battery, before NTP) has a record from
// the future. All that comes after it must go in its time all the same.
func TestTrimAfterAClockThatWasAhead(t *testing.T) {
	j := open(t, t.TempDir())
	for n := 1; n <= 5; n++ {
		appendOne(t, j, record(n))
	}
	var marks []Mark
	for _, seq := range pending(t, j) {
		item, _, err := j.Load(seq)
		if err != nil {
			t.Fatal(err)
		}
		item.Appended = time.Now().Add(-100 * time.Hour)
		if seq == 1 {
			item.Appended = time.Now().Add(10 * 365 * 24 * time.Hour)
		}
		marks = append(marks, Mark{Item: item, StreamSeq: seq, At: item.Appended})
	}
	if _, err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
	n, err := j.Trim(time.Now().Add(-72*time.Hour), time.Now().Add(-72*time.Hour))
	if err != nil || n.Records < 4 {
		t.Errorf("trimmed %+v, %v; want the 4 that are past their time", n, err)
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

// Many records from a clock that was ahead do not hide for ever those behind them.
func TestTrimBehindManyRecordsFromTheFuture(t *testing.T) {
	future := time.Now().Add(10 * 365 * 24 * time.Hour)
	var ahead atomic.Bool
	ahead.Store(true)
	j := open(t, t.TempDir(), func(o *Options) {
		o.now = func() time.Time {
			if ahead.Load() {
				return future
			}
			return time.Now().Add(-100 * time.Hour)
		}
	})
	add := func(from, n int) {
		var group sync.WaitGroup
		for i := from; i < from+n; i++ {
			group.Go(func() { appendOne(t, j, record(i)) })
		}
		group.Wait()
	}
	add(0, 1001)
	ahead.Store(false)
	add(2000, 500)
	var marks []Mark
	for _, seq := range pending(t, j) {
		item, _, _ := j.Load(seq)
		marks = append(marks, Mark{Item: item, StreamSeq: seq, At: item.Appended})
	}
	if _, err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
	records := 0
	for range 3 {
		got, err := j.Trim(time.Now().Add(-72*time.Hour), time.Now().Add(-72*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		records += got.Records
	}
	if records != 500 {
		t.Errorf("trimmed %d records, want the 500 that are past their time", records)
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
	for deadline := time.Now().Add(30 * time.Second); !stalled(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing stalls")
		}
	}
	j.GiveUp(errors.New("the disk does not answer"))
	group.Wait()
	if _, err := j.Append(t.Context(), record(7)); !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want that the journal has failed", err)
	}
	broken.Store(false)
}
