package journal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// seen looks whether q's key is taken, or the one that it has in a conflict (see
// ConflictKey), by a record in the store or by one that came before it in this batch, and
// fills in the result when it is.
func (j *Journal) seen(q *appendRequest) (bool, error) {
	j.scratch = append(j.scratch[:0], q.record.Key...)
	taken, err := j.takes(q, j.scratch)
	if taken || err != nil {
		return taken, err
	}
	j.scratch = appendConflictKey(j.scratch[:0], q.record.Key, q.digest[:])
	return j.takes(q, j.scratch)
}

// takes is seen of one key.
func (j *Journal) takes(q *appendRequest, key []byte) (bool, error) {
	if first := j.inBatch[string(key)]; first != nil {
		q.result = Result{Seq: first.result.Seq, Status: compare(q.digest[:], first.digest[:])}
		return true, nil
	}
	if !j.keyFilter.mayHave(key) {
		return false, nil
	}
	b, closer, err := j.db.Get(seenKey(string(key)))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up key %q: %w", key, storeError{err})
	}
	defer closer.Close()
	v, err := parseValue(b)
	if err != nil {
		return false, fmt.Errorf("look up key %q: %w", key, err)
	}
	if q.appended.Sub(v.appended) > j.o.DedupWindow {
		waiting, err := j.waiting(v.seq)
		if err != nil || !waiting {
			return false, err
		}
	}
	q.result = Result{Seq: v.seq, Status: compare(q.digest[:], v.digest)}
	return true, nil
}

func compare(a, b []byte) Status {
	if string(a) == string(b) {
		return Repeat
	}
	return Conflict
}

// waiting says whether a record is pending or dead, and so neither done nor gone.
func (j *Journal) waiting(seq uint64) (bool, error) {
	for _, prefix := range []byte{prefixPending, prefixDead} {
		_, closer, err := j.db.Get(seqKey(prefix, seq))
		if err == nil {
			return true, closer.Close()
		}
		if !errors.Is(err, pebble.ErrNotFound) {
			return false, fmt.Errorf("look up record %d: %w", seq, err)
		}
	}
	return false, nil
}

// forgetChunk is how many keys are forgotten while no append can take one.
const forgetChunk = 100

// Forget frees the keys of records, unless a later record has taken them over: who
// sends one again is then new. It does not wait for the disk.
func (j *Journal) Forget(items []Item) error {
	for chunk := range slices.Chunk(items, forgetChunk) {
		// Read once before, so that appends do not wait for the disk while it is done.
		for _, item := range chunk {
			_, _ = j.get(seenKey(item.Key)) // what is wrong shows below
		}
		if err := j.forgetSome(chunk); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) forgetSome(items []Item) error {
	j.keys.Lock()
	defer j.keys.Unlock()
	return j.change("forget keys", func(b *pebble.Batch) error {
		for _, item := range items {
			if item.Key == "" {
				continue
			}
			key := seenKey(item.Key)
			seen, err := j.get(key)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("record %d: key: %w", item.Seq, err)
			}
			v, err := parseValue(seen)
			if err != nil {
				return fmt.Errorf("record %d: key: %w", item.Seq, err)
			}
			if v.seq != item.Seq {
				continue
			}
			if err := b.Delete(key, nil); err != nil {
				return err
			}
		}
		return nil
	})
}
