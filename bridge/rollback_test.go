package bridge_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// A loss was noted while the journal had no places any more (all were past their time). The note
// stays, and the next session opens all that was published since, which the stream has.
func TestNotedRollbackWithoutSequences(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) { o.Registerer = registry })
	r.acceptSeries("a", 10, "1")
	r.drained()
	later := time.Now().Add(time.Hour)
	if n, err := r.journal.Trim(later, later); err != nil || n.Records != 10 { // retention has passed
		t.Fatal(n, err)
	}
	m.rollBack(8) // behind a living connection
	r.accept(delivery("b0", "1"), bridge.Accepted)
	r.drained()
	r.acceptSeries("c", 50, "")
	r.drained()
	m.cut() // days later; nothing is lost
	r.accept(delivery("d", "1"), bridge.Accepted)
	r.drained()
	sent := make(map[string]int)
	m.set(func() {
		for _, id := range m.sent {
			sent[id]++
		}
	})
	again := 0
	for i := range 50 {
		if sent[fmt.Sprintf("persat:c%d", i)] > 1 {
			again++
		}
	}
	if h := healed(t, registry); h > 0 || again > 0 {
		t.Errorf("%v events 'healed', %d sent again, of which the stream had lost none: past the duplicate window they are stored twice", h, again)
	}
}

// quickestRestart is the shortest time in which a killed server was seen to answer again.
const quickestRestart = 270 * time.Millisecond

// rollsBackInASilence has the server that has the stream start again with the first of its
// events alone and some of another publisher's behind them, and a new one accepted after that.
func rollsBackInASilence(t *testing.T, m *memory, r *rig, keep, others int) {
	t.Helper()
	time.Sleep(quickestRestart)
	m.rollBackAndFill(keep, others)
	r.accept(delivery("new", "1"), bridge.Accepted)
	r.drained()
	time.Sleep(200 * time.Millisecond)
	r.drained()
	m.holdsOldBeforeNew(t)
}

// A rollback behind a living connection, with a replay at the end of the stream: the watch looks
// up a place that is no record's, and finds all well.
func TestRollbackAfterAReplay(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptSeries("a", 5, "1")
	r.drained()
	r.replayed(bridge.Filter{IDs: []string{"a0"}})
	rollsBackInASilence(t, m, r, 3, 0)
}

// While a look beside the sending has no answer, a silence makes nothing wait: an event goes into the
// stream that has gone back.
func TestConfirmingBesideHoldsBack(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptSeries("a", 5, "1")
	r.drained()
	looking, answer := make(chan struct{}, 10), make(chan struct{})
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.ID == "slow" { // its acknowledgement takes a while: the place before is suspect
				time.Sleep(1200 * time.Millisecond)
				m.look = func(ctx context.Context) error { // the server that has the stream goes away
					looking <- struct{}{}
					select {
					case <-answer:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			return nil
		}
	})
	r.accept(delivery("slow", "2"), bridge.Accepted)
	<-looking
	m.rollBack(3)               // it lost power
	time.Sleep(quickestRestart) // a silence
	r.accept(delivery("new", "1"), bridge.Accepted)
	time.Sleep(300 * time.Millisecond)
	close(answer) // it is back
	r.drained()
	time.Sleep(300 * time.Millisecond)
	r.drained()
	m.holdsOldBeforeNew(t)
}

// The stream is made during the first session. Until the next one, what it loses is not noticed before
// newer events are sent.
func TestMonitorInTheFirstSession(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1", none: true}
	r := memoryRig(t, m)
	testwait.Eventually(t, "connected", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	m.set(func() { m.none = false })
	r.acceptSeries("a", 5, "1")
	r.drained()
	rollsBackInASilence(t, m, r, 3, 0)
}

// The stream goes back behind a living connection, and another publisher fills the places
// before this bridge publishes again: none of ours comes a second time.
func TestRollbackFilledByAnotherPublisher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		r.acceptSeries("a", 10, "1")
		r.drained()
		m.rollBackAndFill(5, 10)
		r.accept(delivery("b", "1"), bridge.Accepted)
		r.drained()
		for range 3 { // later sessions do not find it either
			m.cut()
			time.Sleep(100 * time.Millisecond)
		}
		r.drained()
		r.stop()
		r.open(true, func(o *bridge.Options) { o.Publisher = m })
		time.Sleep(200 * time.Millisecond)
		r.nothingLost(m, "a", 10)
	})
}

// The same, and the server was away for a moment only. Where it was is filled, so that no sequence
// tells: the stream has to be asked, or the new event stands before the older one of its entity.
func TestOrderAfterAQuickRollbackFilledByAnotherPublisher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		r.acceptSeries("a", 5, "1")
		r.drained()
		rollsBackInASilence(t, m, r, 3, 5)
	})
}

// The server that has the stream was busy once, and answered after more than a second. It is quick
// again, and that has to count when it is killed later.
func TestOrderAfterAQuickRollbackLongAfterASlowAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Bool
		m := &memory{created: "1", look: func(context.Context) error {
			if busy.Swap(false) {
				time.Sleep(1500 * time.Millisecond)
			}
			return nil
		}}
		r := memoryRig(t, m)
		r.acceptSeries("x", 5, "1")
		r.drained()
		time.Sleep(time.Second)
		busy.Store(true)
		r.accept(delivery("busy", "9"), bridge.Accepted)
		r.drained()
		for i := range 10 { // never silent for a second
			time.Sleep(500 * time.Millisecond)
			r.accept(delivery(fmt.Sprint("quick", i), "9"), bridge.Accepted)
			r.drained()
		}
		r.acceptSeries("a", 5, "1")
		r.drained()
		rollsBackInASilence(t, m, r, len(m.stored())-2, 5)
	})
}

