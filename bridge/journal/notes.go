package journal

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Stream is the noted identity of the stream that the stream sequences are of; empty when
// none was noted.
func (j *Journal) Stream() (string, error) { return metaStream.text(j) }

// NoteStream notes the identity of the stream that the stream sequences are of.
func (j *Journal) NoteStream(identity string) error {
	return j.changeSynced("note the stream", func(b *pebble.Batch) error {
		return metaStream.setText(b, identity)
	})
}

// SetStream notes another stream and drops the positions in the one before.
func (j *Journal) SetStream(identity string) error {
	return j.changeSynced("note the stream", func(b *pebble.Batch) error {
		if err := b.DeleteRange([]byte{prefixStream}, []byte{prefixStream + 1}, nil); err != nil {
			return err
		}
		if err := metaLost.clear(b); err != nil {
			return err
		}
		return metaStream.setText(b, identity)
	})
}

// NoteLost notes that the stream has lost the message at a sequence, and perhaps others,
// so that a restart does not forget it. It returns once that is on disk.
func (j *Journal) NoteLost(streamSeq uint64) error {
	noted, err := j.Lost()
	if err != nil || noted != 0 && noted <= streamSeq {
		return err
	}
	return j.changeSynced("note what was lost", func(b *pebble.Batch) error {
		return metaLost.set(b, streamSeq)
	})
}

// Lost is the lowest stream sequence that NoteLost noted; 0 for none.
func (j *Journal) Lost() (uint64, error) { return metaLost.number(j) }

// SetMissing notes that what was published between the two times is not in the stream,
// which was made anew. It returns once that is on disk.
func (j *Journal) SetMissing(since, until time.Time) error {
	return j.changeSynced("note what is missing", func(b *pebble.Batch) error {
		return metaMissing.set(b, uint64(since.UnixNano()), uint64(until.UnixNano()))
	})
}

// Missing is what SetMissing noted; ok is false when there is nothing.
func (j *Journal) Missing() (since, until time.Time, ok bool, err error) {
	first, last, ok, err := metaMissing.pair(j)
	if err != nil || !ok {
		return since, until, false, err
	}
	return time.Unix(0, int64(first)), time.Unix(0, int64(last)), true, nil
}

// ClearMissing forgets it: the stream has been filled.
func (j *Journal) ClearMissing() error {
	return j.changeSynced("forget what is missing", metaMissing.clear)
}

// LostForGood is how many records Unpublish and NoteGone have found to be lost for good, and
// when it found the last; since the beginning, or since ClearGone.
func (j *Journal) LostForGood() (n int, at time.Time, err error) {
	count, found, ok, err := metaGone.pair(j)
	if err != nil || !ok {
		return 0, at, err
	}
	return int(count), time.Unix(0, int64(found)), nil
}

// NoteGone adds records to those that are lost for good.
func (j *Journal) NoteGone(n int) error {
	return j.changeSynced("note what is gone", func(b *pebble.Batch) error { return j.addGone(b, n) })
}

// ClearGone forgets their number.
func (j *Journal) ClearGone() error {
	return j.change("forget what is gone", metaGone.clear)
}

func (j *Journal) addGone(b *pebble.Batch, n int) error {
	before, _, err := j.LostForGood()
	if err != nil {
		return err
	}
	return metaGone.set(b, uint64(before+n), uint64(time.Now().UnixNano()))
}

// NextReplay counts deliberate replays, and returns a number that none had
// before once that is on disk.
func (j *Journal) NextReplay() (int, error) {
	j.replayMu.Lock()
	defer j.replayMu.Unlock()
	n, err := metaReplays.number(j)
	if err != nil {
		return 0, err
	}
	return int(n + 1), j.changeSynced("count replay", func(b *pebble.Batch) error {
		return metaReplays.set(b, n+1)
	})
}
