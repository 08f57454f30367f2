package journal

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// PendingItem is a pending record as it is read to be published.
type PendingItem struct {
	Item
	// Body is nil when it was not read along: it is too much for this once, or
	// cannot be read. Load tells.
	Body []byte
}

// readAheadBytes bounds the bodies and headers that Pending reads from the store.
const readAheadBytes = 4 << 20

// Pending reads some pending records, limit at most, from sequence from on, in order,
// and says where to go on. Only records whose append is durable are seen; next is the
// end of those when there are no more.
func (j *Journal) Pending(from uint64, limit int) (items []PendingItem, next uint64, err error) {
	items, next, end, ok := j.pendingInMemory(from, limit)
	if ok {
		return items, next, nil
	}
	it, err := j.newIter(&pebble.IterOptions{LowerBound: seqKey(prefixPending, from), UpperBound: seqKey(prefixPending, end)})
	if err != nil {
		return nil, from, fmt.Errorf("read pending: %w", err)
	}
	defer it.Close()
	bodies, err := j.iter(prefixBody, from)
	if err != nil {
		return nil, from, fmt.Errorf("read pending: %w", err)
	}
	defer bodies.Close()
	for size := 0; ; {
		if len(items) == 0 {
			it.First()
		} else {
			it.Next()
		}
		if !it.Valid() {
			break
		}
		seq, v, err := entry(it.Iterator)
		if err != nil {
			return items, from, fmt.Errorf("read pending: %w", err)
		}
		if len(items) == limit || size >= readAheadBytes {
			return items, seq, nil
		}
		if items == nil {
			items = make([]PendingItem, 0, min(uint64(limit), end-seq))
		}
		p := PendingItem{Item: v.item(seq).Clone()}
		if b := bodyAt(bodies, seq); b != nil {
			p.Body = bytes.Clone(b)
		}
		size += len(p.Header) + len(p.Body)
		items = append(items, p)
	}
	return items, end, it.Error()
}

// PendingInMemory is Pending without reading the store; ok is false when it has to be read.
func (j *Journal) PendingInMemory(from uint64, limit int) (items []PendingItem, next uint64, ok bool) {
	items, next, _, ok = j.pendingInMemory(from, limit)
	return items, next, ok
}

// pendingInMemory says before which sequence the store has to be read when ok is false.
func (j *Journal) pendingInMemory(from uint64, limit int) (items []PendingItem, next, end uint64, ok bool) {
	end = j.durable.Load() // first: what becomes durable meanwhile is in the cache, and read from there
	items, next, before, ok := j.tailCache.take(from, limit)
	if ok {
		return items, next, end, true
	}
	if before != 0 {
		end = min(end, before)
	}
	return nil, from, end, from >= end
}

// bodyAt is the body of a record, which bodies is at or before; nil when it cannot be
// read. It is valid until bodies moves.
func bodyAt(bodies *iterator, seq uint64) []byte {
	key := seqKey(prefixBody, seq)
	if bodies.Valid() && bytes.Compare(bodies.Key(), key) < 0 {
		bodies.Next() // mostly the next one
	}
	if !bodies.Valid() || bytes.Compare(bodies.Key(), key) < 0 {
		bodies.SeekGE(key)
	}
	if !bodies.Valid() || !bytes.Equal(bodies.Key(), key) {
		return nil
	}
	b, err := bodies.ValueAndErr()
	if err != nil {
		return nil
	}
	return b
}

// Load reads a pending record whole. When only its body cannot be read, the Item
// is good all the same.
func (j *Journal) Load(seq uint64) (Item, []byte, error) {
	v, err := j.state(prefixPending, seq)
	if err != nil {
		return Item{}, nil, err
	}
	body, err := j.Body(seq)
	if err != nil {
		return v.item(seq), nil, fmt.Errorf("record %d: body: %w", seq, err)
	}
	return v.item(seq), body, nil
}
