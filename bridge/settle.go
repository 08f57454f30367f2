package bridge

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// settle works off first and all results that wait behind it. What JetStream has
// is marked in the journal in one batch before any event that waited for it may
// go.
func (r *runner) settle(first result) error {
	results := []result{first}
	for more := true; more; {
		select {
		case res := <-r.results:
			results = append(results, res)
		default:
			more = false
		}
	}
	now := time.Now()
	marks, err := r.checkReceipts(results, now)
	if err != nil {
		return err
	}
	if len(marks) > 0 {
		if err := r.b.journal.MarkPublished(marks); err != nil {
			return err
		}
	}
	for _, res := range results {
		r.inFlight--
		r.flightBytes -= res.t.size
		if g := res.t.gate; g.probing == res.t {
			g.probing = nil
			r.probeAgain = now.Add(4 * now.Sub(g.probed))
		}
		r.countAttempt(res)
		if res.failure == nil {
			r.succeed(res, now)
			continue
		}
		if err := r.fail(res, now); err != nil {
			return err
		}
	}
	return nil
}

// checkReceipts returns the marks for what JetStream has. An acknowledgement that shows
// that the stream has gone back is made a failure: its event is sent again, as a repeat,
// once it is known what the stream has lost.
func (r *runner) checkReceipts(results []result, now time.Time) ([]journal.Mark, error) {
	marks := make([]journal.Mark, 0, len(results))
	var before map[uint64]*Event
	for i := range results {
		res := &results[i]
		if res.failure != nil {
			continue
		}
		place := res.receipt.Sequence
		if !r.watch.blind {
			back := !res.receipt.Duplicate && place <= res.floor
			// In order, as they nearly always come, places only rise.
			if !back && (res.receipt.Duplicate || place <= r.watch.highest) {
				if before == nil {
					before = make(map[uint64]*Event, len(results))
					for _, other := range results[:i] {
						if other.failure == nil {
							before[other.receipt.Sequence] = other.event
						}
					}
				}
				var err error
				if back, err = r.isGiven(*res, before); err != nil {
					return nil, err
				}
			}
			if back {
				res.failure = &Failure{Class: LinkDown, Reason: "the stream has gone back"}
				if err := r.wentBack(place); err != nil {
					return nil, err
				}
				continue
			}
			if before != nil {
				before[place] = res.event
			}
		}
		if !res.receipt.Duplicate {
			r.watch.given(place, now)
		}
		mark := journal.Mark{Item: res.item, StreamSeq: place, At: now}
		if res.t.replay > 0 {
			switch placed, err := r.b.journal.HasPosition(res.t.seq); {
			case err != nil:
				return nil, err
			case placed: // the stream has it where it was
				continue
			}
			// It was published to a stream that is no more: this is its place from now on, under
			// this id, and it is healed like any other.
			mark.Header = appendHeader(nil, res.event)
		}
		marks = append(marks, mark)
	}
	return marks, nil
}

func (r *runner) countAttempt(res result) {
	if res.event == nil {
		return
	}
	label := resultOK
	switch {
	case res.failure != nil:
		label = res.failure.Class.String()
	case res.receipt.Duplicate:
		label = resultDuplicate
	}
	r.b.metrics.of(r.b, res.event.Source).attempts[label].Inc()
}

func (r *runner) succeed(res result, now time.Time) {
	e := res.event
	ofType(r.b.metrics.of(r.b, e.Source).published, e.Type).Inc()
	r.openGate(res.t.gate)
	r.finish(res.t)
	if res.t.replay > 0 {
		r.replayed(res)
		return
	}
	r.b.metrics.publishDuration.Observe(max(now.Sub(e.Accepted).Seconds(), 0))
	r.b.backlog.add(e.Source, e.Accepted, -1)
	r.b.waiters.done(res.t.seq, nil)
}

// fail does the one thing that there is to do for each class of failure.
func (r *runner) fail(res result, now time.Time) error {
	t, f := res.t, res.failure
	switch f.Class {
	case LinkDown:
		// Costs nothing: the event goes with the next session.
		r.ready = slices.Insert(r.ready, 0, t)
		r.lose(connectionLost)
	case Held:
		r.watch.failed()
		t.attempts++
		r.closeGate(t, f, now)
		r.delay(t, now)
	case Rejected:
		t.attempts++
		return r.giveUp(res, now)
	default:
		r.watch.failed()
		t.attempts++
		t.unknown++
		if t.unknown >= r.b.o.MaxAttempts || t.replay > 0 && errors.Is(f, journal.ErrNotFound) {
			return r.giveUp(res, now)
		}
		r.delay(t, now)
	}
	return nil
}

func (r *runner) delay(t *task, now time.Time) {
	if t.wait == nil {
		t.wait = r.b.o.Backoff.newBackOff()
	}
	t.due = now.Add(t.wait.NextBackOff())
	heap.Push(&r.delayed, t)
}

// giveUp ends an event that will not go: a pending one becomes a dead letter, a
// replayed one, which the stream had, is counted. The events that waited for it
// go on.
func (r *runner) giveUp(res result, now time.Time) error {
	if res.t.replay > 0 {
		r.finish(res.t)
		r.replayed(res)
		return nil
	}
	if res.event == nil {
		return fmt.Errorf("record %d is damaged: run 'persat-bridge journal repair': %w", res.t.seq, res.failure)
	}
	reason := res.failure.Error()
	if journal.Damaged(res.failure) { // only the sender has it whole, and must not be told that it is a repeat
		reason = "damaged on the disk of the bridge: ask the sender to send this delivery again, and discard this one: " + reason
		if err := r.b.journal.Forget([]journal.Item{res.item}); err != nil {
			return err
		}
	}
	if err := r.b.journal.MarkDead(res.item, journal.Death{At: now, Reason: reason, Attempts: res.t.attempts}); err != nil {
		return err
	}
	e := res.event
	r.b.backlog.add(e.Source, e.Accepted, -1)
	r.b.deadAdd(e.Source, 1)
	r.b.logDead(e, res.t.seq, reason)
	r.finish(res.t)
	r.b.waiters.done(res.t.seq, ErrNotAcknowledged)
	return nil
}

// finish lets go of a task, and of what waited for it.
func (r *runner) finish(t *task) {
	if t.replay == 0 {
		delete(r.tasks, t.seq)
	}
	r.laneKeys -= len(t.lane)
	for _, next := range r.lanes.leave(t) {
		r.offer(next)
	}
	g := t.gate
	if g.tasks--; g.tasks == 0 {
		if g.closed {
			r.closed--
		}
		delete(r.gates, g.gateKey)
	}
}

// closeGate closes the subject of t, or, when t was its probe, waits longer.
func (r *runner) closeGate(t *task, f *Failure, now time.Time) {
	g := t.gate
	switch {
	case !g.closed:
		r.closed++
		g.closed, g.since, g.wait = true, now, r.b.o.Backoff.newBackOff()
		g.due = now.Add(g.wait.NextBackOff())
	case !g.due.After(now):
		g.due = now.Add(g.wait.NextBackOff())
	}
	g.reason = f.Reason
}

func (r *runner) openGate(g *gate) {
	if !g.closed {
		return
	}
	r.closed--
	g.closed, g.reason = false, ""
	r.ready = append(r.ready, g.line...)
	g.line = nil
}
