package bridge

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

const (
	// readAhead is how many pending records are read from the journal at a time.
	readAhead = 512
	// maxTasks bounds how far Run looks ahead for events that may overtake
	// those that wait. It is reached only when a quarter of a million events
	// wait behind held subjects; those after them then wait too.
	maxTasks = 1 << 18
	// showHeldAfter is how long a subject may be held before the log says so:
	// a cluster that elects a leader takes up to eight seconds.
	showHeldAfter = 30 * time.Second
)

// runner is the publishing half of a Bridge. Its loop is one goroutine that
// owns everything here; the attempts run in workers, which get a task and
// give back a result.
type runner struct {
	b *Bridge

	session   Session
	lost      bool // the session is over; what is in flight comes back first
	sessions  chan Session
	verifying bool // nothing is sent before the stream has been looked at
	findings  chan finding
	// attemptCtx outlives the loop's own: what is in flight at the end may end.
	attemptCtx context.Context

	cursor  uint64 // the next sequence to read from the journal
	tasks   map[uint64]*task
	lanes   *lanes
	gates   map[string]*gate
	holding *holding // nil while nothing is held
	ready   []*task
	delayed delayed

	highest  uint64 // place in the stream that JetStream has given
	blind    bool   // nobody may look at the stream, so places are not watched
	wentBack uint64 // the lowest place that JetStream gave a second time
	inFlight int
	jobs     chan job
	results  chan result
	workers  sync.WaitGroup
}

type job struct {
	t *task
	s Session
	// floor is the highest place in the stream that was known at the start.
	floor uint64
}

// result is what a worker brings back of one attempt.
type result struct {
	t       *task
	floor   uint64
	item    journal.Item
	event   *Event // nil when the record could not be read
	receipt Receipt
	failure *Failure // nil: JetStream has it
}

func newRunner(b *Bridge) *runner {
	return &runner{
		b:        b,
		sessions: make(chan Session),
		findings: make(chan finding, 1),
		tasks:    make(map[uint64]*task),
		lanes:    newLanes(),
		gates:    make(map[string]*gate),
		jobs:     make(chan job, b.o.MaxInFlight),
		results:  make(chan result, b.o.MaxInFlight),
	}
}

