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

// ReplaceStream notes another stream and drops the positions in the one before.
func (j *Journal) ReplaceStream(identity string) error {
	j.marking.Lock()
	defer j.marking.Unlock()
	err := j.changeSynced("replace the stream", func(b *pebble.Batch) error {
		if err := b.DeleteRange([]byte{prefixStream}, []byte{prefixStream + 1}, nil); err != nil {
			return err
		}
		if err := metaRollback.clear(b); err != nil {
			return err
		}
		return metaStream.setText(b, identity)
	})
	if err == nil {
		j.highestPosition.Store(0)
	}
	return err
}

// NoteRollback notes that the stream was rolled back to before a stream sequence, or
// further. A restart does not forget it; Unpublish does. It returns once that is on disk.
func (j *Journal) NoteRollback(streamSeq uint64) error {
	j.noting.Lock()
	defer j.noting.Unlock()
	return j.changeSynced("note a rollback", func(b *pebble.Batch) error { return j.addRollback(b, streamSeq) })
}

// addRollback is called with noting held.
func (j *Journal) addRollback(b *pebble.Batch, streamSeq uint64) error {
	noted, err := j.RollbackNoted()
	if err != nil || noted != 0 && noted <= streamSeq {
		return err
	}
	return metaRollback.set(b, streamSeq)
}

// RollbackNoted is the lowest stream sequence that NoteRollback noted; 0 for none.
func (j *Journal) RollbackNoted() (uint64, error) { return metaRollback.number(j) }

// NoteObserved notes how the stream was, in its owner's words. It does not wait for the
// disk.
func (j *Journal) NoteObserved(text string) error {
	return j.change("note the stream's state", func(b *pebble.Batch) error { return metaObserved.setText(b, text) })
}

// Observed is what NoteObserved noted; empty when nothing was.
func (j *Journal) Observed() (string, error) { return metaObserved.text(j) }

// NoteUndecided notes, in its owner's words, which messages the stream lacks for no known
// reason; an empty text clears the note. It returns once that is on disk.
func (j *Journal) NoteUndecided(text string) error {
	return j.changeSynced("note what the stream lacks", func(b *pebble.Batch) error {
		if text == "" {
			return metaUndecided.clear(b)
		}
		return metaUndecided.setText(b, text)
	})
}

// Undecided is what NoteUndecided noted.
func (j *Journal) Undecided() (string, error) { return metaUndecided.text(j) }

// NoteUnfilled notes that the stream was recreated and lacks the events published between
// the two times. It returns once that is on disk.
func (j *Journal) NoteUnfilled(since, until time.Time) error {
	return j.changeSynced("note the unfilled stream", func(b *pebble.Batch) error {
		return metaUnfilled.set(b, uint64(since.UnixNano()), uint64(until.UnixNano()))
	})
}

// Unfilled is what NoteUnfilled noted; ok is false when there is nothing.
func (j *Journal) Unfilled() (since, until time.Time, ok bool, err error) {
	first, last, ok, err := metaUnfilled.pair(j)
	if err != nil || !ok {
		return since, until, false, err
	}
	return time.Unix(0, int64(first)), time.Unix(0, int64(last)), true, nil
}

// ClearUnfilled drops the note of NoteUnfilled: the stream has been filled.
func (j *Journal) ClearUnfilled() error {
	return j.changeSynced("clear the unfilled stream", metaUnfilled.clear)
}

// Unrecoverable is the number of events that the stream has lost and the journal cannot
// send again, and when the last of them was found; since the beginning or since
// ClearUnrecoverable.
func (j *Journal) Unrecoverable() (n int, at time.Time, err error) {
	count, found, ok, err := metaUnrecoverable.pair(j)
	if err != nil || !ok {
		return 0, at, err
	}
	return int(count), time.Unix(0, int64(found)), nil
}

// NoteUnrecoverable adds to that number, and returns once that is on disk.
func (j *Journal) NoteUnrecoverable(n int) error {
	j.noting.Lock()
	defer j.noting.Unlock()
	return j.changeSynced("note unrecoverable events", func(b *pebble.Batch) error { return j.addUnrecoverable(b, n) })
}

// ClearUnrecoverable sets the number to zero.
func (j *Journal) ClearUnrecoverable() error {
	return j.change("clear unrecoverable events", metaUnrecoverable.clear)
}

// addUnrecoverable is called with noting held.
func (j *Journal) addUnrecoverable(b *pebble.Batch, n int) error {
	before, _, err := j.Unrecoverable()
	if err != nil {
		return err
	}
	return metaUnrecoverable.set(b, uint64(before+n), uint64(j.o.now().UnixNano()))
}

// NextReplay counts deliberate replays. It returns a number that none had before, once
// that is on disk.
func (j *Journal) NextReplay() (int, error) {
	j.noting.Lock()
	defer j.noting.Unlock()
	n, err := metaReplays.number(j)
	if err != nil {
		return 0, err
	}
	return int(n + 1), j.changeSynced("count replay", func(b *pebble.Batch) error {
		return metaReplays.set(b, n+1)
	})
}

// NoteAlerts notes, in its owner's words, which alerts were sent and which wait. It returns
// once that is on disk.
func (j *Journal) NoteAlerts(text string) error {
	return j.changeSynced("note the alerts", func(b *pebble.Batch) error { return metaAlerts.setText(b, text) })
}

// Alerts is what NoteAlerts noted; empty when nothing was.
func (j *Journal) Alerts() (string, error) { return metaAlerts.text(j) }
