package journal

import (
	"github.com/cockroachdb/pebble/v2"
)

// reclaimTrimmed gives back the space of so many more bodies, when with those before
// they are enough to be worth the rewriting of the tables at the ends.
func (j *Journal) reclaimTrimmed(bodies int) error {
	j.moving.Lock()
	if j.trimmedBodies += bodies; j.trimmedBodies < trimChunk {
		j.moving.Unlock()
		return nil
	}
	span := j.trimmedSpan
	j.trimmedBodies, j.trimmedSpan = 0, bodyRun{}
	j.moving.Unlock()
	return j.reclaim(span)
}

// bodyRun is a run of records, one behind the other, whose bodies go. They go as
// a range: the store then drops whole files, instead of carrying a tombstone for
// each body through its levels.
type bodyRun struct{ first, last uint64 }

func (r *bodyRun) add(b *pebble.Batch, seq uint64) error {
	if r.last != 0 && seq == r.last+1 {
		r.last = seq
		return nil
	}
	err := r.drop(b)
	r.first, r.last = seq, seq
	return err
}

// widen makes it reach to seq.
func (r *bodyRun) widen(seq uint64) {
	if r.last == 0 {
		r.first = seq
	}
	r.first, r.last = min(r.first, seq), max(r.last, seq)
}

func (r *bodyRun) drop(b *pebble.Batch) error {
	if r.last == 0 {
		return nil
	}
	return b.DeleteRange(seqKey(prefixBody, r.first), seqKey(prefixBody, r.last+1), nil)
}

// reclaim gives the disk the space of dropped bodies back. Without being told, the
// store does that when it next has a reason to merge the tables they are in: for a
// journal at rest, never. It writes no more than the two tables at the ends of the
// span, which have bodies that stay: so it also works on a disk that is nearly full.
func (j *Journal) reclaim(span bodyRun) error {
	if span.last == 0 {
		return nil
	}
	return j.merge(seqKey(prefixBody, span.first), seqKey(prefixBody, span.last+1))
}

// ReclaimPending takes away what is left where records were pending: a tombstone for each
// that is not any more. Behind a drained backlog every look for the newest pending record
// walks over all of them, which takes most of a second for a million.
func (j *Journal) ReclaimPending() error {
	return j.merge([]byte{prefixPending}, seqKey(prefixPending, j.Next()))
}

// merge has the store merge the tables between two keys.
func (j *Journal) merge(from, to []byte) error {
	err := j.attempt(func() error { return j.db.Compact(j.upkeep, from, to, false) })
	if j.upkeep.Err() != nil {
		return j.Err()
	}
	if Damaged(err) {
		return nil // it is told (DataCorruption); the space comes back with the whole file
	}
	return err
}
