package journal

import (
	"slices"
	"sync"
)

// tailCacheBytes bounds the bodies and headers in the cache.
const tailCacheBytes = 8 << 20

// tailCache has the records that have just become durable, until they are read once: an
// event that is published at once is not read from the store. It holds a run of the
// journal without gaps. When it is full it takes nothing until all of it has been read:
// the reader is behind, and reads the store.
type tailCache struct {
	mu sync.Mutex
	// items are the unread pending records with sequences from from on and before to.
	from, to uint64
	items    []PendingItem
	bytes    int
}

// add takes a commit's pending records, of its sequences from first on and before next.
// It copies the bodies.
func (c *tailCache) add(requests []*appendRequest, first, next uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.items) == 0 {
		c.from, c.to, c.bytes = first, first, 0
	}
	if c.to != first || c.bytes >= tailCacheBytes {
		return
	}
	size := 0
	for _, q := range requests {
		size += len(q.record.Body)
		c.bytes += len(q.record.Header)
	}
	bodies := make([]byte, 0, size)
	for _, q := range requests {
		if !q.stored() || q.record.Dead != nil {
			continue
		}
		at := len(bodies)
		bodies = append(bodies, q.record.Body...)
		digest := q.digest
		c.items = append(c.items, PendingItem{
			Item: Item{Seq: q.result.Seq, Key: q.record.Key, Appended: q.appended, Header: q.record.Header, Digest: digest[:]},
			Body: bodies[at:len(bodies):len(bodies)],
		})
	}
	c.bytes += size
	c.to = next
}

// take returns up to limit records from sequence from on, and where to go on. ok is
// false when the store has to be read, up to before; before is 0 when the cache has
// nothing that comes later.
func (c *tailCache) take(from uint64, limit int) (items []PendingItem, next, before uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.items) == 0 || from >= c.to {
		c.items = nil
		return nil, 0, 0, false
	}
	if from < c.from {
		return nil, 0, c.from, false
	}
	i, _ := slices.BinarySearchFunc(c.items, from, func(p PendingItem, seq uint64) int {
		if p.Seq < seq {
			return -1
		}
		return 1
	})
	rest := c.items[i:]
	if len(rest) > limit {
		items = slices.Clone(rest[:limit])
		clear(c.items[:i+limit]) // the bodies are the reader's now
		c.items = rest[limit:]
		c.from = c.items[0].Seq
		return items, c.from, 0, true
	}
	items, next = slices.Clone(rest), c.to
	clear(c.items)
	c.items = c.items[:0]
	return items, next, 0, true
}

// published empties the cache if it has a record that was published without being read.
func (c *tailCache) published(marks []Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.items) == 0 {
		return
	}
	for _, m := range marks {
		if m.Seq >= c.items[0].Seq && m.Seq < c.to {
			c.items = nil
			return
		}
	}
}

// drop empties the cache; the records are read from the store.
func (c *tailCache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items = nil
}
