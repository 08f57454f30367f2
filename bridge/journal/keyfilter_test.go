package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/cockroachdb/pebble/v2"
)

// Every key that an append has returned for is known to be taken, whether it came
// before a filter was built, while it was, or after.
func TestKeyFilterMissesNoKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A small filter is built often.
	small := func(o *Options) { o.filterKeys = 10_000 }
	j := open(t, dir, small)
	var mu sync.Mutex
	var keys []string
	fill := func(round int) {
		const writers, each = 8, 100
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
					t.Errorf("%s is missed", key)
				}
			}
			mu.Unlock()
		}
	}
	fill(0)
	closeJournal(t, j)
	j = open(t, dir, small)
	fill(1)
	closeJournal(t, j)
	j = open(t, dir, small)
	j.background.Wait()
	for _, key := range keys {
		if !j.keyFilter.mayHave([]byte(key)) {
			t.Fatalf("after a restart: %s is missed", key)
		}
	}
	if got := appendOne(t, j, record(0)); got.Status != Repeat {
		t.Errorf("got %+v, want a repeat", got)
	}
}

// The filter is of use: hardly any new key seems taken. When it has too many
// keys to be that, a larger one is built.
func TestKeyFilterHasFewFalsePositives(t *testing.T) {
	j := open(t, t.TempDir())
	j.background.Wait()
	for n := range 200 {
		appendOne(t, j, record(n))
	}
	positives := 0
	for n := range 10_000 {
		if j.keyFilter.mayHave(fmt.Appendf(nil, "persat:new_%d", n)) {
			positives++
		}
	}
	if positives > 100 {
		t.Errorf("%d of 10000 new keys seem taken", positives)
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
		t.Errorf("no larger filter was built: room for %d", j.keyFilter.room)
	}
	if !j.keyFilter.mayHave([]byte(record(7).Key)) {
		t.Error("the larger filter misses a key")
	}
}

// More ids than a filter has room for at least, a million, were kept that were older than the
// last record that was trimmed (a subject had been held for longer than the retention, while
// others flowed). The filter had no room for them, and each commit built another, from the
// whole store.
func TestKeyFilterIsBuiltOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	room := func(o *Options) { o.filterKeys = 10_000 }
	j := open(t, dir, room)
	const n = 11_000
	b := j.db.NewBatch()
	for i := 1; i <= n; i++ {
		v := value{appended: time.Now(), seq: uint64(i)}
		if err := b.Set(seenKey(fmt.Sprintf("persat:msg_%d", i)), v.append(nil), nil); err != nil {
			t.Fatal(err)
		}
		if b.Len() > 1<<20 {
			if err := j.db.Apply(b, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
	number := binary.BigEndian.AppendUint64(nil, n)
	if err := errors.Join(b.Set(metaTrimmed.key(), number, nil), b.Set(metaNext.key(), number, nil), j.db.Apply(b, pebble.Sync)); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	j = open(t, dir, room)
	filter := func() *bloom.BloomFilter {
		for {
			j.keyFilter.mu.Lock()
			f, building := j.keyFilter.current, j.keyFilter.next != nil
			j.keyFilter.mu.Unlock()
			if f != nil && !building {
				return f
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	filters := make(map[*bloom.BloomFilter]bool)
	for i := range 10 {
		filters[filter()] = true
		appendOne(t, j, record(10_000_000+i))
		time.Sleep(20 * time.Millisecond)
	}
	if len(filters) > 2 {
		t.Errorf("10 appends, and the filter was built %d times", len(filters))
	}
}
