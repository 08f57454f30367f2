package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func open(t *testing.T, dir string, change ...func(*Options)) *Journal {
	t.Helper()
	o := Options{Dir: dir}
	for _, f := range change {
		f(&o)
	}
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeJournal(t, j) })
	return j
}

func closeJournal(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil && !errors.Is(err, ErrFailed) {
		t.Errorf("close: %v", err)
	}
}

func record(n int) Record {
	return Record{Key: fmt.Sprintf("persat:msg_%d", n), Header: fmt.Appendf(nil, "header %d", n), Body: fmt.Appendf(nil, "body %d", n)}
}

func appendOne(t *testing.T, j *Journal, r Record) Result {
	t.Helper()
	result, err := j.Append(t.Context(), r)
	if err != nil {
		t.Fatalf("append %s: %v", r.Key, err)
	}
	return result
}

// pending are the sequences of all pending records.
func pending(t *testing.T, j *Journal) []uint64 {
	t.Helper()
	var seqs []uint64
	for item, err := range j.AllPending() {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, item.Seq)
	}
	return seqs
}

func markPublished(t *testing.T, j *Journal, seqs ...uint64) {
	t.Helper()
	var marks []Mark
	for _, seq := range seqs {
		item, _, err := j.Load(seq)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, Mark{Item: item, StreamSeq: seq + 1000, At: time.Now()})
	}
	if _, err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
}

func TestRecordComesBackAsItWas(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	before := time.Now()
	if got, want := appendOne(t, j, record(1)), (Result{Seq: 1, Status: Stored}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	closeJournal(t, j)
	j = open(t, dir)
	item, body, err := j.Load(1)
	if err != nil {
		t.Fatal(err)
	}
	if want := record(1); item.Key != want.Key || !bytes.Equal(item.Header, want.Header) || !bytes.Equal(body, want.Body) {
		t.Errorf("got %+v %q, want %+v", item, body, want)
	}
	if item.Appended.Before(before) || item.Appended.After(time.Now()) {
		t.Errorf("appended at %v, want a time since %v", item.Appended, before)
	}
}

func TestSequenceNeverComesAgain(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		j := open(t, dir)
		result := appendOne(t, j, record(round))
		if want := uint64(round + 1); result.Seq != want {
			t.Fatalf("round %d: got sequence %d, want %d", round, result.Seq, want)
		}
		markPublished(t, j, result.Seq)
		closeJournal(t, j)
	}
}

func TestRecordIsInOneState(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for n := range 3 {
		appendOne(t, j, record(n))
	}
	born := record(3)
	born.Dead = &Death{At: time.Unix(1, 0), Reason: "not JSON"}
	appendOne(t, j, born)
	markPublished(t, j, 1)
	item, _, err := j.Load(2)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.MarkDead(item, Death{At: time.Unix(2, 0), Reason: "too large", Attempts: 3}); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if got, want := pending(t, j), []uint64{3}; !slices.Equal(got, want) {
			t.Errorf("%s: pending: got %v, want %v", when, got, want)
		}
		published, dead := make(map[uint64]PublishedItem), make(map[uint64]DeadItem)
		for p, err := range j.AllPublished(0) {
			if err != nil {
				t.Fatal(err)
			}
			published[p.Seq] = p
		}
		for d, err := range j.AllDead() {
			if err != nil {
				t.Fatal(err)
			}
			dead[d.Seq] = d
		}
		if len(published) != 1 || published[1].StreamSeq != 1001 || published[1].Key != "persat:msg_0" {
			t.Errorf("%s: published: got %+v", when, published)
		}
		if len(dead) != 2 || dead[2].Reason != "too large" || dead[2].Attempts != 3 || dead[4].Reason != "not JSON" || !dead[4].At.Equal(time.Unix(1, 0)) {
			t.Errorf("%s: dead: got %+v", when, dead)
		}
	}
	check("at once")
	closeJournal(t, j)
	j = open(t, dir)
	check("after a restart")
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(Options{Dir: dir}); err == nil {
		t.Error("a second Open of the same directory: got no error")
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

// BenchmarkAppend is the durable append of 2 KB records by many at once.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			j, err := Open(Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			body := bytes.Repeat([]byte(`{"a":"b"}`), 230)
			var n atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			var group sync.WaitGroup
			for range writers {
				group.Go(func() {
					for {
						i := n.Add(1)
						if i > int64(b.N) {
							return
						}
						if _, err := j.Append(context.Background(), Record{Key: fmt.Sprint(i), Header: body[:100], Body: body}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
		})
	}
}

// BenchmarkDrain is what publishing a backlog of 2 KB records asks of the journal: to read
// them and to mark them.
func BenchmarkDrain(b *testing.B) {
	j, err := Open(Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	random := rand.New(rand.NewPCG(1, 2))
	newBody := func() []byte {
		body := make([]byte, 0, 2100)
		for len(body) < 2000 {
			body = fmt.Appendf(body, `"field%d":"%x",`, random.IntN(100), random.Uint64())
		}
		return body
	}
	for from := 0; from < b.N; from += maxBatch {
		records := make([]Record, 0, maxBatch)
		for i := from; i < min(from+maxBatch, b.N); i++ {
			body := newBody()
			records = append(records, Record{Key: fmt.Sprintf("persat:msg_%d", i), Header: body[:150:150], Body: body})
		}
		if _, err := j.AppendAll(context.Background(), records); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	published, next := uint64(0), uint64(0)
	for {
		items, after, err := j.Pending(next, 512)
		if err != nil {
			b.Fatal(err)
		}
		if next == after {
			break
		}
		next = after
		marks := make([]Mark, 0, len(items))
		for _, item := range items {
			if item.Body == nil {
				b.Fatalf("record %d has no body", item.Seq)
			}
			published++
			marks = append(marks, Mark{Item: item.Item, StreamSeq: published, At: time.Now()})
		}
		for marks := range slices.Chunk(marks, 128) {
			if _, err := j.MarkPublished(marks); err != nil {
				b.Fatal(err)
			}
		}
	}
	if published != uint64(b.N) {
		b.Fatalf("published %d records of %d", published, b.N)
	}
}
