package bridge

import (
	"container/heap"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

const (
	// readAhead is how many pending records are read from the journal at a time.
	readAhead = 512
	// maxTasks bounds how far Run looks ahead for events that may overtake
	// those that wait. It is reached only when a quarter of a million events
	// wait behind held subjects or earlier events of their entities; those after them
	// then wait too, and a notice says so.
	maxTasks = 1 << 18
	// maxLaneKeys bounds the same by the entities of the events: a bulk event can
	// have very many.
	maxLaneKeys = 1 << 18
	// maxReadBytes bounds the bodies that wait in memory for their turn; what is
	// beyond is read again then. maxFlightBytes bounds those in flight.
	maxReadBytes   = 16 << 20
	maxFlightBytes = 64 << 20
)

// fill reads on in the journal until there is enough to keep the window full.
func (r *runner) fill() error {
	for len(r.ready) < r.b.o.MaxInFlight && len(r.tasks) < maxTasks && r.laneKeys < maxLaneKeys {
		items, next, err := r.b.journal.Pending(r.cursor, readAhead)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := r.add(item); err != nil {
				return err
			}
		}
		if next == r.cursor {
			break
		}
		r.cursor = next
	}
	r.noteAhead()
	return nil
}

// noteAhead says when there may be events that could go and are not looked at, because
// so many wait before them; and when that is over.
func (r *runner) noteAhead() {
	switch {
	case !r.full && len(r.ready) < r.b.o.MaxInFlight && (len(r.tasks) >= maxTasks || r.laneKeys >= maxLaneKeys):
		r.full = true
		const text = "so many events, or events of so many entities, wait for held subjects or for earlier events of their entities that those accepted after them wait too, whatever they are about: repair what is held"
		r.b.notices.set("ahead", text)
		r.b.o.Log.Warn(text, zap.Int("waiting", len(r.tasks)), zap.Int("entities", r.laneKeys))
	case r.full && len(r.tasks) < maxTasks/2 && r.laneKeys < maxLaneKeys/2:
		r.full = false
		r.b.notices.clear("ahead")
		r.b.o.Log.Info("events behind those that wait are looked at again")
	}
}

// add takes notice of a pending record.
func (r *runner) add(item journal.PendingItem) error {
	if r.tasks[item.Seq] != nil {
		return nil
	}
	e, err := parseHeader(item.Header)
	if err != nil {
		return fmt.Errorf("record %d: %w", item.Seq, err)
	}
	t := &task{seq: item.Seq, size: e.Size}
	r.tasks[t.seq] = t
	if item.Body != nil && r.readBytes+len(item.Body) <= maxReadBytes {
		e.Seq, e.Body = item.Seq, item.Body
		t.read = &read{item.Item, e}
		r.readBytes += len(item.Body)
	}
	r.enter(t, e)
	return nil
}

// forget lets go of what was read of a task that has to wait: it may wait long.
func (r *runner) forget(t *task) {
	if t.read != nil {
		r.readBytes -= len(t.read.event.Body)
		t.read = nil
	}
}

// enter puts a task in line.
func (r *runner) enter(t *task, e *Event) {
	t.lane, t.gate = r.lanes.keys(e), r.gate(e)
	r.laneKeys += len(t.lane)
	t.gate.tasks++
	if r.lanes.join(t) {
		r.offer(t)
	} else {
		r.forget(t)
	}
}

func (r *runner) gate(e *Event) *gate {
	key := gateKey{e.Source, e.Type}
	g := r.gates[key]
	if g == nil {
		g = &gate{gateKey: key}
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
		r.forget(t)
		t.gate.line = append(t.gate.line, t)
		return
	}
	r.ready = append(r.ready, t)
}

// wants says whether there is something to send.
func (r *runner) wants(now time.Time) bool {
	if len(r.ready) > 0 || len(r.delayed) > 0 && !r.delayed[0].due.After(now) {
		return true
	}
	for _, g := range r.gates {
		if r.closed > 0 && g.waits() && !g.due.After(now) {
			return true
		}
	}
	return false
}

// send fills the window: what is due again, a probe for every closed gate whose
// time has come, and what is ready.
func (r *runner) send(now time.Time) {
	for len(r.delayed) > 0 && !r.delayed[0].due.After(now) {
		r.offer(heap.Pop(&r.delayed).(*task))
	}
	if r.closed > 0 {
		r.probe(now)
	}
	for r.room() && len(r.ready) > 0 {
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

// probe sends one event of each closed gate whose time has come. It may wait for its
// timeout. While there is something that can go, one probe at a time must do, or the
// probes of many held subjects fill the window; and of a window of one, they may have a
// fifth of the time.
func (r *runner) probe(now time.Time) {
	if r.b.o.MaxInFlight == 1 && len(r.ready) > 0 && now.Before(r.probeAgain) {
		return
	}
	probing := 0
	for _, g := range r.gates {
		if g.probing != nil {
			probing++
		}
	}
	for _, g := range r.gates {
		if (len(r.ready) == 0 || probing == 0) && r.room() && g.waits() && !g.due.After(now) {
			g.probing, g.probed = g.take(), now
			r.start(g.probing)
			probing++
		}
	}
}

// room says whether another attempt may be begun.
func (r *runner) room() bool {
	return r.inFlight < r.b.o.MaxInFlight && (r.inFlight == 0 || r.flightBytes < maxFlightBytes)
}

func (r *runner) start(t *task) {
	r.inFlight++
	r.flightBytes += t.size
	j := job{t: t, read: t.read, session: r.session, floor: r.watch.floor()}
	r.forget(t)
	r.jobs <- j // never blocks: it has room for the whole window
}

// nextDue is how long there is nothing to do unless something happens.
func (r *runner) nextDue() time.Duration {
	if !r.sending() || r.watch.pausing {
		return time.Hour
	}
	next := time.Time{}
	if len(r.delayed) > 0 {
		next = r.delayed[0].due
	}
	if r.closed > 0 && r.room() { // a full window has no place for a probe; the next result makes one
		for _, g := range r.gates {
			if g.waits() && (next.IsZero() || g.due.Before(next)) {
				next = g.due
			}
		}
	}
	if next.IsZero() {
		return time.Hour
	}
	return max(time.Until(next), 0)
}
