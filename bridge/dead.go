package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// deadCounts counts the dead letters of each source.
type deadCounts struct {
	mu       sync.Mutex
	bySource map[string]int
}

func (d *deadCounts) add(source string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bySource == nil {
		d.bySource = make(map[string]int)
	}
	d.bySource[source] += n
}

func (d *deadCounts) of(source string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bySource[source]
}

// sources are those that have or had a dead letter.
func (d *deadCounts) sources() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.bySource))
}

// DeadLetters returns how many dead letters fit f, and the first limit of them from behind
// record after on (0: from the first), oldest first.
func (b *Bridge) DeadLetters(f Filter, after uint64, limit int) (total int, letters []Record, err error) {
	letters = []Record{}
	err = b.eachDead(f, func(_ journal.DeadItem, r Record) {
		if total++; r.Record > after && len(letters) < limit {
			letters = append(letters, r)
		}
	})
	return total, letters, err
}

// EachDeadLetter goes once through the dead letters that fit f, oldest first.
func (b *Bridge) EachDeadLetter(f Filter, each func(Record)) error {
	return b.eachDead(f, func(_ journal.DeadItem, r Record) { each(r) })
}

func (b *Bridge) eachDead(f Filter, each func(journal.DeadItem, Record)) error {
	for d, err := range b.journal.AllDead() {
		if err != nil {
			return err
		}
		r, err := RecordOf(journal.Entry{Item: d.Item, State: journal.Dead, At: d.At, Reason: d.Reason, Attempts: d.Attempts})
		if err != nil {
			return err
		}
		if f.matches(&r) {
			each(d, r)
		}
	}
	return nil
}

// deadChunk bounds how many dead letters are changed in one step.
const deadChunk = 1000

// ReplayDead makes the dead letters that fit f pending again, oldest first, under
// new message ids: JetStream would take an id that it has seen for a repeat, and
// drop it without a word. Those without an event type cannot be published and
// are counted as refused. When it returns, the change is on disk.
func (b *Bridge) ReplayDead(ctx context.Context, f Filter) (replayed, refused int, err error) {
	b.deadWork.Lock()
	defer b.deadWork.Unlock()
	number, err := b.journal.NextReplay()
	if err != nil {
		return 0, 0, err
	}
	// An id that was used for several bodies has a dead letter for each: one
	// number for all would make them repeats of each other.
	numbers := make(map[string]int)
	numberFor := func(e *Event) (int, error) {
		key := e.Source + ":" + e.ID
		if _, taken := numbers[key]; !taken {
			numbers[key] = number
			return number, nil
		}
		next, err := b.journal.NextReplay()
		numbers[key] = next
		return next, err
	}
	seqs, err := b.deadSeqs(f)
	if err != nil {
		return 0, 0, err
	}
	for chunk := range slices.Chunk(seqs, deadChunk) {
		var items []journal.Item
		var events []*Event
		for _, seq := range chunk {
			d, err := b.journal.Dead(seq)
			if errors.Is(err, journal.ErrNotFound) {
				continue
			}
			if err != nil {
				return replayed, refused, err
			}
			e, err := parseHeader(d.Header)
			if err != nil || e.Type == "" {
				refused++
				continue
			}
			if e.Replay, err = numberFor(e); err != nil {
				return replayed, refused, err
			}
			d.Header = appendHeader(nil, e)
			items, events = append(items, d.Item), append(events, e)
		}
		if len(items) == 0 {
			continue
		}
		if err := b.journal.Requeue(items); err != nil {
			return replayed, refused, err
		}
		for _, e := range events {
			b.dead.add(e.Source, -1)
			b.backlog.add(e.Source, e.Accepted, 1)
		}
		replayed += len(items)
		// Whoever asked may be gone; the events are pending, and Run has to know.
		b.command(context.WithoutCancel(ctx), requeued{from: items[0].Seq})
		if ctx.Err() != nil {
			return replayed, refused, context.Cause(ctx)
		}
	}
	return replayed, refused, nil
}

// ErrAmbiguous says that an id is the number of one record and the delivery id of
// another, so that it is not known which is meant.
var ErrAmbiguous = errors.New("is the number of one dead letter and the delivery id of another")

// deadSeqs are the dead letters that fit f at this moment. What dies later, perhaps
// again, was not asked for.
func (b *Bridge) deadSeqs(f Filter) (seqs []uint64, err error) {
	byNumber, byID := make(map[string]uint64), make(map[string]uint64)
	err = b.eachDead(f, func(d journal.DeadItem, r Record) {
		seqs = append(seqs, d.Seq)
		for _, id := range f.IDs {
			switch id {
			case strconv.FormatUint(r.Record, 10):
				byNumber[id] = r.Record
			case r.ID:
				byID[id] = r.Record
			}
		}
	})
	for id, other := range byID {
		if _, both := byNumber[id]; both {
			err = errors.Join(err, fmt.Errorf("%q %w, record %d: say which by record= (--record)", id, ErrAmbiguous, other))
		}
	}
	return seqs, err
}

// DiscardDead drops the dead letters that fit f for good. When it returns, the
// change is on disk.
func (b *Bridge) DiscardDead(ctx context.Context, f Filter) (discarded int, err error) {
	b.deadWork.Lock()
	defer b.deadWork.Unlock()
	seqs, err := b.deadSeqs(f)
	if err != nil {
		return 0, err
	}
	for chunk := range slices.Chunk(seqs, deadChunk) {
		var items []journal.DeadItem
		for _, seq := range chunk {
			d, err := b.journal.Dead(seq)
			if errors.Is(err, journal.ErrNotFound) {
				continue
			}
			if err != nil {
				return discarded, err
			}
			d.At = time.Now()
			items = append(items, d)
		}
		if err := b.journal.Discard(items); err != nil {
			return discarded, err
		}
		for _, d := range items {
			if e, err := parseHeader(d.Header); err == nil {
				b.dead.add(e.Source, -1)
			}
		}
		discarded += len(items)
		if ctx.Err() != nil {
			return discarded, context.Cause(ctx)
		}
	}
	return discarded, nil
}
