package bridge

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// decision is what a list of results means for the journal.
type decision struct {
	dead   []deadResult   // pending events that will not be stored
	forget []journal.Item // events whose ids the sender may use again
}

// deadResult is a result that makes its event a dead letter.
type deadResult struct {
	result
	death journal.Death
}

// complete works off the results of attempts, in the steps that keep the promise:
//
//	examine  an acknowledgement that proves a rollback is taken for a failure
//	mark     the events that JetStream has, in one batch of the journal; it refuses a mark
//	         whose stream sequence is another event's, which proves a rollback, too
//	decide   what each result means: pure, over the scheduler
//	write    the deaths, before any event is sent that waited for one of these
//	report   to metrics, waiting requests, the log and the replay
//
// A crash before mark sends all of them again under their ids; one before write has the
// rejected ones rejected again; one before report leaves nothing undone.
func (l *loop) complete(results []result) error {
	now := time.Now()
	l.measure(results, now)
	marks, err := l.examine(results, now)
	if err != nil {
		return err
	}
	if err := l.mark(results, marks); err != nil {
		return err
	}
	before := l.schedule.HeldSubjects()
	d := l.decide(results, now)
	if l.schedule.HeldSubjects() != before { // who looks sees a refusal, and its end, at once
		l.show()
	}
	if err := l.write(d); err != nil {
		return err
	}
	return l.report(results, d, now)
}

// measure notes what was acknowledged, and how fast: for the size of the window, and for
// the choice between batches and single events.
func (l *loop) measure(results []result, now time.Time) {
	acknowledged, slowest, alone := 0, time.Duration(0), 0
	for i := range results {
		res := &results[i]
		switch {
		case res.failure == nil && res.batch > 0:
			l.pace.acknowledged(together, res.batch, now)
		case res.failure == nil && !res.inBatch:
			alone++
		case res.failure != nil && res.failure.Class == Undecided && res.batch > 0:
			l.pace.refused(res.failure.Error(), now)
		}
		if res.failure == nil {
			acknowledged++
			slowest = max(slowest, now.Sub(res.began))
		}
	}
	if alone > 0 {
		l.pace.acknowledged(single, alone, now)
	}
	if acknowledged > 0 {
		l.window.acknowledged(acknowledged, slowest)
	}
}

// examine returns the marks for the events that JetStream has. An acknowledgement that
// proves a rollback is made a failure: its event is sent again, as a repeat, once it is
// known what the stream has lost.
func (l *loop) examine(results []result, now time.Time) ([]journal.Mark, error) {
	marks := make([]journal.Mark, 0, len(results))
	for i := range results {
		res := &results[i]
		if res.failure != nil {
			continue
		}
		streamSeq := res.receipt.Sequence
		rolledBack, err := l.provesRollback(res, results[:i])
		if err != nil {
			return nil, err
		}
		if rolledBack {
			res.failure = &Failure{Class: LinkDown, Reason: "the stream was rolled back"}
			if err := l.rolledBack(streamSeq); err != nil {
				return nil, err
			}
			continue
		}
		l.monitor.Heard(streamSeq, res.receipt.Duplicate, now)
		mark := journal.Mark{Item: res.item, StreamSeq: streamSeq, At: now}
		if res.t.Replay > 0 {
			positioned, err := l.b.journal.HasPosition(res.t.Seq)
			if err != nil {
				return nil, err
			}
			if positioned { // the stream has the event's first message
				continue
			}
			// That was in a stream that is no more: this message takes its place, under its
			// own id, and is healed like any other.
			mark.Header = appendHeader(nil, res.event)
		}
		marks = append(marks, mark)
	}
	return marks, nil
}

// provesRollback says whether an acknowledgement has a stream sequence that JetStream
// gave before. earlier are the results before it.
func (l *loop) provesRollback(res *result, earlier []result) (bool, error) {
	r := res.receipt
	switch {
	case l.monitor.Unverifiable():
		return false, nil
	case !r.Duplicate && r.Sequence <= res.floor:
		return true, nil
	case !r.Duplicate && r.Sequence > l.monitor.Baseline(): // in order, as nearly always
		return false, nil
	}
	for i := range earlier {
		if other := &earlier[i]; other.failure == nil && other.receipt.Sequence == r.Sequence {
			return other.event.MessageID() != res.event.MessageID(), nil
		}
	}
	return l.b.isTaken(res)
}

// mark writes the marks. An acknowledgement whose stream sequence is another event's is
// made a failure: the journal has noted the rollback that it proves.
func (l *loop) mark(results []result, marks []journal.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	collisions, err := l.b.journal.MarkPublished(marks)
	if err != nil || len(collisions) == 0 {
		return err
	}
	for i := range results {
		res := &results[i]
		if res.failure == nil && slices.ContainsFunc(collisions, func(c journal.Collision) bool {
			return c.Seq == res.item.Seq && c.StreamSeq == res.receipt.Sequence
		}) {
			res.failure = &Failure{Class: LinkDown, Reason: "the stream was rolled back"}
		}
	}
	l.lose("the stream was rolled back behind a connection that stayed up")
	return nil
}

