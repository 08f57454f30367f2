package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// Accept makes d durable: without an error, d is on disk when it returns, or was
// there before. The failure points, in order:
//
//   - Before the commit: nothing happened; the error says so and the sender
//     comes back.
//   - In the commit: the journal fails for good, every caller gets ErrFailed, and
//     the process ends. Whether the event is on disk shows at the next start;
//     the sender comes back and its id tells.
//   - After the commit, before the answer reached the sender: it comes back, and
//     is told "duplicate".
//
// d.Body is not read after Accept has returned, but for ErrFailed: then it may be,
// and must not be changed any more.
func (b *Bridge) Accept(ctx context.Context, d Delivery) (Outcome, error) {
	if err := b.Ready(); err != nil {
		return 0, err
	}
	if err := b.space.admit(len(d.Body)); err != nil {
		return 0, err
	}
	e, record := d.record(time.Now().UTC())
	result, err := b.append(ctx, record)
	if err != nil {
		return 0, err
	}
	outcome, seq, err := b.conclude(ctx, e, record, result)
	if err != nil {
		return 0, err
	}
	return outcome, b.awaitStream(ctx, seq)
}

// AcceptAll is Accept of several deliveries, in their order. Its outcomes are those of
// the deliveries before the first that was not taken, and the error is that one's;
// nothing behind it is taken, so that the caller can give it and all behind it again.
func (b *Bridge) AcceptAll(ctx context.Context, deliveries []Delivery) ([]Outcome, error) {
	if err := b.Ready(); err != nil {
		return nil, err
	}
	events := make([]*Event, 0, len(deliveries))
	records := make([]journal.Record, 0, len(deliveries))
	var refused error
	now := time.Now().UTC()
	for _, d := range deliveries {
		if refused = b.space.admit(len(d.Body)); refused != nil {
			break
		}
		e, record := d.record(now)
		events, records = append(events, e), append(records, record)
	}
	results, failed := b.journal.AppendAll(ctx, records)
	if errors.Is(failed, journal.ErrClosed) {
		failed = ErrStopping
	}
	failed = cmp.Or(failed, refused)
	outcomes := make([]Outcome, 0, len(results))
	seqs := make([]uint64, 0, len(results))
	taken := true
	for i, result := range results { // also behind one that fails: all of them are stored, and count
		outcome, seq, err := b.conclude(ctx, events[i], records[i], result)
		if err != nil && taken {
			taken, failed = false, err
		}
		if taken {
			outcomes, seqs = append(outcomes, outcome), append(seqs, seq)
		}
	}
	for i, seq := range seqs {
		if err := b.awaitStream(ctx, seq); err != nil {
			return outcomes[:i], err
		}
	}
	return outcomes, failed
}

// record is what the journal gets of a delivery.
func (d *Delivery) record(now time.Time) (*Event, journal.Record) {
	e := &Event{
		Source:      d.Source,
		ID:          d.ID,
		Type:        d.Type,
		Kind:        d.Kind,
		Entities:    d.Entities,
		Accepted:    now,
		Traceparent: d.Traceparent,
		Pulled:      d.Pulled,
		From:        d.From,
		Size:        len(d.Body),
	}
	record := journal.Record{Header: appendHeader(make([]byte, 0, 192), e), Body: d.Body}
	if !d.Anonymous {
		record.Key = e.Source + ":" + e.ID
	}
	if d.Unusable != "" {
		record.Dead = &journal.Death{At: e.Accepted, Reason: d.Unusable}
	}
	return e, record
}

