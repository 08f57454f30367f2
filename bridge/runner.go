package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// runner is the publishing half of a Bridge. Its loop is one goroutine that owns
// everything here and never waits for NATS. It waits for the disk: to read, to write
// marks, and for a sync only when the stream has lost something or a replay has filled
// it. Attempts are begun by another goroutine, which gets a job, and come back as results
// from wherever NATS answers.
type runner struct {
	b *Bridge

	session     Session
	lost        bool // the session is over; what is in flight comes back first
	sessions    chan Session
	begun       bool            // the last session, or none has been tried
	connectWait backoff.BackOff // grows until a session has begun
	verifying   bool            // nothing is sent before the stream has been looked at
	findings    chan finding
	watch       watch

	cursor     uint64 // the next sequence to read from the journal
	tasks      map[uint64]*task
	lanes      *lanes
	laneKeys   int // in all tasks
	gates      map[gateKey]*gate
	closed     int       // gates that are closed
	probeAgain time.Time // when a window of one has room for a probe again
	holding    *holding  // nil while nothing is held
	full       bool      // so many wait that those behind them are not looked at
	ready      []*task
	delayed    delayed
	// readBytes is the size of the bodies that tasks in ready hold, and flightBytes
	// of those in flight.
	readBytes, flightBytes int

	inFlight int
	jobs     chan job
	results  chan result
}

func newRunner(b *Bridge) *runner {
	return &runner{
		b:           b,
		sessions:    make(chan Session),
		begun:       true,
		connectWait: b.o.Backoff.newBackOff(),
		findings:    make(chan finding, 1),
		watch:       newWatch(),
		tasks:       make(map[uint64]*task),
		lanes:       newLanes(),
		gates:       make(map[gateKey]*gate),
		jobs:        make(chan job, b.o.MaxInFlight),
		results:     make(chan result, b.o.MaxInFlight),
	}
}

// run is the loop. Its order at the end: nothing new is sent, what is in flight
// comes back and is marked, the session is closed, the goroutines end.
func (r *runner) run(ctx context.Context) error {
	askCtx, stopAsking := context.WithCancel(ctx)
	var asking, sending sync.WaitGroup
	connect := func() { asking.Go(func() { r.b.connect(askCtx, r.connectWait, r.begun, r.sessions) }) }
	verify := func(s Session) { asking.Go(func() { r.findings <- r.b.verify(askCtx, s) }) }
	lookUp := func(s Session, place uint64) {
		asking.Go(func() { r.watch.lookups <- r.b.lookUp(askCtx, s, place) })
	}
	sending.Go(r.sendJobs)
	defer func() {
		stopAsking()
		asking.Wait()
		close(r.jobs)
		sending.Wait()
		if r.session != nil {
			r.session.Close()
		}
	}()

	connect()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	stop, stopping := ctx.Done(), false
	for {
		switch {
		case stopping && r.inFlight == 0:
			return nil
		case r.lost && r.inFlight == 0 && !r.verifying && !r.watch.looking:
			r.session.Close()
			r.session, r.lost = nil, false
			connect()
		case r.sending() && !stopping:
			if err := r.fill(); err != nil {
				return err
			}
			if err := r.fillReplay(); err != nil {
				return err
			}
			now := time.Now()
			if r.wants(now) {
				if place := r.watch.before(now); place != 0 {
					lookUp(r.session, place)
				}
			}
			if !r.watch.pausing {
				r.send(now)
			}
			if place := r.watch.beside(now); place != 0 {
				lookUp(r.session, place)
			}
		}
		timer.Reset(r.nextDue())
		select {
		case s := <-r.sessions:
			r.session, r.verifying, r.begun = s, true, false
			verify(s)
		case f := <-r.findings:
			r.verifying = false
			if r.lost || stopping {
				continue
			}
			if !f.answered { // the session has ended, or we are stopping
				r.lose(connectionLost)
				continue
			}
			if err := r.heal(f); err != nil {
				return err
			}
			if err := r.begin(f.blind); err != nil {
				return err
			}
		case l := <-r.watch.lookups:
			if err := r.lookedUp(l); err != nil {
				return err
			}
		case <-r.done():
			r.lose(connectionLost)
		case first := <-r.results:
			if err := r.settle(first); err != nil {
				return err
			}
		case f := <-r.b.commands:
			f(r)
		case <-r.b.wake:
		case <-timer.C:
		case <-tick.C:
			r.showHeld()
		case <-r.b.journal.Failed():
			return r.b.journal.Err()
		case <-stop:
			stop, stopping = nil, true
		}
	}
}

// sending says whether there is a session through which events may be sent.
func (r *runner) sending() bool { return r.session != nil && !r.lost && !r.verifying }

// done is the end of the session, or nil when there is none to end.
func (r *runner) done() <-chan struct{} {
	if r.session == nil || r.lost {
		return nil
	}
	return r.session.Done()
}

// begin sends through a session that has been looked at.
func (r *runner) begin(blind bool) error {
	r.b.linkUp()
	r.begun = true
	r.connectWait.Reset()
	last, _, err := r.b.journal.LastPosition()
	if err != nil {
		return err
	}
	r.watch.begin(last.StreamSeq, blind)
	// Whatever was wrong may be well again: try at once.
	now := time.Now()
	for _, t := range r.delayed {
		t.due = now
	}
	for _, g := range r.gates {
		if g.closed {
			g.due, g.wait = now, r.b.o.Backoff.newBackOff()
		}
	}
	return nil
}

// lose ends the use of the session, for a reason that the log tells.
func (r *runner) lose(reason string) {
	if !r.lost {
		r.lost = true
		r.b.linkLost(reason)
	}
}

const connectionLost = "connection to NATS lost"

// reset forgets what is in line; all of it is read again from the journal. Nothing
// may be in flight.
func (r *runner) reset() error {
	replayed := r.replaying()
	r.cursor = 0
	r.tasks = make(map[uint64]*task)
	r.lanes.lines = make(map[uint64][]*task)
	r.laneKeys = 0
	r.gates, r.closed = make(map[gateKey]*gate), 0
	r.ready, r.delayed, r.readBytes = nil, nil, 0
	return r.resumeReplay(replayed)
}
