package journal

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