// run is the loop. Its order at the end: nothing new is sent, what is in flight
// comes back and is marked, the session is closed, the workers end.
func (r *runner) run(ctx context.Context) error {
	attemptCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.attemptCtx = attemptCtx
	connectCtx, stopConnect := context.WithCancel(ctx)
	var connecting sync.WaitGroup
	connect := func() { connecting.Go(func() { r.b.connect(connectCtx, r.sessions) }) }
	verify := func(s Session) { connecting.Go(func() { r.findings <- r.b.verify(connectCtx, s) }) }
	for range r.b.o.MaxInFlight {
		r.workers.Go(r.work)
	}
	defer func() {
		stopConnect()
		connecting.Wait()
		cancel()
		close(r.jobs)
		r.workers.Wait()
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
		case r.lost && r.inFlight == 0 && !r.verifying:
			r.session.Close()
			r.session, r.lost = nil, false
			connect()
		case r.session != nil && !r.lost && !r.verifying && !stopping:
			if err := r.fill(); err != nil {
				return err
			}
			if err := r.fillReplay(); err != nil {
				return err
			}
			r.send()
		}
		timer.Reset(r.nextDue())
		select {
		case s := <-r.sessions:
			r.session, r.verifying = s, true
			verify(s)
		case f := <-r.findings:
			r.verifying = false
			if r.lost || stopping {
				continue
			}
			if !f.answered { // the session has ended, or we are stopping
				r.lose()
				continue
			}
			if err := r.heal(f); err != nil {
				return err
			}
			r.blind = f.blind
			r.begin()
		case <-r.done():
			r.lose()
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

// done is the end of the session, or nil when there is none to end.
func (r *runner) done() <-chan struct{} {
	if r.session == nil || r.lost {
		return nil
	}
	return r.session.Done()
}

// reset forgets what is in line; all of it is read again from the journal. Nothing
// may be in flight.
func (r *runner) reset() {
	r.forgetReplay()
	r.cursor = 0
	r.tasks = make(map[uint64]*task)
	r.lanes = newLanes()
	r.gates = make(map[string]*gate)
	r.ready, r.delayed = nil, nil
}

// begin sends through a session that has been looked at.
func (r *runner) begin() {
	r.b.linkUp()
	r.highest = 0
	if last, ok, err := r.b.journal.LastPlaced(); err == nil && ok {
		r.highest = last.StreamSeq
	}
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
}

func (r *runner) lose() {
	if !r.lost {
		r.lost = true
		r.b.linkLost()
	}
}

// fill reads on in the journal until there is enough to keep the window full.
func (r *runner) fill() error {
	for len(r.ready) < r.b.o.MaxInFlight && len(r.tasks) < maxTasks {
		end := r.b.journal.Next()
		if r.cursor >= end {
			return nil
		}
		items, err := r.b.journal.Pending(r.cursor, readAhead)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := r.add(item); err != nil {
				return err
			}
		}
		if len(items) < readAhead {
			r.cursor = end
			continue
		}
		r.cursor = items[len(items)-1].Seq + 1
	}
	return nil
}

// add takes notice of a pending record.
func (r *runner) add(item journal.Item) error {
	if r.tasks[item.Seq] != nil {
		return nil
	}
	e, err := parseHeader(item.Header)
	if err != nil {
		return fmt.Errorf("record %d: %w", item.Seq, err)
	}
	t := &task{seq: item.Seq}
	r.tasks[t.seq] = t
	r.enter(t, e)
	return nil
}

// enter puts a task in line.
func (r *runner) enter(t *task, e *Event) {
	t.lane, t.gate = r.lanes.keys(e), r.gate(e)
	t.gate.tasks++
	if r.lanes.join(t) {
		r.offer(t)
	}
}

func (r *runner) gate(e *Event) *gate {
	key := e.Source + " " + e.Type
	g := r.gates[key]
	if g == nil {
		g = &gate{source: e.Source, eventType: e.Type}
		r.gates[key] = g
	}
	return g
}

// offer puts a task that stands first in its lanes before its gate.
func (r *runner) offer(t *task) {
	if t.replay > 0 && r.b.replays.cancelled.Load() {
		r.finish(t)
		r.replayed(result{t: t, failure: errCancelled})
		return
	}
	if t.gate.closed {
		t.gate.line = append(t.gate.line, t)
		return
	}
	r.ready = append(r.ready, t)
}

// send fills the window: what is due again, a probe for every closed gate whose
// time has come, and what is ready.
func (r *runner) send() {
	now := time.Now()
	for len(r.delayed) > 0 && !r.delayed[0].due.After(now) {
		r.offer(heap.Pop(&r.delayed).(*task))
	}
	// A probe may wait for its timeout. While there is something that can go, one
	// probe at a time must do, or the probes of many held subjects fill the window.
	probing := 0
	for _, g := range r.gates {
		if g.probing != nil {
			probing++
		}
	}
	for _, g := range r.gates {
		busy := len(r.ready) > 0 && (probing > 0 || r.b.o.MaxInFlight == 1)
		if !busy && r.inFlight < r.b.o.MaxInFlight && g.closed && g.probing == nil && len(g.line) > 0 && !g.due.After(now) {
			g.probing = g.take()
			r.start(g.probing)
			probing++
		}
	}
	for r.inFlight < r.b.o.MaxInFlight && len(r.ready) > 0 {
		t := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		if t.gate.closed {
			r.offer(t)
			continue
		}
		r.start(t)
	}
}

func (r *runner) start(t *task) {
	r.inFlight++
	r.jobs <- job{t, r.session, r.floor()} // never blocks: it has room for the whole window
}

// floor is the place behind which JetStream's next one has to be.
func (r *runner) floor() uint64 {
	if r.blind {
		return 0
	}
	return r.highest
}

// nextDue is how long there is nothing to do unless something happens.
func (r *runner) nextDue() time.Duration {
	next := time.Now().Add(time.Hour)
	if r.session == nil || r.lost || r.verifying {
		return time.Hour
	}
	if len(r.delayed) > 0 && r.delayed[0].due.Before(next) {
		next = r.delayed[0].due
	}
	for _, g := range r.gates {
		// A full window has no place for a probe; the next result makes one.
		if r.inFlight < r.b.o.MaxInFlight && g.closed && g.probing == nil && len(g.line) > 0 && g.due.Before(next) {
			next = g.due
		}
	}
	return max(time.Until(next), 0)
}

// work makes attempts until there are no more jobs.
func (r *runner) work() {
	for j := range r.jobs {
		r.results <- r.attempt(j)
	}
}

// attempt is one attempt: read the record, publish it, say what came of it.
func (r *runner) attempt(j job) result {
	res := result{t: j.t, floor: j.floor}
	item, body, err := r.load(j.t)
	res.item = item
	if err == nil || item.Seq != 0 {
		e, headerErr := parseHeader(item.Header)
		if headerErr == nil {
			e.Seq, e.Body = item.Seq, body
			if j.t.replay > 0 {
				e.Replay = j.t.replay
			}
			res.event = e
		}
		err = firstError(err, headerErr)
	}
	if err != nil {
		res.failure = &Failure{Class: Unknown, Reason: "the journal cannot read this record", Err: err}
		return res
	}
	ctx, cancel := context.WithTimeout(r.attemptCtx, r.b.o.AckTimeout)
	defer cancel()
	ctx, span := r.b.tracePublish(ctx, res.event)
	receipt, err := j.s.Publish(ctx, res.event)
	endSpan(span, err)
	if err != nil {
		res.failure = failureOf(err)
		return res
	}
	res.receipt = receipt
	return res
}

// load reads the record of a task: a pending one, or, in a replay, a published one.
func (r *runner) load(t *task) (journal.Item, []byte, error) {
	if t.replay == 0 {
		return r.b.journal.Load(t.seq)
	}
	p, err := r.b.journal.Published(t.seq)
	if err != nil {
		return p.Item, nil, err
	}
	body, err := r.b.journal.Body(t.seq)
	return p.Item, body, err
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

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
	var marks []journal.Mark
	for i, res := range results {
		if res.failure == nil && !res.receipt.Duplicate {
			if res.receipt.Sequence <= res.floor {
				// Not marked: it is sent again, as a repeat, once it is known what
				// the stream has lost.
				results[i].failure = &Failure{Class: LinkDown, Reason: "the stream has gone back"}
				if r.wentBack == 0 || res.receipt.Sequence < r.wentBack {
					r.wentBack = res.receipt.Sequence
				}
				res = results[i]
			}
			r.highest = max(r.highest, res.receipt.Sequence)
		}
		if res.failure == nil && res.t.replay == 0 {
			marks = append(marks, journal.Mark{Item: res.item, StreamSeq: res.receipt.Sequence, At: now})
		}
	}
	if len(marks) > 0 {
		if err := r.b.journal.MarkPublished(marks); err != nil {
			return err
		}
	}
	for _, res := range results {
		r.inFlight--
		if res.t.gate.probing == res.t {
			res.t.gate.probing = nil
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
	r.b.metrics.attempts.WithLabelValues(res.event.Source, label).Inc()
}

func (r *runner) succeed(res result, now time.Time) {
	e := res.event
	r.b.metrics.published.WithLabelValues(e.Source, r.b.typeLabel(e.Type)).Inc()
	if res.t.replay > 0 {
		r.openGate(res.t.gate)
		r.finish(res.t)
		r.replayed(res)
		return
	}
	r.b.metrics.publishDuration.Observe(max(now.Sub(e.Accepted).Seconds(), 0))
	r.b.backlog.add(e.Source, e.Accepted, -1)
	r.openGate(res.t.gate)
	r.finish(res.t)
	r.b.waiters.done(res.t.seq)
}

// fail does the one thing that there is to do for each class of failure.
func (r *runner) fail(res result, now time.Time) error {
	t, f := res.t, res.failure
	t.failure = f
	switch f.Class {
	case LinkDown:
		// Costs nothing: the event goes with the next session.
		r.ready = slices.Insert(r.ready, 0, t)
		r.lose()
	case Held:
		t.attempts++
		r.closeGate(t, f, now)
		r.delay(t, now)
	case Rejected:
		t.attempts++
		return r.giveUp(res, now)
	default:
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
	if err := r.b.journal.Bury(res.item, journal.Death{At: now, Reason: reason, Attempts: res.t.attempts}); err != nil {
		return err
	}
	e := res.event
	r.b.backlog.add(e.Source, e.Accepted, -1)
	r.b.deadAdd(e.Source, 1)
	r.b.logDead(e, res.t.seq, reason)
	r.finish(res.t)
	r.b.waiters.done(res.t.seq)
	return nil
}

// finish lets go of a task, and of what waited for it.
func (r *runner) finish(t *task) {
	if t.replay == 0 {
		delete(r.tasks, t.seq)
	}
	for _, next := range r.lanes.leave(t) {
		r.offer(next)
	}
	g := t.gate
	if g.tasks--; g.tasks == 0 {
		delete(r.gates, g.source+" "+g.eventType)
	}
}

// closeGate closes the subject of t, or, when t was its probe, waits longer.
func (r *runner) closeGate(t *task, f *Failure, now time.Time) {
	g := t.gate
	if !g.closed {
		g.closed, g.since, g.wait = true, now, r.b.o.Backoff.newBackOff()
		g.due = now.Add(g.wait.NextBackOff())
	} else if !g.due.After(now) {
		g.due = now.Add(g.wait.NextBackOff())
	}
	g.reason = f.Reason
}

func (r *runner) openGate(g *gate) {
	if !g.closed {
		return
	}
	g.closed, g.reason = false, ""
	r.ready = append(r.ready, g.line...)
	g.line = nil
}

// holding is a time in which something was held, for the log: a line when it
// begins, one for each other reason, and one when it has ended.
type holding struct {
	since   time.Time
	reasons map[string]bool
	most    int // events that waited at once
}

// showHeld logs what has been held for a while, and counts it for the metrics.
func (r *runner) showHeld() {
	now := time.Now()
	held, all := make(map[string]int), 0
	for _, g := range r.gates {
		if !g.closed || now.Sub(g.since) < showHeldAfter {
			continue
		}
		held[g.source] += g.tasks
		all += g.tasks
		if r.holding == nil {
			r.holding = &holding{since: g.since, reasons: make(map[string]bool)}
		}
		if !r.holding.reasons[g.reason] {
			r.holding.reasons[g.reason] = true
			r.b.o.Log.Warn("events are held; they wait on disk, those of other subjects flow", zap.String("source", g.source),
				zap.String("type", g.eventType), zap.String("reason", g.reason), zap.Int("waiting", g.tasks))
		}
	}
	r.b.setHeld(held)
	switch h := r.holding; {
	case h == nil:
	case len(held) > 0:
		h.most = max(h.most, all)
	default:
		r.holding = nil
		r.b.o.Log.Info("held events flow again", zap.Duration("held", now.Sub(h.since).Round(time.Second)), zap.Int("events", h.most))
	}
}
