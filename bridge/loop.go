package bridge

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
	"github.com/persat-bridge/persat-bridge/bridge/schedule"
)

// phase is where the session with NATS is.
type phase int

const (
	// connecting: there is no session yet.
	connecting phase = iota
	// verifying: there is one. Nothing is sent before its stream has been verified.
	verifying
	// publishing: events are sent.
	publishing
	// confirming: nothing new is sent until the stream has been asked for the last
	// acknowledged sequence.
	confirming
	// ending: the session is over, or the bridge stops. Nothing is sent, and the attempts
	// in flight end.
	ending
)

// loop is the publishing half of a Bridge: one goroutine that owns every field here,
// the scheduler and the replay included. It never waits for NATS. It waits for the
// disk: to read again, to write marks, and for a sync when the stream has lost something.
// Nobody waits for it who only wants to know how things are: what others may see it
// publishes (view).
//
// The sender begins attempts in another goroutine, and their results come back from
// wherever NATS answers. connect, verify, confirm and observe wait for NATS in goroutines of
// their own; each sends one answer.
type loop struct {
	b        *Bridge
	schedule *schedule.Scheduler
	keys     orderingKeys
	sender   *sender
	replay   *replay // the one that runs, or nil
	monitor  integrity.Monitor
	window   *window
	pace     *pace
	together bool         // events were last started for batches
	episode  *heldEpisode // nil while no subject has been held for long

	phase       phase
	stopping    bool // the phase is ending, and no session follows
	session     Session
	begun       bool            // the last session was published through, or none has been tried
	connectWait backoff.BackOff // grows until a session has begun

	// ask bounds the goroutines that wait for NATS or read the journal; questions is how
	// many of those that ask through the session have not answered.
	ask           context.Context
	asking        sync.WaitGroup
	questions     int
	sessions      chan Session
	findings      chan finding
	confirmations chan confirmation
	observations  chan observation

	cursor  uint64            // the next sequence to read from the journal
	known   uint64            // from here on no event has been a task
	reading *backlogRead      // the one under way, or nil
	reads   chan *backlogRead // those that are done
	crowded bool              // so many events wait that those behind them are not looked at

	stop  <-chan struct{}
	tick  *time.Ticker
	timer *time.Timer // the scheduler's deadline
}

func newLoop(b *Bridge) *loop {
	return &loop{
		b: b,
		schedule: schedule.New(schedule.Options{
			Window: b.o.MaxInFlight, WindowBytes: maxFlightBytes, MaxTasks: maxTasks, MaxKeys: maxKeys, RecordBytes: maxReadBytes,
			MaxAttempts: b.o.MaxAttempts, Backoff: func() schedule.Backoff { return b.o.Backoff.newBackOff() },
		}),
		keys:          newOrderingKeys(),
		sender:        newSender(b),
		window:        newWindow(b.o.MaxInFlight, b.o.AckTimeout),
		pace:          newPace(b.o.Batches, b.o.Log),
		begun:         true,
		connectWait:   b.o.Backoff.newBackOff(),
		sessions:      make(chan Session),
		findings:      make(chan finding, 1),
		confirmations: make(chan confirmation, 1),
		observations:  make(chan observation, 1),
		reads:         make(chan *backlogRead),
	}
}

// run is the loop. Its order at the end: nothing new is sent, what is in flight comes
// back and is marked, the session is closed, the goroutines end.
func (l *loop) run(ctx context.Context) error {
	ask, stopAsking := context.WithCancel(ctx)
	l.ask, l.stop = ask, ctx.Done()
	var sending sync.WaitGroup
	sending.Go(l.sender.run)
	defer func() {
		stopAsking()
		l.asking.Wait()
		l.sender.close()
		sending.Wait()
		if l.session != nil {
			l.session.Close()
		}
	}()
	l.tick = time.NewTicker(time.Second)
	defer l.tick.Stop()
	l.timer = time.NewTimer(forever)
	defer l.timer.Stop()

	l.connect()
	for {
		switch l.phase {
		case publishing, confirming:
			if err := l.publish(); err != nil {
				return err
			}
		case ending:
			if l.stopping && l.schedule.InFlight() == 0 {
				return nil
			}
			if l.schedule.InFlight() == 0 && l.questions == 0 {
				l.session.Close()
				l.session = nil
				l.connect()
			}
		}
		l.timer.Reset(l.untilDeadline())
		if err := l.handle(); err != nil {
			return err
		}
	}
}

// handle waits for one thing that happens, and does what it asks for.
func (l *loop) handle() error {
	select {
	case s := <-l.sessions:
		l.verify(s)
	case f := <-l.findings:
		return l.verified(f)
	case c := <-l.confirmations:
		return l.confirmed(c)
	case o := <-l.observations:
		return l.observed(o)
	case <-l.sessionDone():
		l.lose(connectionLost)
	case first := <-l.sender.results:
		return l.complete(l.sender.gather(first))
	case r := <-l.reads:
		return l.backlogIsRead(r)
	case c := <-l.b.commands:
		return c.obey(l)
	case <-l.b.wake:
	case <-l.timer.C:
	case <-l.tick.C:
		l.showHeld()
		l.observe()
	case <-l.b.journal.Failed():
		return l.b.journal.Err()
	case <-l.stop:
		l.stop, l.stopping = nil, true
		l.enter(ending)
	}
	return nil
}

