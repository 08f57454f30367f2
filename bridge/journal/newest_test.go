package journal

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A record that was published while a list was read stood in it twice, as pending and
// as published: each state was read as of another moment.
func TestListIsOfOneMoment(t *testing.T) {
	j := open(t, t.TempDir())
	const records = 3000
	all := make([]Record, records)
	for i := range all {
		all[i] = record(i)
	}
	if _, err := j.AppendAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	var moving atomic.Uint64 // the record that is published next
	moving.Store(2)
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for seq := uint64(2); seq <= records; seq++ {
			item, _, err := j.Load(seq)
			if err == nil {
				moving.Store(seq)
				_, err = j.MarkPublished([]Mark{{Item: item, StreamSeq: seq, At: time.Now()}})
			}
			if err != nil {
				t.Error(err)
				break
			}
		}
		moving.Store(0)
	})
	defer publishing.Wait()
	for newest := moving.Load(); newest != 0 && !t.Failed(); newest = moving.Load() {
		next := newest
		for e, err := range j.Newest(newest + 1) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Seq != next {
				t.Errorf("the list has record %d (%s), want record %d next", e.Seq, e.State, next)
			}
			if next--; next == newest-2 {
				break
			}
		}
	}
}

// appendBacklog appends n records, which are in other tables than what follows.
func appendBacklog(t *testing.T, j *Journal, n int) (seqs []uint64) {
	t.Helper()
	for i := range n {
		seqs = append(seqs, appendOne(t, j, record(i)).Seq)
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	return seqs
}

// A look for the newest pending record does not walk over all that once was pending.
func TestReclaimPending(t *testing.T) {
	j := open(t, t.TempDir())
	const n = 3000
	seqs := appendBacklog(t, j, n)
	markPublished(t, j, seqs...)
	steps := func() int {
		t.Helper()
		it, err := j.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixPending}, UpperBound: seqKey(prefixPending, j.Next())})
		if err != nil {
			t.Fatal(err)
		}
		defer it.Close()
		if it.Last() {
			t.Fatalf("%x is pending", it.Key())
		}
		stats := it.Stats()
		return stats.ReverseStepCount[pebble.InternalIterCall]
	}
	if got := steps(); got < n {
		t.Fatalf("before: got %d steps, want one for each of %d records at least", got, n)
	}
	if err := j.ReclaimPending(); err != nil {
		t.Fatal(err)
	}
	if got := steps(); got > 10 {
		t.Errorf("afterwards: got %d steps, want hardly any", got)
	}
	last := appendOne(t, j, record(n)).Seq
	if err := j.ReclaimPending(); err != nil {
		t.Fatal(err)
	}
	if got := pending(t, j); !slices.Equal(got, []uint64{last}) {
		t.Errorf("pending: got %v, want %d", got, last)
	}
}
