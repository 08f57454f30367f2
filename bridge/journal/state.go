package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Mark says that JetStream acknowledged a record. Item is the record as it was
// read, so that the mark can carry it over without another read.
type Mark struct {
	Item
	StreamSeq uint64
	At        time.Time
}

// PendingItem is a pending record as it is read to be published.
type PendingItem struct {
	Item
	// Body is nil when it was not read along: it is too much for this once, or
	// cannot be read. Load tells.
	Body []byte
}

// readAheadBytes bounds the bodies and headers that Pending reads from the store.
const readAheadBytes = 4 << 20

// Pending reads some pending records, limit at most, from sequence from on, in order,
// and says where to go on. Only records whose append is durable are seen; next is the
// end of those when there are no more.
func (j *Journal) Pending(from uint64, limit int) (items []PendingItem, next uint64, err error) {
	end := j.durable.Load() // first: what becomes durable meanwhile is in recent, and read from there
	items, next, before, ok := j.recent.take(from, limit)
	if ok {
		return items, next, nil
	}
	if before != 0 {
		end = min(end, before)
	}
	if from >= end {
		return nil, from, nil
	}
	it, err := j.newIter(&pebble.IterOptions{LowerBound: seqKey(prefixPending, from), UpperBound: seqKey(prefixPending, end)})
	if err != nil {
		return nil, from, fmt.Errorf("read pending: %w", err)
	}
	defer it.Close()
	bodies, err := j.iter(prefixBody, from)
	if err != nil {
		return nil, from, fmt.Errorf("read pending: %w", err)
	}
	defer bodies.Close()
	for size := 0; ; {
		if len(items) == 0 {
			it.First()
		} else {
			it.Next()
		}
		if !it.Valid() {
			break
		}
		seq, v, err := entry(it.Iterator)
		if err != nil {
			return items, from, fmt.Errorf("read pending: %w", err)
		}
		if len(items) == limit || size >= readAheadBytes {
			return items, seq, nil
		}
		p := PendingItem{Item: v.item(seq).Clone()}
		if b := bodyAt(bodies, seq); b != nil {
			p.Body = bytes.Clone(b)
		}
		size += len(p.Header) + len(p.Body)
		items = append(items, p)
	}
	return items, end, it.Error()
}

