package journal

import (
	"github.com/cockroachdb/pebble/v2"
)

// MarkDead moves a record from pending to dead.
func (j *Journal) MarkDead(item Item, d Death) error {
	return j.change("mark dead", func(b *pebble.Batch) error {
		v := item.value()
		v.at, v.reason, v.attempts = d.At, d.Reason, d.Attempts
		return move(b, item.Seq, prefixPending, prefixDead, &v)
	})
}

// Requeue moves dead letters back to pending, with the headers that the items
// carry, and returns once that is on disk.
func (j *Journal) Requeue(items []Item) error {
	defer j.tailCache.drop() // it may span some of them and lacks them: they were dead when they were appended
	return j.changeSynced("requeue", func(b *pebble.Batch) error {
		for _, item := range items {
			v := item.value()
			if err := move(b, item.Seq, prefixDead, prefixPending, &v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Discard drops dead letters for good, and returns once that is on disk. Their
// keys stay seen until the window ends: a late repeat must not bring them back.
func (j *Journal) Discard(items []DeadItem) error {
	return j.changeSynced("discard", func(b *pebble.Batch) error {
		for _, item := range items {
			// A published record without a stream sequence and a body is one
			// that has been discarded.
			v := item.value()
			v.at = item.At
			if err := move(b, item.Seq, prefixDead, prefixPublished, &v); err != nil {
				return err
			}
			if err := deleteSeq(b, prefixBody, item.Seq); err != nil {
				return err
			}
		}
		return nil
	})
}

// move takes the record out of one state and into another, in one batch.
func move(b *pebble.Batch, seq uint64, from, to byte, v *value) error {
	if err := deleteSeq(b, from, seq); err != nil {
		return err
	}
	return setSeq(b, to, seq, v.append(nil))
}
