package journal

import (
	"slices"
	"sync"
)

// recentBytes bounds what recent holds of bodies and headers.
const recentBytes = 8 << 20

// recent keeps the records that have just been made durable until somebody reads
// them, so that an event which is published at once is not read from the store. It
// is a run of the journal without gaps. When it is full it takes no more until
// all of it has been read: then the reader is behind, and reads the store.
type recent struct {
	mu sync.Mutex
	// Of the records from sequence from on and before to, items are those that are
	// pending and have not been read.
	from, to uint64
	items    []PendingItem
	bytes    int
}

// add takes a commit's records: those that are pending, of its sequences from
// first on and before next. It copies the bodies.
func (r *recent) add(requests []*appendRequest, first, next uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) == 0 {
		r.from, r.to, r.bytes = first, first, 0
	}
	if r.to != first || r.bytes >= recentBytes {
		return
	}
	size := 0
	for _, q := range requests {
		size += len(q.record.Body)
		r.bytes += len(q.record.Header)
	}
	bodies := make([]byte, 0, size)
	for _, q := range requests {
		if q.result.Status != Stored || q.err != nil || q.record.Dead != nil {
			continue
		}
		at := len(bodies)
		bodies = append(bodies, q.record.Body...)
		digest := q.digest
		r.items = append(r.items, PendingItem{
			Item: Item{Seq: q.result.Seq, Key: q.record.Key, Appended: q.appended, Header: q.record.Header, Digest: digest[:]},
			Body: bodies[at:len(bodies):len(bodies)],
		})
	}
	r.bytes += size
	r.to = next
}

// take returns up to limit records from sequence from on, and where to go on; ok is
// false when the store has to be read, up to before, which is 0 when there is nothing
// here that comes later.
func (r *recent) take(from uint64, limit int) (items []PendingItem, next, before uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.items) == 0 || from >= r.to {
		r.items = nil
		return nil, 0, 0, false
	}
	if from < r.from {
		return nil, 0, r.from, false
	}
	i, _ := slices.BinarySearchFunc(r.items, from, func(p PendingItem, seq uint64) int {
		if p.Seq < seq {
			return -1
		}
		return 1
	})
	rest := r.items[i:]
	if len(rest) > limit {
		items = slices.Clone(rest[:limit])
		clear(r.items[:i+limit]) // the bodies are the reader's now
		r.items = rest[limit:]
		r.from = r.items[0].Seq
		return items, r.from, 0, true
	}
	items, next = slices.Clone(rest), r.to
	clear(r.items)
	r.items = r.items[:0]
	return items, next, 0, true
}

// drop lets go of what has not been read: the store has it, and what was made pending
// meanwhile among it.
func (r *recent) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items = nil
}
