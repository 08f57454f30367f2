package journal

import (
	"slices"
	"sync"
	"testing"
	"time"
)

func TestUnpublishFromAPlaceOn(t *testing.T) {
	t.Parallel()
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

// Healing (Run's goroutine) and retention (its own) change the same records.
func TestUnpublishWhileBodiesAreDropped(t *testing.T) {
	for _, drop := range []string{"DropPublished", "Trim"} {
		t.Run(drop, func(t *testing.T) {
			t.Parallel()
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
