package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestTrimDropsWhatIsPastItsTime(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for n := 1; n <= 5; n++ {
		appendOne(t, j, record(n))
	}
	markPublished(t, j, 1, 2, 4)
	item, _, err := j.Load(3)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.MarkDead(item, Death{At: time.Now(), Reason: "too large"}); err != nil {
		t.Fatal(err)
	}
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	hasBodies := func(want ...uint64) {
		t.Helper()
		var got []uint64
		for seq := uint64(1); seq <= 5; seq++ {
			if _, err := j.Body(seq); err == nil {
				got = append(got, seq)
			} else if !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("bodies of %v, want %v", got, want)
		}
	}
	trim := func(bodies, keys time.Time, want Trimmed) {
		t.Helper()
		got, err := j.Trim(bodies, keys)
		if err != nil || got != want {
			t.Errorf("trim: got %+v, %v; want %+v", got, err, want)
		}
	}
	trim(before, before, Trimmed{})
	hasBodies(1, 2, 3, 4, 5)
	trim(later, before, Trimmed{Bodies: 3})
	hasBodies(3, 5)
	if got := appendOne(t, j, record(1)); got.Status != Repeat {
		t.Errorf("the key of a record without its body: got %+v, want a repeat", got)
	}
	// Should the stream lose it, that can be said, though it cannot be mended.
	if last, ok, err := j.LastPosition(); !ok || err != nil || last.Seq != 4 {
		t.Errorf("the last place is %+v %v (%v), want that of record 4", last, ok, err)
	}
	trim(later, later, Trimmed{Records: 3})
	if _, ok, err := j.LastPosition(); ok || err != nil {
		t.Errorf("a place in the stream is left of records that are gone (%v)", err)
	}
	hasBodies(3, 5)
	closeJournal(t, j)
	j = open(t, dir)
	if got, want := appendOne(t, j, record(1)), (Result{Seq: 6, Status: Stored}); got != want {
		t.Errorf("the key after its time: got %+v, want %+v", got, want)
	}
	if got := appendOne(t, j, record(3)); got.Status != Repeat {
		t.Errorf("the key of a dead letter: got %+v, want a repeat", got)
	}
}

func TestTrimOfEverythingKeepsTheNextSequence(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for n := range 10 {
		markPublished(t, j, appendOne(t, j, record(n)).Seq)
	}
	if _, err := j.Trim(time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	j = open(t, dir)
	if got := appendOne(t, j, record(99)).Seq; got != 11 {
		t.Errorf("next sequence %d, want 11", got)
	}
}

func TestTrimLeavesAKeyThatALaterRecordHas(t *testing.T) {
	j := open(t, t.TempDir(), func(o *Options) { o.DedupWindow = time.Nanosecond })
	markPublished(t, j, appendOne(t, j, record(1)).Seq)
	time.Sleep(time.Millisecond)
	middle := time.Now()
	appendOne(t, j, record(1)) // the window is over: new, and the key is its own now
	if _, err := j.Trim(middle, middle); err != nil {
		t.Fatal(err)
	}
	if got := appendOne(t, j, record(1)); got.Status != Repeat || got.Seq != 2 {
		t.Errorf("got %+v, want a repeat of record 2", got)
	}
}

// An id is used again after its window, in the moment in which Trim forgets its first use.
func TestTrimLeavesAKeyTakenMeanwhile(t *testing.T) {
	t.Parallel()
	for round := range 4 {
		var offset atomic.Int64
		j := open(t, filepath.Join(t.TempDir(), fmt.Sprint(round)), func(o *Options) {
			o.DedupWindow = time.Hour
			o.now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		})
		const n = 4000
		var marks []Mark
		for i := range n {
			j.appends <- func() *appendRequest {
				q := j.newRequest()
				r := record(i)
				q.record, q.digest = r, digest(r.Body)
				return q
			}()
		}
		for j.Next() <= n {
			time.Sleep(time.Millisecond)
		}
		for item, err := range j.AllPending() {
			if err != nil {
				t.Fatal(err)
			}
			marks = append(marks, Mark{Item: item.Clone(), StreamSeq: item.Seq, At: time.Now()})
		}
		if _, err := j.MarkPublished(marks); err != nil {
			t.Fatal(err)
		}
		offset.Store(int64(2 * time.Hour))
		done := make(chan error, 1)
		go func() {
			past := j.o.now().Add(-time.Hour)
			_, err := j.Trim(past, past)
			done <- err
		}()
		// The sender sends one of two hours ago again, and a minute later once more.
		time.Sleep(time.Duration(round) * time.Millisecond)
		first := appendOne(t, j, record(0))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		offset.Add(int64(time.Minute))
		again := appendOne(t, j, record(0))
		if first.Status == Stored && again.Status != Repeat {
			t.Fatalf("round %d: the id was stored as record %d; its repeat a minute later is %v as record %d, the window is an hour", round, first.Seq, again.Status, again.Seq)
		}
		closeJournal(t, j)
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

// A dead letter that is discarded late is trimmed late: "trimmed" goes back, and repair says
// that all after it is lost.
func TestTrimmedOnlyRises(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	for n := 1; n <= 10; n++ {
		appendOne(t, j, record(n))
	}
	item, _, err := j.Load(2)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.MarkDead(item, Death{At: time.Now(), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	markPublished(t, j, 1, 3, 4, 5, 6, 7, 8, 9, 10)
	later := time.Now().Add(time.Hour)
	if _, err := j.Trim(later, later); err != nil {
		t.Fatal(err)
	}
	d, err := j.Dead(2)
	if err != nil {
		t.Fatal(err)
	}
	d.At = time.Now()
	if err := j.Discard([]DeadItem{d}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Trim(later, later); err != nil {
		t.Fatal(err)
	}
	appendOne(t, j, record(11))
	closeJournal(t, j)
	report, err := Repair(dir, dir+"-r", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Lost) > 0 {
		t.Errorf("repair of a whole journal says that records %v are lost", report.Lost)
	}
}