// conclude counts a record that the journal has answered for. It says what became of it,
// and which record now stands for the delivery.
func (b *Bridge) conclude(ctx context.Context, e *Event, record journal.Record, result journal.Result) (outcome Outcome, seq uint64, err error) {
	if result.Status == journal.Conflict && record.Dead == nil && b.unusable(result.Seq) {
		// The sender has corrected what it sent under this id first. That one was never
		// published and never will be, so it does not stand in the way. A key of its own,
		// one for each id, makes a repeat of the corrected one a repeat, and a second
		// correction a conflict.
		corrected := record
		corrected.Key += "\x00corrected"
		if result, err = b.append(ctx, corrected); err != nil {
			return 0, 0, err
		}
	}
	if result.Status == journal.Conflict && !b.pulled(e, result.Seq) {
		// The same id with other bytes. One of the two is not what the sender
		// meant, and nobody here can say which: keep it, but aside. Its own
		// key makes a repeat of this one a repeat.
		record.Key = journal.ConflictKey(record.Key, record.Body)
		if record.Dead == nil {
			record.Dead = &journal.Death{At: e.Accepted, Reason: fmt.Sprintf("delivery id %q was used before for other bytes (record %d)", e.ID, result.Seq)}
		}
		if result, err = b.append(ctx, record); err != nil {
			return 0, 0, err
		}
	}
	counters := b.metrics.of(b, e.Source)
	if result.Status == journal.Stored {
		b.lastEvents.note(result.Seq, e)
	}
	switch {
	case result.Status != journal.Stored:
		counters.duplicates.Inc()
		return Duplicate, result.Seq, nil
	case record.Dead != nil:
		b.dead.add(e.Source, 1)
		ofType(counters.accepted, e.Type).Inc()
		b.logDead(e, result.Seq, record.Dead.Reason)
		return Quarantined, result.Seq, nil // awaitStream knows that it waits for nothing
	}
	b.backlog.add(e.Source, e.Accepted, 1)
	ofType(counters.accepted, e.Type).Inc()
	b.newcomers.note(b.o.Types, e, b.o.Log)
	b.nudge()
	return Accepted, result.Seq, nil
}

// pulled says whether e or the record that has its id came from a polling endpoint,
// which writes an event in other bytes than the webhook: then other bytes are no
// other event.
func (b *Bridge) pulled(e *Event, seq uint64) bool {
	if e.Pulled {
		return true
	}
	entry, err := b.journal.Find(seq)
	if err != nil {
		return false // with the record gone nothing tells; the event is kept aside
	}
	first, err := parseHeader(entry.Header)
	return err == nil && first.Pulled
}

// unusable says whether a record is one that cannot be published, in no state.
func (b *Bridge) unusable(seq uint64) bool {
	entry, err := b.journal.Find(seq)
	if err != nil {
		return false // with the record gone nothing tells; the event is kept aside
	}
	first, err := parseHeader(entry.Header)
	return err == nil && first.Type == ""
}

// nudge tells Run that there may be something to do.
func (b *Bridge) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Bridge) append(ctx context.Context, record journal.Record) (journal.Result, error) {
	span := b.traceJournal(ctx)
	result, err := b.journal.Append(ctx, record)
	endSpan(span, err)
	switch {
	case errors.Is(err, journal.ErrClosed):
		return result, ErrStopping
	}
	return result, err
}

// awaitStream waits until record seq is in the stream, when the configuration
// asks for that. The event stays pending whatever comes of the wait; a repeat of
// the delivery waits for the same record.
func (b *Bridge) awaitStream(ctx context.Context, seq uint64) error {
	if !b.o.WaitForStream {
		return nil
	}
	ended := b.waiters.wait(seq)
	defer b.waiters.leave(seq, ended)
	// It may have been published before the wait began.
	switch state, err := b.journal.StateOf(seq); {
	case errors.Is(err, journal.ErrNotFound), state == journal.Published: // or its time is over
		return nil
	case err != nil:
		return err
	case state == journal.Dead:
		if d, err := b.journal.Dead(seq); err == nil && d.Attempts == 0 {
			return nil // quarantined at the door, and answered 2xx: it never waited for the stream
		}
		return ErrNotAcknowledged
	}
	timeout := time.NewTimer(b.o.AckTimeout)
	defer timeout.Stop()
	select {
	case err := <-ended:
		return err
	case <-timeout.C:
		return ErrNotAcknowledged
	case <-b.journal.Failed():
		return b.journal.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// waiters are the requests that wait for their event to leave the queue.
type waiters struct {
	mu    sync.Mutex
	bySeq map[uint64][]chan error
}

func newWaiters() *waiters { return &waiters{bySeq: make(map[uint64][]chan error)} }

func (w *waiters) wait(seq uint64) chan error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan error, 1)
	w.bySeq[seq] = append(w.bySeq[seq], c)
	return c
}

// leave ends one wait, whether or not it was served.
func (w *waiters) leave(seq uint64, c chan error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := w.bySeq[seq][:0]
	for _, other := range w.bySeq[seq] {
		if other != c {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		delete(w.bySeq, seq)
		return
	}
	w.bySeq[seq] = rest
}

// done tells everyone who waits for seq what came of it.
func (w *waiters) done(seq uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.bySeq[seq] {
		c <- err
	}
	delete(w.bySeq, seq)
}
