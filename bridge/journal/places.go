package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Placed is a published record by its place in the stream.
type Placed struct {
	StreamSeq uint64
	Seq       uint64
}

// LastPlaced is the published record with the highest place in the stream.
func (j *Journal) LastPlaced() (Placed, bool, error) {
	return j.placed(func(it *iterator) bool { return it.Last() })
}

// PlacedFrom is the published record with the lowest place from streamSeq on.
func (j *Journal) PlacedFrom(streamSeq uint64) (Placed, bool, error) {
	return j.placed(func(it *iterator) bool { return it.SeekGE(seqKey(prefixStream, streamSeq)) })
}

// NewestPlaced are the n published records with the highest places, highest first.
func (j *Journal) NewestPlaced(n int) ([]Placed, error) {
	it, err := j.iter(prefixStream, 0)
	if err != nil {
		return nil, fmt.Errorf("read places: %w", err)
	}
	defer it.Close()
	var places []Placed
	for ok := it.Last(); ok && len(places) < n; ok = it.Prev() {
		p, err := placedAt(it)
		if err != nil {
			return nil, err
		}
		places = append(places, p)
	}
	return places, it.Error()
}

func (j *Journal) placed(seek func(*iterator) bool) (Placed, bool, error) {
	it, err := j.iter(prefixStream, 0)
	if err != nil {
		return Placed{}, false, fmt.Errorf("read places: %w", err)
	}
	defer it.Close()
	if !seek(it) {
		return Placed{}, false, it.Error()
	}
	p, err := placedAt(it)
	return p, err == nil, err
}

func placedAt(it *iterator) (Placed, error) {
	streamSeq, err := seqOf(it.Key())
	if err != nil {
		return Placed{}, err
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return Placed{}, fmt.Errorf("place %d: %w", streamSeq, storeError{err})
	}
	if len(b) != 8 {
		return Placed{}, fmt.Errorf("place %d: %w", streamSeq, errValue)
	}
	return Placed{StreamSeq: streamSeq, Seq: binary.BigEndian.Uint64(b)}, nil
}

// placesFrom goes through the published records from streamSeq on, in the order
// of the stream.
func (j *Journal) placesFrom(streamSeq uint64) iter.Seq2[Placed, error] {
	return func(yield func(Placed, error) bool) {
		it, err := j.iter(prefixStream, streamSeq)
		if err != nil {
			yield(Placed{}, fmt.Errorf("read places: %w", err))
			return
		}
		defer it.Close()
		for it.First(); it.Valid(); it.Next() {
			p, err := placedAt(it)
			if !yield(p, err) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(Placed{}, fmt.Errorf("read places: %w", err))
		}
	}
}

// HasPlace says whether a published record has its place in the stream as it is; also of one
// that is not published any more, which needs none.
func (j *Journal) HasPlace(seq uint64) (bool, error) {
	p, err := j.Published(seq)
	if errors.Is(err, ErrNotFound) || Damaged(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	placed, err := j.isPlaced(p.StreamSeq, seq)
	if Damaged(err) {
		return true, nil
	}
	return placed, err
}

// isPlaced says whether a place in the stream is that of a record.
func (j *Journal) isPlaced(streamSeq, seq uint64) (bool, error) {
	place, err := j.get(seqKey(prefixStream, streamSeq))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && bytes.Equal(place, binary.BigEndian.AppendUint64(nil, seq)), err
}
