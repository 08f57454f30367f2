package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// While a session is publishing, integrity.Monitor says when to ask the stream; here it is
// asked. A rollback that is found is written down before anything else, because the
// sequences given since hide it from a later pass, and ends the session; the next one
// begins with healing.

// confirmation is the answer to a check.
type confirmation struct {
	check integrity.Check
	integrity.Confirmation
	took time.Duration // of the last question alone
	err  error
}

// confirm makes a check beside the loop.
func (l *loop) confirm(c integrity.Check) {
	s := l.session
	l.questions++
	l.asking.Go(func() { l.confirmations <- l.b.confirm(l.ask, s, c) })
}

// confirm asks until there is an answer or the patience ends.
func (b *Bridge) confirm(ctx context.Context, s Session, c integrity.Check) confirmation {
	ctx, cancel := whileOpen(ctx, s)
	defer cancel()
	ctx, cancelWait := context.WithTimeout(ctx, integrity.Patience)
	defer cancelWait()
	wait := b.o.Backoff.newBackOff()
	for {
		asked := time.Now()
		answer, err := integrity.Confirm(ctx, verifiable{s}, b.ledger, c, asked)
		took := time.Since(asked)
		if errors.Is(err, ErrNotPermitted) || journal.Damaged(err) { // it shows elsewhere
			err = nil
		}
		if err == nil || ctx.Err() != nil {
			return confirmation{c, answer, took, err}
		}
		select {
		case <-time.After(min(wait.NextBackOff(), time.Second)):
		case <-ctx.Done():
			return confirmation{c, answer, took, err}
		}
	}
}

// confirmed takes the answer.
func (l *loop) confirmed(c confirmation) error {
	l.questions--
	paused := l.monitor.Pausing()
	l.monitor.Ended(c.check, c.took, time.Now())
	switch {
	case l.phase == ending:
	case c.err != nil && paused:
		l.lose(fmt.Sprintf("the stream does not answer (%v)", c.err))
	case c.err != nil:
		l.monitor.Doubt(c.check.Seq) // once more
	case c.Recreated:
		l.lose("the stream has another identity behind a connection that stayed up")
	case c.RolledBackAt != 0:
		return l.rolledBack(c.RolledBackAt)
	case c.Unsure != "":
		l.lose("the stream has to be verified: " + c.Unsure)
	default:
		return l.identify(c.State)
	}
	return nil
}

// identify notes the identity of a stream that was created in this session.
func (l *loop) identify(state integrity.State) error {
	if !state.Exists {
		return nil
	}
	known, err := l.b.journal.Stream()
	if err != nil || known != "" {
		return err
	}
	return l.b.journal.NoteStream(state.Identity)
}

// rolledBack ends the session because the stream was rolled back to before a sequence, or
// further. That is on disk when it returns. The journal's own positions prove it too, as long
// as a session marks no more of them than the next verification looks at; the note does not
// depend on that.
func (l *loop) rolledBack(streamSeq uint64) error {
	l.lose("the stream has lost acknowledged events behind a connection that stayed up")
	return l.b.journal.NoteRollback(streamSeq)
}

// isTaken says whether the journal has another event at the sequence of a receipt: then
// the stream was rolled back.
func (b *Bridge) isTaken(res *result) (bool, error) {
	positions, err := b.journal.PositionsFrom(res.receipt.Sequence, 1)
	if err != nil || len(positions) == 0 || positions[0].StreamSeq != res.receipt.Sequence || positions[0].Seq == res.item.Seq {
		return false, err
	}
	r, known, err := b.ledger.Record(integrity.Place{Seq: positions[0].StreamSeq, Record: positions[0].Seq})
	return known && r.ID != res.event.MessageID(), err
}

// observation is the stream's state as it was observed, and what follows from it.
type observation struct {
	verdict integrity.Verdict
	again   bool
	took    time.Duration
	err     error
}

// observe asks for the stream's state beside the loop, when it is time.
func (l *loop) observe() {
	if l.phase != publishing && l.phase != confirming || !l.monitor.Observe(time.Now()) {
		return
	}
	s, heard := l.session, l.monitor.Baseline()
	l.questions++
	l.asking.Go(func() {
		ctx, cancel := whileOpen(l.ask, s)
		defer cancel()
		var o observation
		asked := time.Now()
		o.verdict, o.again, o.err = integrity.Observe(ctx, verifiable{s}, l.b.ledger, heard, asked)
		o.took = time.Since(asked)
		l.observations <- o
	})
}

// observed takes the answer.
func (l *loop) observed(o observation) error {
	l.questions--
	l.monitor.Observed(o.took)
	switch {
	case l.phase == ending || errors.Is(o.err, ErrNotPermitted) || journal.Damaged(o.err):
		return nil
	case o.err != nil:
		l.monitor.Failed() // the server that has the stream may be away
		return nil
	case o.again:
		l.lose("the stream has to be verified: it is not as it was behind a connection that stayed up")
		return nil
	}
	if err := l.identify(o.verdict.State); err != nil {
		return err
	}
	return l.settle(o.verdict)
}
