package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

func TestDropPublishedGivesTheDiskBack(t *testing.T) {
	j := open(t, t.TempDir(), func(o *Options) { o.MaxBytes = 64 << 20 })
	random := rand.NewChaCha8([32]byte{}) // no compression makes it smaller
	body := make([]byte, 64<<10)
	for n := range 800 {
		random.Read(body)
		appendOne(t, j, Record{Key: fmt.Sprint(n), Header: []byte("h"), Body: body})
	}
	for seq := uint64(1); seq <= 700; seq++ {
		markPublished(t, j, seq)
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	before := j.DiskBytes()
	dropped, _, err := j.DropPublished(1 << 40)
	if err != nil || dropped != 700 {
		t.Fatalf("dropped %d, %v; want the 700 published", dropped, err)
	}
	t.Logf("%d bytes on disk", before)
	eventually(t, "the files are gone", func() bool { return j.DiskBytes() < before/2 })
	if got := len(pending(t, j)); got != 100 {
		t.Errorf("got %d pending, want 100", got)
	}
	for seq := uint64(701); seq <= 800; seq++ {
		if _, _, err := j.Load(seq); err != nil {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestUnpublishFromAPlaceOn(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for n := 1; n <= 2500; n++ {
		if n%10 == 0 || n > 2490 {
			appendOne(t, j, record(n))
		}
	}
	all := pending(t, j)
	markPublished(t, j, all...) // at 1000 + their sequence
	var told []uint64
	if _, err := j.Unpublish(1101, func(i Item) { told = append(told, i.Seq) }); err != nil {
		t.Fatal(err)
	}
	want := all[100:]
	if !slices.Equal(told, want) || !slices.Equal(pending(t, j), want) {
		t.Errorf("unpublished %v, pending %v; want %v", told, pending(t, j), want)
	}
	last, ok, err := j.LastPosition()
	if err != nil || !ok || last != (StreamPosition{StreamSeq: 1100, Seq: 100}) {
		t.Errorf("last place: got %+v %v %v, want 1100 of record 100", last, ok, err)
	}
	if err := j.ReplaceStream("another"); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	j = open(t, dir)
	if _, ok, err := j.LastPosition(); ok || err != nil {
		t.Errorf("places of another stream are left (%v)", err)
	}
	if got, err := j.Stream(); err != nil || got != "another" {
		t.Errorf("stream: got %q, %v", got, err)
	}
}

func TestDeadLetterRequeuedOrDiscarded(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for n := 1; n <= 2; n++ {
		r := record(n)
		r.Dead = &Death{At: time.Now(), Reason: "too large"}
		appendOne(t, j, r)
	}
	first, err := j.Dead(1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := j.Dead(2)
	if err != nil {
		t.Fatal(err)
	}
	first.Header = []byte("replayed")
	if err := errors.Join(j.Requeue([]Item{first.Item}), j.Discard([]DeadItem{second})); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	j = open(t, dir)
	if item, body, err := j.Load(1); err != nil || string(item.Header) != "replayed" || string(body) != "body 1" {
		t.Errorf("requeued: got %+v %q %v", item, body, err)
	}
	for d := range j.AllDead() {
		t.Errorf("record %d is still dead", d.Seq)
	}
	if _, err := j.Body(2); !errors.Is(err, ErrNotFound) {
		t.Errorf("the discarded body: got %v, want none", err)
	}
	if got := appendOne(t, j, record(2)); got.Status != Repeat {
		t.Errorf("a late repeat of what was discarded: got %+v, want a repeat", got)
	}
}

// TestClockJumps moves the wall clock an hour forward and back while events come:
// nothing is lost, nothing is seen that is new, nothing goes before its time by more
// than the jump.
func TestClockJumps(t *testing.T) {
	clock := time.Now()
	dir := t.TempDir()
	withClock := func(o *Options) { o.now = func() time.Time { return clock }; o.DedupWindow = 72 * time.Hour }
	j := open(t, dir, withClock)
	for n, jump := range []time.Duration{0, time.Hour, -time.Hour, 0, -time.Hour, time.Hour} {
		clock = clock.Add(jump)
		if got, want := appendOne(t, j, record(n)), (Result{Seq: uint64(n + 1), Status: Stored}); got != want {
			t.Errorf("after a jump of %v: got %+v, want %+v", jump, got, want)
		}
		for old := range n {
			if got := appendOne(t, j, record(old)); got.Status != Repeat {
				t.Errorf("after a jump of %v: record %d: got %+v, want a repeat", jump, old, got)
			}
		}
	}
	markPublished(t, j, 1, 2, 3)
	// Trim goes by the clock as it is: an hour too early at the worst.
	if got, err := j.Trim(clock.Add(-72*time.Hour), clock.Add(-72*time.Hour)); err != nil || got != (Trimmed{}) {
		t.Errorf("trim: got %+v, %v; want nothing dropped", got, err)
	}
	closeJournal(t, j)
	j = open(t, dir, withClock)
	if got, want := pending(t, j), []uint64{4, 5, 6}; !slices.Equal(got, want) {
		t.Errorf("pending: got %v, want %v", got, want)
	}
}
