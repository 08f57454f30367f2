package journal

import (
	"encoding/binary"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Mark says that JetStream acknowledged a record. Item is the record as it was
// read, so that the mark can carry it over without another read.
type Mark struct {
	Item
	StreamSeq uint64
	At        time.Time
}

// MarkPublished moves records from pending to published.
func (j *Journal) MarkPublished(marks []Mark) error {
	var room []byte
	err := j.change("mark published", func(b *pebble.Batch) error {
		for _, m := range marks {
			v := m.value()
			v.streamSeq, v.at = m.StreamSeq, m.At
			if err := move(b, m.Seq, prefixPending, prefixPublished, &v); err != nil {
				return err
			}
			room = binary.BigEndian.AppendUint64(room[:0], m.Seq)
			if err := setSeq(b, prefixStream, m.StreamSeq, room); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil { // after, or a DropPublished that is under way might see neither
		for _, m := range marks {
			j.hasBodyFrom(m.Seq)
		}
	}
	return err
}

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
			if err := b.Delete(seqKey(prefixBody, item.Seq), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// move takes the record out of one state and into another, in one batch.
func move(b *pebble.Batch, seq uint64, from, to byte, v *value) error {
	if err := b.Delete(seqKey(from, seq), nil); err != nil {
		return err
	}
	return setSeq(b, to, seq, v.append(nil))
}
