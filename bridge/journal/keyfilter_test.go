package journal

import (
	"fmt"
	"sync"
	"testing"
)

// Every key that an append has returned for is known to be taken, whether it came
// before a filter was learned, while it was, or after.
func TestKeyFilterMissesNoKey(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	var mu sync.Mutex
	var keys []string
	fill := func(round int) {
		const writers, each = 4, 400
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for n := range each {
					r := record(round*1_000_000 + w*1000 + n)
					appendOne(t, j, r)
					mu.Lock()
					keys = append(keys, r.Key)
					mu.Unlock()
				}
			})
		}
		done := make(chan struct{})
		go func() {
			group.Wait()
			close(done)
		}()
		for looked, more := 0, true; more; {
			select {
			case <-done:
				more = false
			default:
			}
			j.buildKeyFilter()
			mu.Lock()
			recent := keys[max(looked-100, 0):]
			looked = len(keys)
			for _, key := range recent {
				if !j.keyFilter.mayHave([]byte(key)) {
					t.Errorf("%s is overlooked", key)
				}
			}
			mu.Unlock()
		}
	}
	fill(0)
	closeJournal(t, j)
	j = open(t, dir)
	fill(1)
	closeJournal(t, j)
	j = open(t, dir)
	j.background.Wait()
	for _, key := range keys {
		if !j.keyFilter.mayHave([]byte(key)) {
			t.Fatalf("after a restart: %s is overlooked", key)
		}
	}
	if got := appendOne(t, j, record(0)); got.Status != Repeat {
		t.Errorf("got %+v, want a repeat", got)
	}
}

// The filter is of use: of new keys it suspects hardly any. When it has too many
// keys to be that, a larger one is learned.
func TestKeyFilterHasFewFalsePositives(t *testing.T) {
	j := open(t, t.TempDir())
	j.background.Wait()
	for n := range 200 {
		appendOne(t, j, record(n))
	}
	suspected := 0
	for n := range 10_000 {
		if j.keyFilter.mayHave(fmt.Appendf(nil, "persat:new_%d", n)) {
			suspected++
		}
	}
	if suspected > 100 {
		t.Errorf("%d of 10000 new keys are suspected", suspected)
	}
	before := j.keyFilter.current
	j.keyFilter.mu.Lock()
	j.keyFilter.room = 200
	j.keyFilter.mu.Unlock()
	appendOne(t, j, record(200))
	// The next append begins when the one before has been committed.
	appendOne(t, j, record(201))
	j.background.Wait()
	if j.keyFilter.current == before || j.keyFilter.room < minFilterKeys {
		t.Errorf("no larger filter was learned: room for %d", j.keyFilter.room)
	}
	if !j.keyFilter.mayHave([]byte(record(7).Key)) {
		t.Error("the larger filter overlooks a key")
	}
}
