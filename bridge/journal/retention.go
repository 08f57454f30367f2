package journal

import (
	"errors"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// trimChunk bounds the batch of one step of Trim.
const trimChunk = 5000

// maxFresh is how many records in a row that are not past their time end the quick round
// of a Trim. A few may bear a time from a clock that was wrong, with old ones behind them;
// behind many, the slow round finds them.
const maxFresh = 1000

// Trimmed says what Trim dropped.
type Trimmed struct {
	Bodies  int // events that can no longer be replayed or healed
	Records int // of which now nothing is known, nor is their key
}

// Trim drops what is past its time: the body of a record published before
// bodies, and all of it when it was also appended before keys. Pending and dead
// records stay. It works through the journal from its oldest record in steps,
// so that appends go on meanwhile, and ends where all seem to be fresh. Then it takes one
// step of a slow round through all records. One Trim at a time.
func (j *Journal) Trim(bodies, keys time.Time) (Trimmed, error) {
	var total Trimmed
	step := func(from uint64, fresh int) (next uint64, err error) {
		n, next, err := j.trim(from, bodies, keys, fresh)
		total.Bodies += n.Bodies
		total.Records += n.Records
		return next, err
	}
	for from := uint64(0); ; {
		next, err := step(from, maxFresh)
		if err != nil {
			return total, err
		}
		if from = next; next == 0 {
			break
		}
	}
	var err error
	if j.trimmedAt, err = step(j.trimmedAt, trimChunk); err != nil {
		return total, err
	}
	return total, j.reclaimTrimmed(total.Bodies)
}

// trim is one step of Trim, from a sequence on; it returns where the next one
// begins, 0 when there is no more to look at or more than freshLimit in a row are fresh.
func (j *Journal) trim(from uint64, bodies, keys time.Time, freshLimit int) (Trimmed, uint64, error) {
	var n Trimmed
	var next uint64
	looked, fresh := 0, 0
	j.moving.Lock()
	defer j.moving.Unlock()
	err := j.change("trim", func(b *pebble.Batch) error {
		var last, trimmed uint64
		var run bodyRun
		var past []Item // records of which nothing stays
		for e, err := range j.entries(prefixPublished, from) {
			if err != nil {
				return err
			}
			if looked++; looked > trimChunk {
				next = e.seq
				break
			}
			if e.v.appended.After(bodies) && e.v.appended.After(keys) {
				if fresh++; fresh > freshLimit {
					break // and so are all behind it
				}
				continue
			}
			fresh, last = 0, e.seq
			if e.v.at.After(bodies) {
				continue
			}
			has, err := j.HasBody(e.seq)
			if err != nil {
				return err
			}
			if has {
				n.Bodies++
				j.trimmedSpan.widen(e.seq)
				if err := run.add(b, e.seq); err != nil {
					return err
				}
			}
			if e.v.appended.After(keys) {
				continue
			}
			n.Records++
			trimmed = e.seq
			if err := deleteSeq(b, prefixPublished, e.seq); err != nil {
				return err
			}
			if err := j.dropPosition(b, e); err != nil {
				return err
			}
			past = append(past, Item{Seq: e.seq, Key: e.v.key})
		}
		if last == 0 {
			return nil
		}
		// Before the records, or a crash between could leave keys that nobody forgets.
		if err := j.Forget(past); err != nil {
			return err
		}
		if err := run.drop(b); err != nil {
			return err
		}
		if trimmed > metaTrimmed.readable(j) { // so that repair does not miss what was meant to go
			if err := metaTrimmed.set(b, trimmed); err != nil {
				return err
			}
		}
		// The records whose sequences tell the next one may all go.
		return metaNext.set(b, j.durable.Load())
	})
	return n, next, err
}

// dropPosition drops the stream position of a record that is dropped.
func (j *Journal) dropPosition(b *pebble.Batch, e stateEntry) error {
	if e.v.streamSeq == 0 {
		return nil
	}
	// Only its own: another stream may have given the sequence to another record.
	if own, err := j.ownsPosition(e.v.streamSeq, e.seq); err != nil || !own {
		return err
	}
	return deleteSeq(b, prefixStream, e.v.streamSeq)
}

// DropPublished drops the oldest published bodies until about want bytes of them
// are gone, and says how many records that were and when the newest of them was
// published. Their keys stay seen. The disk has the space back a moment later.
func (j *Journal) DropPublished(want int64) (dropped int, newest time.Time, err error) {
	var span bodyRun // of all that are dropped
	j.moving.Lock()
	err = j.change("drop published", func(b *pebble.Batch) (err error) {
		var run bodyRun
		first := j.firstBody.Swap(math.MaxUint64) // from here on it is below what is published meanwhile
		passed := first
		defer func() {
			if err != nil { // nothing was dropped
				passed = first
			}
			j.hasBodyFrom(passed)
		}()
		for e, err := range j.entries(prefixPublished, first) {
			if err != nil {
				return err
			}
			if want <= 0 || dropped >= 100*trimChunk {
				break
			}
			passed = e.seq + 1
			body, err := j.Body(e.seq)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil && !Damaged(err) { // a damaged one can be dropped unread
				return err
			}
			want -= int64(len(body))
			if err := run.add(b, e.seq); err != nil {
				return err
			}
			dropped++
			newest = e.v.at
			span.widen(e.seq)
		}
		return run.drop(b)
	})
	j.moving.Unlock()
	if err != nil || dropped == 0 {
		return dropped, newest, err
	}
	return dropped, newest, j.reclaim(span)
}

// hasBodyFrom notes that a record is published and has a body.
func (j *Journal) hasBodyFrom(seq uint64) {
	for {
		first := j.firstBody.Load()
		if first <= seq || j.firstBody.CompareAndSwap(first, seq) {
			return
		}
	}
}