// bodyAt is the body of a record, which bodies is at or before; nil when it cannot be
// read. It is valid until bodies moves.
func bodyAt(bodies *iterator, seq uint64) []byte {
	key := seqKey(prefixBody, seq)
	if bodies.Valid() && bytes.Compare(bodies.Key(), key) < 0 {
		bodies.Next() // mostly the next one
	}
	if !bodies.Valid() || bytes.Compare(bodies.Key(), key) < 0 {
		bodies.SeekGE(key)
	}
	if !bodies.Valid() || !bytes.Equal(bodies.Key(), key) {
		return nil
	}
	b, err := bodies.ValueAndErr()
	if err != nil {
		return nil
	}
	return b
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

// AllDead goes through the dead letters, oldest first. An Item's Header is valid
// until the next step.
func (j *Journal) AllDead() iter.Seq2[DeadItem, error] {
	return func(yield func(DeadItem, error) bool) {
		for e, err := range j.entries(prefixDead, 0) {
			if !yield(e.v.dead(e.seq), err) {
				return
			}
		}
	}
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

// Load reads a pending record whole. When only its body cannot be read, the Item
// is good all the same.
func (j *Journal) Load(seq uint64) (Item, []byte, error) {
	v, err := j.state(prefixPending, seq)
	if err != nil {
		return Item{}, nil, err
	}
	body, err := j.Body(seq)
	if err != nil {
		return v.item(seq), nil, fmt.Errorf("record %d: body: %w", seq, err)
	}
	return v.item(seq), body, nil
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

// Dead reads one dead letter.
func (j *Journal) Dead(seq uint64) (DeadItem, error) {
	v, err := j.state(prefixDead, seq)
	return v.dead(seq), err
}

// Published reads one published record.
func (j *Journal) Published(seq uint64) (PublishedItem, error) {
	v, err := j.state(prefixPublished, seq)
	return v.published(seq), err
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

func (j *Journal) get(key []byte) ([]byte, error) {
	if err := j.enter(); err != nil {
		return nil, err
	}
	defer j.leave()
	b, closer, err := j.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, storeError{err}
	}
	defer closer.Close()
	return append(make([]byte, 0, len(b)), b...), nil // not nil when it is empty
}

// storeError is an error of the store without what is meant for its authors.
type storeError struct{ error }

func (e storeError) Error() string {
	text, _, _ := strings.Cut(e.error.Error(), "\n")
	return text
}

func (e storeError) Unwrap() error { return e.error }

// MarkPublished moves records from pending to published.
func (j *Journal) MarkPublished(marks []Mark) error {
	var room []byte
	err := j.change("mark published", func(b *pebble.Batch) error {
		for _, m := range marks {
			v := m.value()
			v.streamSeq, v.at = m.StreamSeq, m.At
			if err := move(b, m.Seq, prefixPending, prefixPublished, &v); err != nil {
				return err
			}
			room = binary.BigEndian.AppendUint64(room[:0], m.Seq)
			if err := setSeq(b, prefixStream, m.StreamSeq, room); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil { // after, or a DropPublished that is under way might see neither
		for _, m := range marks {
			j.hasBodyFrom(m.Seq)
		}
	}
	return err
}

// Bury moves a record from pending to dead.
func (j *Journal) Bury(item Item, d Death) error {
	return j.change("bury", func(b *pebble.Batch) error {
		v := item.value()
		v.at, v.reason, v.attempts = d.At, d.Reason, d.Attempts
		return move(b, item.Seq, prefixPending, prefixDead, &v)
	})
}

// Revive moves dead letters back to pending, with the headers that the items
// carry, and returns once that is on disk.
func (j *Journal) Revive(items []Item) error {
	defer j.recent.drop() // which may span some of them and has none: they were dead when they came
	return j.changeSynced("revive", func(b *pebble.Batch) error {
		for _, item := range items {
			v := item.value()
			if err := move(b, item.Seq, prefixDead, prefixPending, &v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Discard drops dead letters for good, and returns once that is on disk. Their
// keys stay seen until the window ends: a late repeat must not bring them back.
func (j *Journal) Discard(items []DeadItem) error {
	return j.changeSynced("discard", func(b *pebble.Batch) error {
		for _, item := range items {
			// Published at no place in the stream and without a body is what is
			// left of a record that is settled.
			v := item.value()
			v.at = item.At
			if err := move(b, item.Seq, prefixDead, prefixPublished, &v); err != nil {
				return err
			}
			if err := b.Delete(seqKey(prefixBody, item.Seq), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// change writes a batch without waiting for the disk: the next append's sync, or
// Sync, covers it.
func (j *Journal) change(what string, fill func(*pebble.Batch) error) error {
	if err := j.Err(); err != nil {
		return err
	}
	batch := j.db.NewBatch()
	if err := fill(batch); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", what, err), batch.Close())
	}
	err := j.write(func() error {
		defer batch.Close()
		return j.db.Apply(batch, pebble.NoSync)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	j.marks.Add(1)
	return nil
}

// changeSynced is change, and returns once that is on disk.
func (j *Journal) changeSynced(what string, fill func(*pebble.Batch) error) error {
	if err := j.change(what, fill); err != nil {
		return err
	}
	return j.Sync()
}

// move takes the record out of one state and into another, in one batch.
func move(b *pebble.Batch, seq uint64, from, to byte, v *value) error {
	if err := b.Delete(seqKey(from, seq), nil); err != nil {
		return err
	}
	return setSeq(b, to, seq, v.append(nil))
}

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
			it, err := j.newIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: seqKey(prefix, before)})
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
			state := states[newest]
			if state == Published && v.streamSeq == 0 {
				state = Discarded
			}
			e := Entry{Item: v.item(seq), State: state, StreamSeq: v.streamSeq, At: v.at, Reason: v.reason, Attempts: v.attempts}
			if !yield(e, err) {
				return
			}
			its[newest].Prev()
		}
	}
}

// Find reads one record without its body, whatever its state.
func (j *Journal) Find(seq uint64) (Entry, error) {
	for e, err := range j.Newest(seq + 1) {
		if err != nil {
			return Entry{}, err
		}
		if e.Seq != seq {
			break
		}
		e.Item = e.Clone()
		return e, nil
	}
	return Entry{}, fmt.Errorf("record %d: %w", seq, ErrNotFound)
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
