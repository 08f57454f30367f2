package journal

import (
	"sync"
	"testing"
	"time"
)

// Healing (Run's goroutine) and retention (its own) change the same records.
func TestReopenWhileBodiesAreDropped(t *testing.T) {
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
					if err := j.Reopen(1001, func(Item) {}); err != nil {
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
	if err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
	n, err := j.Trim(time.Now().Add(-72*time.Hour), time.Now().Add(-72*time.Hour))
	if err != nil || n.Records < 4 {
		t.Errorf("trimmed %+v, %v; want the 4 that are past their time", n, err)
	}
}
