package journal

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// State is where in its life a record is.
type State string

// The states of a record.
const (
	Pending   State = "pending"
	Published State = "published"
	Dead      State = "dead"
	// Discarded: a dead letter that an operator gave up. Its body is gone.
	Discarded State = "discarded"
)

// Entry is a record in whatever state it is. The fields that do not belong to the
// state are zero.
type Entry struct {
	Item
	State     State
	StreamSeq uint64
	At        time.Time
	Reason    string
	Attempts  int
}

// Newest goes through all records from before a sequence on (0: from the end),
// the newest first. An Item's Header is valid until the next step.
func (j *Journal) Newest(before uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if before == 0 {
			before = j.durable.Load()
		}
		states := [...]State{Pending, Published, Dead}
		var its [len(states)]*iterator
		for i, prefix := range [...]byte{prefixPending, prefixPublished, prefixDead} {
			// All of them read as of one moment: a record that moves meanwhile is in one state.
			it, err := j.newIterLike(its[0], &pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: seqKey(prefix, before)})
			if err != nil {
				yield(Entry{}, fmt.Errorf("read journal: %w", err))
				return
			}
			defer it.Close()
			it.Last()
			its[i] = it
		}
		for {
			newest := -1
			for i, it := range its {
				if !it.Valid() {
					if err := it.Error(); err != nil {
						yield(Entry{}, fmt.Errorf("read journal: %w", storeError{err}))
						return
					}
					continue
				}
				if newest < 0 || bytes.Compare(it.Key()[1:], its[newest].Key()[1:]) > 0 {
					newest = i
				}
			}
			if newest < 0 {
				return
			}
			seq, v, err := entry(its[newest].Iterator)
			if !yield(entryOf(states[newest], seq, &v), err) {
				return
			}
			its[newest].Prev()
		}
	}
}

// Find reads one record without its body, whatever its state. It asks for the record's
// keys and does not seek: behind a drained backlog lie the tombstones of all that was
// pending, and a seek walks over them.
func (j *Journal) Find(seq uint64) (Entry, error) {
	// A record can move to a state that was asked for already; it does not move twice as
	// fast as it is asked for.
	for range 2 {
		for _, s := range []struct {
			state  State
			prefix byte
		}{{Pending, prefixPending}, {Published, prefixPublished}, {Dead, prefixDead}} {
			v, err := j.state(s.prefix, seq)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return Entry{}, err
			}
			return entryOf(s.state, seq, &v), nil
		}
	}
	return Entry{}, fmt.Errorf("record %d: %w", seq, ErrNotFound)
}

// entryOf is a record as it stands under the prefix of a state.
func entryOf(state State, seq uint64, v *value) Entry {
	if state == Published && v.streamSeq == 0 {
		state = Discarded
	}
	return Entry{Item: v.item(seq), State: state, StreamSeq: v.streamSeq, At: v.at, Reason: v.reason, Attempts: v.attempts}
}

// AllPending goes through all pending records, in order. An Item's Header is
// valid until the next step.
func (j *Journal) AllPending() iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for e, err := range j.entries(prefixPending, 0) {
			if !yield(e.v.item(e.seq), err) {
				return
			}
		}
	}
}

// AllPublished goes through the published records from sequence from on, in
// order. An Item's Header is valid until the next step.
func (j *Journal) AllPublished(from uint64) iter.Seq2[PublishedItem, error] {
	return func(yield func(PublishedItem, error) bool) {
		for e, err := range j.entries(prefixPublished, from) {
			if !yield(e.v.published(e.seq), err) {
				return
			}
		}
	}
}

// AllDead goes through the dead letters whose appends are durable, oldest first. An Item's
// Header is valid until the next step.
func (j *Journal) AllDead() iter.Seq2[DeadItem, error] {
	return func(yield func(DeadItem, error) bool) {
		durable := j.durable.Load() // a later one, made pending again, would be missing in tailCache
		for e, err := range j.entries(prefixDead, 0) {
			if err == nil && e.seq >= durable {
				return
			}
			if !yield(e.v.dead(e.seq), err) {
				return
			}
		}
	}
}

// Published reads one published record.
func (j *Journal) Published(seq uint64) (PublishedItem, error) {
	v, err := j.state(prefixPublished, seq)
	return v.published(seq), err
}

// Dead reads one dead letter whose append is durable.
func (j *Journal) Dead(seq uint64) (DeadItem, error) {
	if seq >= j.durable.Load() {
		return DeadItem{}, fmt.Errorf("record %d: %w", seq, ErrNotFound)
	}
	v, err := j.state(prefixDead, seq)
	return v.dead(seq), err
}

// PendingByKey is the pending record with a key whose append is durable; ok is false when
// there is none.
func (j *Journal) PendingByKey(key string) (item Item, ok bool, err error) {
	b, err := j.get(seenKey(key))
	if errors.Is(err, ErrNotFound) {
		return item, false, nil
	}
	if err != nil {
		return item, false, fmt.Errorf("look up key %q: %w", key, err)
	}
	v, err := parseValue(b)
	if err != nil {
		return item, false, fmt.Errorf("look up key %q: %w", key, err)
	}
	seq := v.seq
	if seq >= j.durable.Load() {
		return item, false, nil
	}
	v, err = j.state(prefixPending, seq)
	if errors.Is(err, ErrNotFound) {
		return item, false, nil
	}
	return v.item(seq), err == nil, err
}

// StateOf says in what state a record is: Pending, Published, also when it was discarded,
// or Dead; ErrNotFound when its time is over.
func (j *Journal) StateOf(seq uint64) (State, error) {
	states := [...]State{Pending, Published, Dead}
	for range 2 { // it may have moved from one to another meanwhile
		for i, prefix := range [...]byte{prefixPending, prefixPublished, prefixDead} {
			if _, err := j.get(seqKey(prefix, seq)); !errors.Is(err, ErrNotFound) {
				return states[i], err
			}
		}
	}
	return "", fmt.Errorf("record %d: %w", seq, ErrNotFound)
}

// Body reads a record's body, in whatever state the record is. It is
// ErrNotFound once retention has dropped it.
func (j *Journal) Body(seq uint64) ([]byte, error) {
	return j.get(seqKey(prefixBody, seq))
}

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

type stateEntry struct {
	seq uint64
	v   value
}

func (j *Journal) entries(prefix byte, from uint64) iter.Seq2[stateEntry, error] {
	return func(yield func(stateEntry, error) bool) {
		it, err := j.iter(prefix, from)
		if err != nil {
			yield(stateEntry{}, fmt.Errorf("read journal: %w", err))
			return
		}
		defer it.Close()
		for it.First(); it.Valid(); it.Next() {
			seq, v, err := entry(it.Iterator)
			if !yield(stateEntry{seq, v}, err) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(stateEntry{}, fmt.Errorf("read journal: %w", storeError{err}))
		}
	}
}

func entry(it *pebble.Iterator) (uint64, value, error) {
	seq, err := seqOf(it.Key())
	if err != nil {
		return 0, value{}, err
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return seq, value{}, fmt.Errorf("record %d: %w", seq, storeError{err})
	}
	v, err := parseValue(b)
	if err != nil {
		return seq, value{}, fmt.Errorf("record %d: %w", seq, err)
	}
	return seq, v, nil
}

func (j *Journal) state(prefix byte, seq uint64) (value, error) {
	b, err := j.get(seqKey(prefix, seq))
	if err != nil {
		return value{}, fmt.Errorf("record %d: %w", seq, err)
	}
	v, err := parseValue(b)
	if err != nil {
		return value{}, fmt.Errorf("record %d: %w", seq, err)
	}
	return v, nil
}
