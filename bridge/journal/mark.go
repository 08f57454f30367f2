package journal

import (
	"encoding/binary"
	"errors"
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

// Collision is a mark whose stream sequence is another record's. A stream gives a
// sequence once, unless it was rolled back: so it has lost the message of Owner.
type Collision struct {
	StreamPosition
	Owner uint64
}

// MarkPublished moves records from pending to published. In package bridge the loop alone
// calls it (complete.go, loss.go). It does not write the marks that
// it returns as collisions: these records stay as they are. For them it notes the rollback
// in the same batch, and returns once that is on disk. Two records of one key are one
// message: the later one takes the sequence over.
func (j *Journal) MarkPublished(marks []Mark) (collisions []Collision, err error) {
	j.marking.Lock()
	defer j.marking.Unlock()
	highest := uint64(0)
	compare := false
	for _, m := range marks {
		compare = compare || m.StreamSeq <= max(highest, j.highestPosition.Load())
		highest = max(highest, m.StreamSeq)
	}
	if compare { // else no position is there to collide with, as nearly always
		j.moving.Lock()
		defer j.moving.Unlock()
		if marks, collisions, err = j.collisions(marks); err != nil {
			return nil, err
		}
	}
	if err := j.mark(marks, collisions); err != nil {
		return nil, err
	}
	j.tailCache.published(marks)
	if len(collisions) > 0 {
		return collisions, j.Sync()
	}
	return nil, nil
}

// collisions splits marks into those to be written and those that collide.
func (j *Journal) collisions(marks []Mark) (write []Mark, collisions []Collision, err error) {
	before := make(map[uint64]Item, len(marks)) // of this batch
	for _, m := range marks {
		owner, owned := before[m.StreamSeq]
		if !owned {
			if owner, owned, err = j.positionOwner(m.StreamSeq); err != nil {
				return nil, nil, err
			}
		}
		if owned && owner.Seq != m.Seq && (owner.Key == "" || owner.Key != m.Key) {
			collisions = append(collisions, Collision{StreamPosition{StreamSeq: m.StreamSeq, Seq: m.Seq}, owner.Seq})
			continue
		}
		before[m.StreamSeq] = m.Item
		write = append(write, m)
	}
	return write, collisions, nil
}

// positionOwner is the record whose stream sequence this is. A damaged record has it
// without a key: it can be lost, too.
func (j *Journal) positionOwner(streamSeq uint64) (owner Item, owned bool, err error) {
	seq, err := j.ownerSeq(streamSeq)
	if errors.Is(err, ErrNotFound) || Damaged(err) || errors.Is(err, errValue) { // nobody can find it there any more
		return Item{}, false, nil
	}
	if err != nil {
		return Item{}, false, err
	}
	p, err := j.Published(seq)
	switch {
	case Damaged(err), errors.Is(err, errValue):
		return Item{Seq: seq}, true, nil
	case errors.Is(err, ErrNotFound):
		return Item{}, false, nil
	case err != nil:
		return Item{}, false, err
	}
	return p.Item, p.StreamSeq == streamSeq, nil
}

func (j *Journal) mark(marks []Mark, collisions []Collision) error {
	rollback := uint64(0)
	for _, c := range collisions {
		if rollback == 0 || c.StreamSeq < rollback {
			rollback = c.StreamSeq
		}
	}
	if rollback != 0 {
		j.noting.Lock()
		defer j.noting.Unlock()
	}
	highest := j.highestPosition.Load()
	var room []byte
	err := j.change("mark published", func(b *pebble.Batch) error {
		// The store finds the place of a key soon when it lies behind that of the last one. So
		// keys of a kind come together.
		for _, m := range marks {
			if err := deleteSeq(b, prefixPending, m.Seq); err != nil {
				return err
			}
		}
		for _, m := range marks {
			v := m.value()
			v.streamSeq, v.at = m.StreamSeq, m.At
			room = v.append(room[:0])
			if err := setSeq(b, prefixPublished, m.Seq, room); err != nil {
				return err
			}
		}
		for _, m := range marks {
			room = binary.BigEndian.AppendUint64(room[:0], m.Seq)
			if err := setSeq(b, prefixStream, m.StreamSeq, room); err != nil {
				return err
			}
			highest = max(highest, m.StreamSeq)
		}
		if rollback == 0 {
			return nil
		}
		return j.addRollback(b, rollback)
	})
	if err != nil {
		return err
	}
	j.highestPosition.Store(highest)
	for _, m := range marks { // after the write, or a DropPublished that is under way might see neither
		j.hasBodyFrom(m.Seq)
	}
	return nil
}