// forever is longer than the time until something happens.
const forever = time.Hour

// untilDeadline is how long there is nothing to do unless something happens.
func (l *loop) untilDeadline() time.Duration {
	if l.phase != publishing {
		return forever
	}
	if due := l.schedule.Deadline(); !due.IsZero() {
		return max(time.Until(due), 0)
	}
	return forever
}

// enter changes the phase.
func (l *loop) enter(p phase) {
	l.phase = p
	l.show()
}

func (l *loop) connect() {
	l.enter(connecting)
	l.asking.Go(func() { l.b.link.connect(l.ask, l.connectWait, l.begun, l.sessions) })
}

func (l *loop) verify(s Session) {
	l.session, l.begun = s, false
	l.enter(verifying)
	l.questions++
	l.asking.Go(func() { l.findings <- l.b.verify(l.ask, s) })
}

// verified repairs what a new session has found, and begins to publish.
func (l *loop) verified(f finding) error {
	l.questions--
	if l.phase != verifying { // the session has ended meanwhile
		return nil
	}
	if !f.answered {
		l.lose(connectionLost)
		return nil
	}
	if err := l.heal(f.verdict); err != nil {
		return err
	}
	last, _, err := l.b.journal.LastPosition()
	if err != nil {
		return err
	}
	l.monitor.Begin(max(last.StreamSeq, f.verdict.State.Last), f.unverifiable, time.Now())
	l.pace.begin(time.Now())
	l.schedule.Resume(time.Now()) // whatever was wrong may be well again
	l.begun = true
	l.connectWait.Reset()
	l.b.link.up()
	l.enter(publishing)
	return nil
}

// sessionDone is the end of the session, or nil when there is none to end.
func (l *loop) sessionDone() <-chan struct{} {
	if l.session == nil || l.phase == ending {
		return nil
	}
	return l.session.Done()
}

// lose ends the use of the session, for a reason that the log tells.
func (l *loop) lose(reason string) {
	if l.phase != ending {
		l.enter(ending)
		l.b.link.lost(reason)
	}
}

const connectionLost = "connection to NATS lost"

// publish reads what there is room for, and sends what may go.
func (l *loop) publish() error {
	if err := l.readPending(); err != nil {
		return err
	}
	if err := l.readReplay(); err != nil {
		return err
	}
	now := time.Now()
	if l.schedule.Wants(now) {
		if check, ok := l.monitor.Before(now); ok {
			l.confirm(check)
		}
	}
	switch {
	case !l.monitor.Pausing():
		l.phase = publishing
		l.start(now)
	default:
		l.phase = confirming
	}
	if check, ok := l.monitor.Beside(now); ok {
		l.confirm(check)
	}
	return nil
}

// start sends what may go: a backlog in atomic batches, where these get more through.
func (l *loop) start(now time.Time) {
	floor := l.monitor.Baseline()
	waiting := l.schedule.Movable()
	if l.reading != nil { // there is more than is known
		waiting += readAhead
	}
	least, most := l.pace.choose(now, l.session.MaxBatch(), l.window.now, waiting)
	if most == 0 {
		if l.together {
			l.together = false
			l.window.restart(smallWindow)
		}
		l.schedule.SetWindow(l.window.now)
		alone := l.schedule.Start(now)
		l.sender.send(alone, false, l.session, floor, now)
		l.b.metrics.sent(single, len(alone))
		return
	}
	l.together = true
	l.schedule.SetWindow(l.window.now)
	for again := true; again; {
		batched, alone := l.schedule.StartBatch(now, least, most)
		l.sender.send(alone, false, l.session, floor, now)
		l.sender.send(batched, true, l.session, floor, now)
		l.b.metrics.sent(single, len(alone))
		l.b.metrics.sent(together, len(batched))
		again = len(batched) > 0
	}
}

// reset forgets every task; all of them are read again from the journal. Nothing may
// be in flight.
func (l *loop) reset() error {
	replayed := l.schedule.Reset()
	l.goBack(0)
	l.known = 0 // nothing is a task
	return l.resumeReplay(replayed)
}

// A command is what a method of Bridge asks of the loop.
type command interface{ obey(*loop) error }

// requeued says that dead letters are pending again, from a sequence on.
type requeued struct{ from uint64 }

func (c requeued) obey(l *loop) error {
	l.goBack(c.from)
	return nil
}

// retryNow makes everything that waits for its next attempt due.
type retryNow struct{}

func (retryNow) obey(l *loop) error {
	l.schedule.Resume(time.Now())
	l.show()
	return nil
}

// Retry tries at once what waits for its next attempt: the connection to NATS, or the
// events that NATS refuses. It is ErrNotRunning when nothing is tried at all.
func (b *Bridge) Retry(ctx context.Context) error {
	select {
	case b.link.retry <- struct{}{}:
	default:
	}
	if !b.command(ctx, retryNow{}) {
		return cmp.Or(context.Cause(ctx), ErrNotRunning)
	}
	return nil
}

// command hands c to the loop. It returns false when the loop is not running, or ctx
// has ended first.
func (b *Bridge) command(ctx context.Context, c command) bool {
	if !b.running.Load() {
		return false
	}
	select {
	case b.commands <- c:
		return true
	case <-b.ended:
	case <-ctx.Done():
	}
	return false
}
