package journal

import (
	"errors"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// unpublishChunk bounds the batch of one step of Unpublish.
const unpublishChunk = 1000

// Unpublish is UnpublishRange from a stream sequence to the end, and clears the note of
// NoteRollback.
func (j *Journal) Unpublish(streamSeq uint64, each func(Item)) (gone int, err error) {
	if gone, err = j.UnpublishRange(streamSeq, math.MaxUint64, each); err != nil {
		return gone, err
	}
	return gone, j.changeSynced("clear the rollback", metaRollback.clear)
}

// UnpublishRange moves the published records with stream sequences from first to last back to
// pending, and drops their positions. It calls each for every one of them; gone counts
// those whose bodies were dropped: their keys are free again, and Unrecoverable counts
// them. It returns once all is on disk. A crash in between leaves some pending and the
// others as they were: the next verification of the stream finds those again.
func (j *Journal) UnpublishRange(first, last uint64, each func(Item)) (gone int, err error) {
	for {
		n, without, err := j.unpublishSome(first, last, each)
		if err != nil {
			return gone, err
		}
		gone += without
		if n == 0 {
			return gone, j.Sync()
		}
	}
}

// unpublishSome is one step of Unpublish; it returns how many positions it went through.
func (j *Journal) unpublishSome(first, last uint64, each func(Item)) (n, gone int, err error) {
	j.moving.Lock()
	defer j.moving.Unlock()
	j.noting.Lock()
	defer j.noting.Unlock()
	chunk, err := j.PositionsFrom(first, unpublishChunk)
	if err != nil {
		return 0, 0, err
	}
	for len(chunk) > 0 && chunk[len(chunk)-1].StreamSeq > last {
		chunk = chunk[:len(chunk)-1]
	}
	if len(chunk) == 0 {
		return 0, 0, nil
	}
	err = j.change("unpublish", func(b *pebble.Batch) error {
		for _, p := range chunk {
			has, err := j.unpublish(b, p, each)
			if err != nil {
				return err
			}
			if !has {
				gone++
			}
		}
		if gone == 0 {
			return nil
		}
		return j.addUnrecoverable(b, gone)
	})
	return len(chunk), gone, err
}

// unpublish makes one record pending; has is false when it would have to be sent again and has
// no body.
func (j *Journal) unpublish(b *pebble.Batch, p StreamPosition, each func(Item)) (has bool, err error) {
	if err := deleteSeq(b, prefixStream, p.StreamSeq); err != nil {
		return true, err
	}
	published, err := j.Published(p.Seq)
	if errors.Is(err, ErrNotFound) || err == nil && published.StreamSeq != p.StreamSeq {
		return true, nil // it is on its way already, or was published again elsewhere
	}
	if Damaged(err) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	if has, err := j.HasBody(p.Seq); err != nil {
		return true, err
	} else if !has { // only the sender can bring it back, and must not be told that it is a repeat
		return false, j.Forget([]Item{published.Item})
	}
	v := published.value()
	if err := move(b, p.Seq, prefixPublished, prefixPending, &v); err != nil {
		return true, err
	}
	each(published.Item)
	return true, nil
}
