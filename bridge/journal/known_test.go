package journal

import (
	"fmt"
	"sync"
	"testing"
)

// Every key that is in the store is known to be taken, whether it came before the
// filter was learned, while it was, or after.
func TestKnownOverlooksNoKey(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	const writers, each = 8, 300
	fill := func(round int) {
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for n := range each {
					appendOne(t, j, record(round*1_000_000+w*1000+n))
				}
			})
		}
		for range 20 {
			j.learnKnown()
		}
		group.Wait()
	}
	check := func(when string, rounds int) {
		t.Helper()
		for round := range rounds {
			for w := range writers {
				for n := range each {
					if key := record(round*1_000_000 + w*1000 + n).Key; !j.known.mayHave(key) {
						t.Fatalf("%s: %s is overlooked", when, key)
					}
				}
			}
		}
	}
	fill(0)
	check("learned meanwhile", 1)
	closeJournal(t, j)
	j = open(t, dir)
	check("at the start", 1) // perhaps not yet learned
	fill(1)
	j.background.Wait()
	check("after a restart", 2)
	if got := appendOne(t, j, record(0)); got.Status != Repeat {
		t.Errorf("got %+v, want a repeat", got)
	}
}

// The filter is of use: of new keys it suspects hardly any. When it has too many
// keys to be that, a larger one is learned.
func TestKnownSuspectsFewKeys(t *testing.T) {
	j := open(t, t.TempDir())
	j.background.Wait()
	for n := range 200 {
		appendOne(t, j, record(n))
	}
	suspected := 0
	for n := range 10_000 {
		if j.known.mayHave(fmt.Sprintf("persat:new_%d", n)) {
			suspected++
		}
	}
	if suspected > 100 {
		t.Errorf("%d of 10000 new keys are suspected", suspected)
	}
	before := j.known.filter
	j.known.mu.Lock()
	j.known.room = 200
	j.known.mu.Unlock()
	appendOne(t, j, record(200))
	// The next append begins when the one before has been committed.
	appendOne(t, j, record(201))
	j.background.Wait()
	if j.known.filter == before || j.known.room < minKnown {
		t.Errorf("no larger filter was learned: room for %d", j.known.room)
	}
	if !j.known.mayHave(record(7).Key) {
		t.Error("the larger filter overlooks a key")
	}
}
