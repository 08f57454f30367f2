package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"
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

// AllPlaced goes through the published records from streamSeq on, in the order
// of the stream.
func (j *Journal) AllPlaced(streamSeq uint64) iter.Seq2[Placed, error] {
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

// reopenChunk bounds the batch of one step of Reopen.
const reopenChunk = 1000

// Reopen moves the published records whose place in the stream is streamSeq or
// later back to pending, and forgets their places and what NoteLost noted. each is told
// of every one; gone counts those whose bodies were dropped: their keys are free again,
// and LostForGood counts them. It returns once all is on disk. A crash in between leaves
// some reopened and the others as they were: the next look at the stream finds those again.
func (j *Journal) Reopen(streamSeq uint64, each func(Item)) (gone int, err error) {
	for {
		n, without, err := j.reopenSome(streamSeq, each)
		if err != nil {
			return gone, err
		}
		gone += without
		if n == 0 {
			break
		}
	}
	return gone, j.changeSynced("forget what was lost", func(b *pebble.Batch) error { return b.Delete(metaKey("lost"), nil) })
}

// reopenSome is one step of Reopen; it returns how many places it went through.
func (j *Journal) reopenSome(streamSeq uint64, each func(Item)) (n, gone int, err error) {
	j.settling.Lock()
	defer j.settling.Unlock()
	var chunk []Placed
	for p, err := range j.AllPlaced(streamSeq) {
		if err != nil {
			return 0, 0, err
		}
		if chunk = append(chunk, p); len(chunk) == reopenChunk {
			break
		}
	}
	if len(chunk) == 0 {
		return 0, 0, nil
	}
	err = j.change("reopen", func(b *pebble.Batch) error {
		for _, p := range chunk {
			has, err := j.reopen(b, p, each)
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
		return j.addGone(b, gone)
	})
	return len(chunk), gone, err
}

// reopen reopens one record; has is false when it would have to be sent again and has
// no body.
func (j *Journal) reopen(b *pebble.Batch, p Placed, each func(Item)) (has bool, err error) {
	if err := b.Delete(seqKey(prefixStream, p.StreamSeq), nil); err != nil {
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

// LostForGood is how many records Reopen and NoteGone have found to be lost for good, and
// when it found the last; since the beginning, or since ClearGone.
func (j *Journal) LostForGood() (n int, at time.Time, err error) {
	b, err := j.get(metaKey("gone"))
	if errors.Is(err, ErrNotFound) || err == nil && len(b) != 16 {
		return 0, at, nil
	}
	if err != nil {
		return 0, at, fmt.Errorf("read gone: %w", err)
	}
	return int(binary.BigEndian.Uint64(b)), time.Unix(0, int64(binary.BigEndian.Uint64(b[8:]))), nil
}

// NoteGone adds records to those that are lost for good.
func (j *Journal) NoteGone(n int) error {
	return j.changeSynced("note what is gone", func(b *pebble.Batch) error { return j.addGone(b, n) })
}

// ClearGone forgets their number.
func (j *Journal) ClearGone() error {
	return j.change("forget what is gone", func(b *pebble.Batch) error { return b.Delete(metaKey("gone"), nil) })
}

func (j *Journal) addGone(b *pebble.Batch, n int) error {
	before, _, err := j.LostForGood()
	if err != nil {
		return err
	}
	v := binary.BigEndian.AppendUint64(nil, uint64(before+n))
	return b.Set(metaKey("gone"), binary.BigEndian.AppendUint64(v, uint64(time.Now().UnixNano())), nil)
}

// NoteLost notes that the stream has lost a place, and perhaps others, so that a
// restart does not forget it. It returns once that is on disk.
func (j *Journal) NoteLost(streamSeq uint64) error {
	noted, err := j.Lost()
	if err != nil || noted != 0 && noted <= streamSeq {
		return err
	}
	return j.changeSynced("note what was lost", func(b *pebble.Batch) error {
		return b.Set(metaKey("lost"), binary.BigEndian.AppendUint64(nil, streamSeq), nil)
	})
}

// Lost is the lowest place that NoteLost noted; 0 for none.
func (j *Journal) Lost() (uint64, error) { return j.metaNumber("lost") }

// HasBody says whether a record still has its body.
func (j *Journal) HasBody(seq uint64) (bool, error) {
	if err := j.enter(); err != nil {
		return false, err
	}
	defer j.leave()
	_, closer, err := j.db.Get(seqKey(prefixBody, seq))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if Damaged(err) {
		return true, nil // what is damaged is there; who needs it finds out
	}
	if err != nil {
		return false, storeError{err}
	}
	return true, closer.Close()
}

// Stream is what was noted of the stream that the places are of; empty when
// nothing was.
func (j *Journal) Stream() (string, error) {
	b, err := j.get(metaKey("stream"))
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return string(b), err
}

// NoteStream notes the stream that the places are of, when that was not known.
func (j *Journal) NoteStream(identity string) error {
	return j.changeSynced("note the stream", func(b *pebble.Batch) error {
		return b.Set(metaKey("stream"), []byte(identity), nil)
	})
}

// SetStream notes another stream and forgets the places in the one before.
func (j *Journal) SetStream(identity string) error {
	return j.changeSynced("note the stream", func(b *pebble.Batch) error {
		if err := b.DeleteRange([]byte{prefixStream}, []byte{prefixStream + 1}, nil); err != nil {
			return err
		}
		if err := b.Delete(metaKey("lost"), nil); err != nil {
			return err
		}
		return b.Set(metaKey("stream"), []byte(identity), nil)
	})
}

// SetMissing notes that what was published between the two times is not in the stream,
// which was made anew. It returns once that is on disk.
func (j *Journal) SetMissing(since, until time.Time) error {
	return j.changeSynced("note what is missing", func(b *pebble.Batch) error {
		v := binary.BigEndian.AppendUint64(nil, uint64(since.UnixNano()))
		return b.Set(metaKey("missing"), binary.BigEndian.AppendUint64(v, uint64(until.UnixNano())), nil)
	})
}

// Missing is what SetMissing noted; ok is false when there is nothing.
func (j *Journal) Missing() (since, until time.Time, ok bool, err error) {
	b, err := j.get(metaKey("missing"))
	if errors.Is(err, ErrNotFound) || err == nil && len(b) != 16 {
		return since, until, false, nil
	}
	if err != nil {
		return since, until, false, err
	}
	at := func(b []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(b))) }
	return at(b), at(b[8:]), true, nil
}

// ClearMissing forgets it: the stream has been filled.
func (j *Journal) ClearMissing() error {
	return j.changeSynced("forget what is missing", func(b *pebble.Batch) error { return b.Delete(metaKey("missing"), nil) })
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
