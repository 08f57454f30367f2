package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// Placed is a published record by its place in the stream.
type Placed struct {
	StreamSeq uint64
	Seq       uint64
}

// LastPlaced is the published record with the highest place in the stream.
func (j *Journal) LastPlaced() (Placed, bool, error) {
	return j.placed(func(it *pebble.Iterator) bool { return it.Last() })
}

// PlacedFrom is the published record with the lowest place from streamSeq on.
func (j *Journal) PlacedFrom(streamSeq uint64) (Placed, bool, error) {
	return j.placed(func(it *pebble.Iterator) bool { return it.SeekGE(seqKey(prefixStream, streamSeq)) })
}

func (j *Journal) placed(seek func(*pebble.Iterator) bool) (Placed, bool, error) {
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

func placedAt(it *pebble.Iterator) (Placed, error) {
	streamSeq, err := seqOf(it.Key())
	if err != nil {
		return Placed{}, err
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return Placed{}, err
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
// later back to pending, and forgets their places. each is told of every one. It
// returns once all is on disk. A crash in between leaves some reopened and the
// others as they were: the next look at the stream finds those again.
func (j *Journal) Reopen(streamSeq uint64, each func(Item)) error {
	for {
		n, err := j.reopenSome(streamSeq, each)
		if err != nil {
			return err
		}
		if n == 0 {
			return j.Sync()
		}
	}
}

// reopenSome is one step of Reopen; it returns how many places it went through.
func (j *Journal) reopenSome(streamSeq uint64, each func(Item)) (int, error) {
	j.settling.Lock()
	defer j.settling.Unlock()
	var chunk []Placed
	for p, err := range j.AllPlaced(streamSeq) {
		if err != nil {
			return 0, err
		}
		if chunk = append(chunk, p); len(chunk) == reopenChunk {
			break
		}
	}
	if len(chunk) == 0 {
		return 0, nil
	}
	return len(chunk), j.change("reopen", func(b *pebble.Batch) error {
		for _, p := range chunk {
			if err := j.reopen(b, p, each); err != nil {
				return err
			}
		}
		return nil
	})
}

func (j *Journal) reopen(b *pebble.Batch, p Placed, each func(Item)) error {
	if err := b.Delete(seqKey(prefixStream, p.StreamSeq), nil); err != nil {
		return err
	}
	published, err := j.Published(p.Seq)
	if errors.Is(err, ErrNotFound) || err == nil && published.StreamSeq != p.StreamSeq {
		return nil // retention took it, or it was published again elsewhere
	}
	if err != nil {
		return err
	}
	switch has, err := j.hasBody(p.Seq); {
	case err != nil:
		return err
	case !has:
		return nil
	}
	v := published.value()
	if err := move(b, p.Seq, prefixPublished, prefixPending, &v); err != nil {
		return err
	}
	each(published.Item)
	return nil
}

func (j *Journal) hasBody(seq uint64) (bool, error) {
	_, closer, err := j.db.Get(seqKey(prefixBody, seq))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
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
	err := j.change("note the stream", func(b *pebble.Batch) error {
		return b.Set(metaKey("stream"), []byte(identity), nil)
	})
	return errors.Join(err, j.Sync())
}

// SetStream notes another stream and forgets the places in the one before.
func (j *Journal) SetStream(identity string) error {
	err := j.change("note the stream", func(b *pebble.Batch) error {
		if err := b.DeleteRange([]byte{prefixStream}, []byte{prefixStream + 1}, nil); err != nil {
			return err
		}
		return b.Set(metaKey("stream"), []byte(identity), nil)
	})
	return errors.Join(err, j.Sync())
}
