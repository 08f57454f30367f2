package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// meta names a value about the journal as a whole. The names are on disk, under
// "m <name>"; each value is a text, a number or two numbers.
type meta string

const (
	metaFormat        meta = "format"    // the version of the key space
	metaNext          meta = "next"      // the next sequence, for when the records that tell it are gone
	metaTrimmed       meta = "trimmed"   // the highest sequence of which retention left nothing
	metaReplays       meta = "replays"   // how many deliberate replays there were
	metaStream        meta = "stream"    // the identity of the stream that the stream sequences are of
	metaRollback      meta = "lost"      // the lowest stream sequence that NoteRollback noted
	metaUnfilled      meta = "missing"   // two times: what NoteUnfilled noted
	metaUnrecoverable meta = "gone"      // a number and a time: what NoteUnrecoverable noted
	metaObserved      meta = "observed"  // a text: what NoteObserved noted
	metaUndecided     meta = "undecided" // a text: what NoteUndecided noted
	metaAlerts        meta = "alerts"    // a text: what NoteAlerts noted
)

// metaKept are the values that repair takes over as they are.
var metaKept = [...]meta{metaStream, metaReplays, metaTrimmed, metaRollback, metaUnfilled, metaUnrecoverable, metaObserved, metaUndecided, metaAlerts}

// formatVersion counts changes of the key space that an older program would
// read wrongly. It stands under metaFormat.
const formatVersion = 1

func (m meta) key() []byte { return append([]byte{prefixMeta}, m...) }

func (m meta) set(b *pebble.Batch, numbers ...uint64) error {
	var v []byte
	for _, n := range numbers {
		v = binary.BigEndian.AppendUint64(v, n)
	}
	return b.Set(m.key(), v, nil)
}

func (m meta) setText(b *pebble.Batch, text string) error { return b.Set(m.key(), []byte(text), nil) }

func (m meta) clear(b *pebble.Batch) error { return b.Delete(m.key(), nil) }

// read is the value's bytes; nil when there is none.
func (m meta) read(j *Journal) ([]byte, error) {
	v, err := j.get(m.key())
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", m, err)
	}
	return v, nil
}

func (m meta) text(j *Journal) (string, error) {
	v, err := m.read(j)
	return string(v), err
}

// number is 0 when there is none.
func (m meta) number(j *Journal) (uint64, error) {
	v, err := m.read(j)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("read %s: %w", m, errValue)
	}
	return binary.BigEndian.Uint64(v), nil
}

// readable is number, or 0 when it cannot be read.
func (m meta) readable(j *Journal) uint64 {
	n, _ := m.number(j)
	return n
}

// pair is a value of two numbers; ok is false when there is none.
func (m meta) pair(j *Journal) (first, second uint64, ok bool, err error) {
	v, err := m.read(j)
	if err != nil || len(v) != 16 {
		return 0, 0, false, err
	}
	return binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), true, nil
}

// load reads the meta keys and finds the next sequence.
func (j *Journal) load() error {
	format, err := metaFormat.number(j)
	if err != nil {
		return err
	}
	if format > formatVersion {
		return fmt.Errorf("format %d, this program knows %d: use the program that wrote it or a newer one", format, formatVersion)
	}
	if format == 0 && !j.o.ReadOnly {
		if err := j.write(func() error {
			return j.db.Set(metaFormat.key(), binary.BigEndian.AppendUint64(nil, formatVersion), pebble.Sync)
		}); err != nil {
			return err
		}
		// The store began its first log before it had the format asked for. In
		// that log a damaged byte looks like the torn end of a crash, and all
		// behind it would be dropped without a word; measured. From the next log
		// on, chunks say up to where the log is known to be synced, and damage
		// before that is an error.
		if err := j.Flush(); err != nil {
			return err
		}
	}
	next, err := metaNext.number(j)
	if err != nil {
		return err
	}
	next = max(next, 1)
	// metaNext is written when records are dropped; else the last of each
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
	last, _, err := j.lastSeq(prefixStream)
	if Damaged(err) {
		last, err = math.MaxUint64, nil // so that every mark is compared
	}
	j.highestPosition.Store(last)
	return err
}