// lostAck stores, and says for some attempts that no acknowledgement came.
type lostAck struct {
	*memory
	lose *atomic.Int32
}

func (l lostAck) Connect(ctx context.Context) (bridge.Session, error) {
	in, err := l.memory.Connect(ctx)
	return lostAckSession{in, l.lose}, err
}

type lostAckSession struct {
	bridge.Session
	lose *atomic.Int32
}

func (s lostAckSession) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	s.Session.Publish(e, func(receipt bridge.Receipt, err error) {
		if err == nil && s.lose.Add(-1) >= 0 {
			receipt, err = bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time"}
		}
		done(receipt, err)
	})
}

// One attempt in flight. The stream goes back behind a living connection and the
// acknowledgement of the first attempt after that is lost: its repeat is a duplicate, at a
// place that was given before.
func TestRollbackAndALostAcknowledgement(t *testing.T) {
	t.Parallel()
	for _, back := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{created: "1"}
				var lose atomic.Int32
				lose.Store(0)
				r := memoryRig(t, m, func(o *bridge.Options) { o.Publisher = lostAck{m, &lose} })
				r.acceptSeries("a", 10, "1")
				r.drained()
				m.set(func() { m.ids, m.bodies = m.ids[:10-back:10-back], m.bodies[:10-back:10-back] })
				lose.Store(1)
				r.acceptSeries("b", 5, "1")
				r.drained()
				time.Sleep(100 * time.Millisecond)
				r.drained()
				m.cut()
				time.Sleep(100 * time.Millisecond)
				r.drained()
				if ids := m.stored(); len(ids) != 15 {
					t.Errorf("the stream has %d of 15 events: %v", len(ids), ids)
				}
			})
		})
	}
}

// barrier lets attempts through only when so many of them wait, once it is armed.
type barrier struct {
	*memory
	mu    sync.Mutex
	need  int
	ready chan struct{}
}

func (b *barrier) arm(n int) { b.mu.Lock(); b.need, b.ready = n, make(chan struct{}); b.mu.Unlock() }

func (b *barrier) Connect(ctx context.Context) (bridge.Session, error) {
	in, err := b.memory.Connect(ctx)
	return barrierSession{in, b}, err
}

type barrierSession struct {
	bridge.Session
	b *barrier
}

func (s barrierSession) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	s.b.mu.Lock()
	ready := s.b.ready
	if s.b.need--; s.b.need == 0 {
		close(ready)
	}
	s.b.mu.Unlock()
	go func() {
		if ready != nil {
			<-ready
		}
		s.Session.Publish(e, done)
	}()
}

// The stream goes back by less than what is in flight: the attempts behind the lost
// places get places that are new, and hide the loss from the next look.
func TestShortRollbackUnderAFullWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &barrier{memory: &memory{created: "1"}}
		r := memoryRig(t, m.memory, func(o *bridge.Options) { o.Publisher = m })
		r.acceptSeries("a", 5, "a")
		r.drained()
		m.arm(6)
		m.rollBack(3)
		for i := range 6 {
			r.accept(delivery(fmt.Sprintf("b%d", i), fmt.Sprint("b", i)), bridge.Accepted)
		}
		r.drained()
		time.Sleep(100 * time.Millisecond)
		r.drained()
		if ids := m.stored(); len(ids) != 11 {
			t.Errorf("the stream has %d of 11 events: %v", len(ids), ids)
		}
	})
}

// A stream that is rolled back behind a connection that stays up (a cluster, a leaf
// node) is written over, and what it lost is never missed.
func TestRollbackBehindALivingConnection(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptSeries("a", 5, "1")
	r.drained()
	m.set(func() { m.ids, m.bodies = nil, nil })
	r.acceptSeries("b", 5, "1")
	r.drained()
	m.cut()
	r.accept(delivery("c", "1"), bridge.Accepted)
	r.drained()
	testwait.Eventually(t, "c", func() bool { return index(m.stored(), "persat:c") >= 0 })
	if ids := m.stored(); len(ids) != 11 {
		t.Errorf("the stream has %d of 11 events: %v", len(ids), ids)
	}
}

// The stream is made (by its operator) after the session began: what the stream loses
// before the session after that is taken for "made anew".
func TestStreamMadeDuringTheSessionIsHealed(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1", none: true}
	r := memoryRig(t, m)
	testwait.Eventually(t, "connected", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	m.set(func() { m.none = false })
	r.acceptSeries("a", 5, "1")
	r.drained()
	m.set(func() { m.ids, m.bodies = m.ids[:2], m.bodies[:2]; m.sessions[len(m.sessions)-1].Close() })
	r.accept(delivery("b", "1"), bridge.Accepted)
	r.drained()
	if ids := m.stored(); len(ids) != 6 {
		t.Errorf("the stream has %d of 6 events: %v; notices %q", len(ids), ids, r.bridge.Status(t.Context()).Notices)
	}
}
