package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// StreamPosition is a published record by its sequence in the stream.
type StreamPosition struct {
	StreamSeq uint64
	Seq       uint64
}

// LastPosition is the published record with the highest stream sequence.
func (j *Journal) LastPosition() (p StreamPosition, ok bool, err error) {
	last, err := j.PositionsBelow(0, 1)
	if err != nil || len(last) == 0 {
		return p, false, err
	}
	return last[0], true, nil
}

// PositionsBelow are up to n published records with stream sequences below one, 0 for
// any, highest first.
func (j *Journal) PositionsBelow(streamSeq uint64, n int) ([]StreamPosition, error) {
	end := []byte{prefixStream + 1}
	if streamSeq != 0 {
		end = seqKey(prefixStream, streamSeq)
	}
	return j.positions([]byte{prefixStream}, end, n, (*iterator).Last, (*iterator).Prev)
}

// PositionsFrom are up to n published records with stream sequences from one on, lowest first.
func (j *Journal) PositionsFrom(streamSeq uint64, n int) ([]StreamPosition, error) {
	return j.positions(seqKey(prefixStream, streamSeq), []byte{prefixStream + 1}, n, (*iterator).First, (*iterator).Next)
}

func (j *Journal) positions(from, end []byte, n int, begin, next func(*iterator) bool) ([]StreamPosition, error) {
	it, err := j.newIter(&pebble.IterOptions{LowerBound: from, UpperBound: end})
	if err != nil {
		return nil, fmt.Errorf("read stream positions: %w", err)
	}
	defer it.Close()
	var positions []StreamPosition
	for ok := begin(it); ok && len(positions) < n; ok = next(it) {
		p, err := positionAt(it)
		if err != nil {
			return nil, err
		}
		positions = append(positions, p)
	}
	return positions, it.Error()
}

// DropPositions forgets the stream sequences from first to last: the stream is not
// expected to have their messages.
func (j *Journal) DropPositions(first, last uint64) error {
	return j.change("drop stream positions", func(b *pebble.Batch) error {
		return b.DeleteRange(seqKey(prefixStream, first), seqKey(prefixStream, last+1), nil)
	})
}

func positionAt(it *iterator) (StreamPosition, error) {
	streamSeq, err := seqOf(it.Key())
	if err != nil {
		return StreamPosition{}, err
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return StreamPosition{}, fmt.Errorf("stream sequence %d: %w", streamSeq, storeError{err})
	}
	if len(b) != 8 {
		return StreamPosition{}, fmt.Errorf("stream sequence %d: %w", streamSeq, errValue)
	}
	return StreamPosition{StreamSeq: streamSeq, Seq: binary.BigEndian.Uint64(b)}, nil
}

// positionsFrom goes through the published records from streamSeq on, in the order
// of the stream.
func (j *Journal) positionsFrom(streamSeq uint64) iter.Seq2[StreamPosition, error] {
	return func(yield func(StreamPosition, error) bool) {
		it, err := j.iter(prefixStream, streamSeq)
		if err != nil {
			yield(StreamPosition{}, fmt.Errorf("read stream positions: %w", err))
			return
		}
		defer it.Close()
		for it.First(); it.Valid(); it.Next() {
			p, err := positionAt(it)
			if !yield(p, err) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(StreamPosition{}, fmt.Errorf("read stream positions: %w", err))
		}
	}
}

// HasPosition says whether the stream sequence of a published record is noted as its own.
// It is true also of a record that is no longer published: it needs none.
func (j *Journal) HasPosition(seq uint64) (bool, error) {
	p, err := j.Published(seq)
	if errors.Is(err, ErrNotFound) || Damaged(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	owns, err := j.ownsPosition(p.StreamSeq, seq)
	if Damaged(err) {
		return true, nil
	}
	return owns, err
}

// ownsPosition says whether a stream sequence is noted as this record's.
func (j *Journal) ownsPosition(streamSeq, seq uint64) (bool, error) {
	owner, err := j.ownerSeq(streamSeq)
	if errors.Is(err, ErrNotFound) || errors.Is(err, errValue) {
		return false, nil
	}
	return err == nil && owner == seq, err
}

// ownerSeq is the record that is noted at a stream sequence.
func (j *Journal) ownerSeq(streamSeq uint64) (uint64, error) {
	b, err := j.get(seqKey(prefixStream, streamSeq))
	if err != nil {
		return 0, fmt.Errorf("stream sequence %d: %w", streamSeq, err)
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("stream sequence %d: %w", streamSeq, errValue)
	}
	return binary.BigEndian.Uint64(b), nil
}

// HasWholeStream says whether the journal can fill an empty stream with all that was ever
// in the one it knows: each stream sequence from 1 on is that of a record with a body. A
// gap may be somebody else's message, a replay's, or a record that retention took.
func (j *Journal) HasWholeStream() (bool, error) {
	next := uint64(1)
	for p, err := range j.positionsFrom(0) {
		if Damaged(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		has, err := j.HasBody(p.Seq)
		if err != nil || !has || p.StreamSeq != next {
			return false, err
		}
		next++
	}
	if next > 1 {
		return true, nil
	}
	trimmed, err := metaTrimmed.number(j)
	return trimmed == 0, err
}
