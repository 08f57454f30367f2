package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// formatVersion counts changes of the key space that an older program would
// read wrongly. It stands under "m format".
const formatVersion = 1

func metaKey(name string) []byte { return append([]byte{prefixMeta}, name...) }

// load reads the meta keys and finds the next sequence.
func (j *Journal) load() error {
	format, err := j.metaNumber("format")
	if err != nil {
		return err
	}
	if format > formatVersion {
		return fmt.Errorf("format %d, this program knows %d: use the program that wrote it or a newer one", format, formatVersion)
	}
	if format == 0 && !j.o.ReadOnly {
		if err := j.db.Set(metaKey("format"), binary.BigEndian.AppendUint64(nil, formatVersion), pebble.Sync); err != nil {
			return err
		}
		// The store began its first log before it had the format asked for. In
		// that log a damaged byte looks like the torn end of a crash, and all
		// behind it would be dropped without a word; measured. From the next log
		// on, chunks say up to where the log is known to be synced, and damage
		// before that is an error.
		if err := j.db.Flush(); err != nil {
			return err
		}
	}
	next, err := j.metaNumber("next")
	if err != nil {
		return err
	}
	next = max(next, 1)
	// "m next" is written when records are dropped; else the last of each
	// state knows better.
	for _, prefix := range []byte{prefixPending, prefixPublished, prefixDead} {
		last, ok, err := j.lastSeq(prefix)
		if err != nil {
			return err
		}
		if ok {
			next = max(next, last+1)
		}
	}
	j.next = next
	j.durable.Store(next)
	return nil
}

func (j *Journal) metaNumber(name string) (uint64, error) {
	v, err := j.get(metaKey(name))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("read %s: %w", name, errValue)
	}
	return binary.BigEndian.Uint64(v), nil
}

// readable is a number of the meta keys, or 0 when it cannot be read.
func (j *Journal) readable(name string) uint64 {
	n, err := j.metaNumber(name)
	if err != nil {
		return 0
	}
	return n
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

// NextReplay counts deliberate replays, and returns a number that none had
// before once that is on disk.
func (j *Journal) NextReplay() (int, error) {
	j.replayMu.Lock()
	defer j.replayMu.Unlock()
	n, err := j.metaNumber("replays")
	if err != nil {
		return 0, err
	}
	return int(n + 1), j.changeSynced("count replay", func(b *pebble.Batch) error {
		return b.Set(metaKey("replays"), binary.BigEndian.AppendUint64(nil, n+1), nil)
	})
}
