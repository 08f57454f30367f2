package journal

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestSeenKey(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	appendOne(t, j, record(1))
	other := record(1)
	other.Body = []byte("other bytes")
	anonymous := record(2)
	anonymous.Key = ""
	check := func(when string) {
		t.Helper()
		if got, want := appendOne(t, j, record(1)), (Result{Seq: 1, Status: Repeat}); got != want {
			t.Errorf("%s: same bytes: got %+v, want %+v", when, got, want)
		}
		if got, want := appendOne(t, j, other), (Result{Seq: 1, Status: Conflict}); got != want {
			t.Errorf("%s: other bytes: got %+v, want %+v", when, got, want)
		}
		if got := appendOne(t, j, anonymous); got.Status != Stored {
			t.Errorf("%s: without a key: got %+v, want it stored", when, got)
		}
	}
	check("pending")
	markPublished(t, j, 1)
	check("published")
	closeJournal(t, j)
	j = open(t, dir)
	check("after a restart")
}

func TestSeenKeyEndsWithTheWindowUnlessTheRecordWaits(t *testing.T) {
	j := open(t, t.TempDir(), func(o *Options) { o.DedupWindow = time.Nanosecond })
	appendOne(t, j, record(1))
	time.Sleep(time.Millisecond)
	if got := appendOne(t, j, record(1)); got.Status != Repeat {
		t.Errorf("while it waits: got %+v, want a repeat", got)
	}
	markPublished(t, j, 1)
	if got, want := appendOne(t, j, record(1)), (Result{Seq: 2, Status: Stored}); got != want {
		t.Errorf("published, after the window: got %+v, want %+v", got, want)
	}
}

func TestRepeatsThatRaceAreStoredOnce(t *testing.T) {
	j := open(t, t.TempDir())
	const senders, ids = 32, 50
	var stored [ids]atomic.Int32
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for n := range ids {
				result, err := j.Append(context.Background(), record(n))
				if err != nil {
					t.Errorf("append: %v", err)
				}
				if result.Status == Stored {
					stored[n].Add(1)
				}
			}
		})
	}
	group.Wait()
	for n := range stored {
		if got := stored[n].Load(); got != 1 {
			t.Errorf("record %d: stored %d times, want once", n, got)
		}
	}
	if got := len(pending(t, j)); got != ids {
		t.Errorf("got %d pending, want %d", got, ids)
	}
}

// An id was used again for other bytes, which were kept under a key of their own. Their
// repeat, when the first use of the id has left the window and they have not.
func TestRepeatOfAConflict(t *testing.T) {
	clock := time.Now()
	j := open(t, filepath.Join(t.TempDir(), "j"), func(o *Options) { o.now = func() time.Time { return clock } })
	first, second := record(1), record(1)
	second.Body = []byte("other bytes")
	markPublished(t, j, appendOne(t, j, first).Seq) // what is pending stays seen
	clock = clock.Add(48 * time.Hour)
	if got := appendOne(t, j, second); got.Status != Conflict {
		t.Fatalf("other bytes: got %+v, want a conflict", got)
	}
	aside := second
	aside.Key = ConflictKey(second.Key, second.Body)
	kept := appendOne(t, j, aside)
	markPublished(t, j, kept.Seq)
	clock = clock.Add(48 * time.Hour) // of 72 h
	if got := appendOne(t, j, second); got != (Result{Seq: kept.Seq, Status: Repeat}) {
		t.Errorf("its repeat: got %+v, want one of record %d", got, kept.Seq)
	}
	clock = clock.Add(48 * time.Hour)
	if got := appendOne(t, j, second); got.Status != Stored {
		t.Errorf("its repeat after the window: got %+v, want a new record", got)
	}
}