// decide ends each attempt in the scheduler, and says what the journal has to know. One
// thing is done for each class of failure.
func (l *loop) decide(results []result, now time.Time) (d decision) {
	for i := range results {
		res := &results[i]
		t, f := res.t, res.failure
		switch {
		case f == nil:
			l.schedule.Done(t, now)
			continue
		case f.Class == LinkDown: // it goes with the next session
			res.again = l.schedule.Requeue(t, now)
			l.lose(connectionLost)
		case f.Class == Undecided: // it goes alone, and that decides
			l.monitor.Failed()
			res.again = l.schedule.Requeue(t, now)
		case f.Class == Held:
			l.monitor.Failed()
			res.again = l.schedule.Hold(t, f.Reason, now)
		case f.Class == Rejected, t.Replay > 0 && f.lostBody():
			l.schedule.Drop(t, now)
		default:
			l.monitor.Failed()
			res.again = l.schedule.Retry(t, now)
		}
		switch {
		case res.again:
		case t.Replay == 0:
			if journal.Damaged(f) { // only the sender has it whole, and must not be told that it is a repeat
				d.forget = append(d.forget, res.item)
			}
			d.dead = append(d.dead, deadResult{*res, journal.Death{At: now, Reason: deathReason(f), Attempts: t.Attempts}})
		case l.replay.fills && f.lostBody(): // only the sender can bring it back
			d.forget = append(d.forget, res.item)
		}
	}
	return d
}

// lostBody says that the journal no longer has the body of an event of a replay. The failure
// of a batch wraps that of one of its events, and says it of none.
func (f *Failure) lostBody() bool {
	return f.Class != Undecided && errors.Is(f, journal.ErrNotFound)
}

func deathReason(f *Failure) string {
	if journal.Damaged(f) {
		return "damaged on the disk of the bridge: ask the sender to send this delivery again, and discard this one: " + f.Error()
	}
	return f.Error()
}

// write changes the journal. What is forgotten comes first: an event that is still
// pending after a crash is rejected again. A death is on disk before the events behind it
// go: a power cut that took it back would have it published after them.
func (l *loop) write(d decision) error {
	for _, dead := range d.dead {
		if dead.event == nil {
			return fmt.Errorf("record %d is damaged: run 'persat-bridge journal repair': %w", dead.t.Seq, dead.failure)
		}
	}
	if err := l.b.journal.Forget(d.forget); err != nil {
		if failed := l.b.journal.Err(); failed != nil {
			return failed
		}
		l.b.o.Log.Error("forget delivery ids", zap.Error(err)) // a damaged one; the rest goes on
	}
	for _, dead := range d.dead {
		if err := l.b.journal.MarkDead(dead.item, dead.death); err != nil {
			return err
		}
	}
	if len(d.dead) == 0 {
		return nil
	}
	return l.b.journal.Sync()
}

// report says what has become of the events, now that it is written.
func (l *loop) report(results []result, d decision, now time.Time) error {
	for i := range results {
		res := &results[i]
		l.b.countAttempt(res)
		if f := res.failure; f != nil {
			l.b.failures.add(res.t.Seq, FailedAttempt{At: now.UTC(), Class: f.Class.String(), Reason: f.Error()})
		}
		if res.failure == nil {
			l.b.reportPublished(res, now)
		}
		if res.t.Replay > 0 && !res.again {
			l.replay.count(res)
		}
	}
	for _, dead := range d.dead {
		e := dead.event
		l.b.backlog.add(e.Source, e.Accepted, -1)
		l.b.dead.add(e.Source, 1)
		l.b.logDead(e, dead.t.Seq, dead.death.Reason)
		l.b.waiters.done(dead.t.Seq, ErrNotAcknowledged)
	}
	return l.endReplay()
}

func (b *Bridge) countAttempt(res *result) {
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
	b.metrics.of(b, res.event.Source).attempts[label].Inc()
}

func (b *Bridge) reportPublished(res *result, now time.Time) {
	e := res.event
	b.lastPublished.Store(now.UnixNano())
	ofType(b.metrics.of(b, e.Source).published, e.Type).Inc()
	if res.t.Replay > 0 {
		return
	}
	b.metrics.publishDuration.Observe(max(now.Sub(e.Accepted).Seconds(), 0))
	b.backlog.add(e.Source, e.Accepted, -1)
	b.waiters.done(res.t.Seq, nil)
}
