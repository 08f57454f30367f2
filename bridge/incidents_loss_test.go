package bridge_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// The stream goes back behind a living connection, and another publisher fills the places
// before this bridge publishes again: none of ours comes a second time.
func TestRollbackFilledByAnotherPublisher(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 10 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	m.set(func() {
		m.ids, m.bodies = m.ids[:5:5], m.bodies[:5:5]
		for i := range 10 { // the other bridge
			m.ids, m.bodies = append(m.ids, fmt.Sprintf("persat:other%d", i)), append(m.bodies, "x")
		}
	})
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
	lost := 0
	for i := range 10 {
		if index(m.stored(), fmt.Sprintf("persat:a%d", i)) < 0 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d events answered 2xx and acknowledged are lost for ever, status %+v", lost, r.bridge.Status(t.Context()))
	}
}

// The loss was noticed, and the bridge stops (or is killed) before it is healed.
func TestStopBetweenNoticingAndHealing(t *testing.T) {
	m := &barrier{memory: &memory{created: "1"}}
	r := memoryRig(t, m.memory, func(o *bridge.Options) { o.Publisher = m })
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "a"), bridge.Accepted)
	}
	r.drained()
	looking := make(chan struct{}, 10)
	m.arm(6)
	m.set(func() {
		m.ids, m.bodies = m.ids[:3:3], m.bodies[:3:3]
		m.look = func(ctx context.Context) error { looking <- struct{}{}; <-ctx.Done(); return ctx.Err() }
	})
	for i := range 6 {
		r.accept(delivery(fmt.Sprintf("b%d", i), fmt.Sprint("b", i)), bridge.Accepted)
	}
	<-looking // the session after: the stream does not answer for a while (an election)
	r.stop()  // SIGTERM
	m.set(func() { m.look = nil })
	r.open(true, func(o *bridge.Options) { o.Publisher = m.memory })
	r.drained()
	time.Sleep(200 * time.Millisecond)
	r.drained()
	if ids := m.stored(); len(ids) != 11 {
		t.Errorf("the stream has %d of 11 events: %v", len(ids), ids)
	}
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
	for _, back := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(back), func(t *testing.T) {
			m := &memory{created: "1"}
			var lose atomic.Int32
			lose.Store(0)
			r := memoryRig(t, m, func(o *bridge.Options) { o.Publisher = lostAck{m, &lose} })
			for i := range 10 {
				r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
			}
			r.drained()
			m.set(func() { m.ids, m.bodies = m.ids[:10-back:10-back], m.bodies[:10-back:10-back] })
			lose.Store(1)
			for i := range 5 {
				r.accept(delivery(fmt.Sprintf("b%d", i), "1"), bridge.Accepted)
			}
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
	}
}

// The bodies were dropped for want of room, then the stream loses its tail.
func TestLossThatCannotBeHealedIsSaid(t *testing.T) {
	m := &memory{created: "1"}
	core, logs := observer.New(zap.InfoLevel)
	r := memoryRig(t, m, func(o *bridge.Options) { o.Log = zap.New(core) })
	for i := range 10 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	m.set(func() { m.ids, m.bodies = m.ids[:5:5], m.bodies[:5:5]; m.sessions[len(m.sessions)-1].Close() })
	time.Sleep(300 * time.Millisecond)
	logs.TakeAll()
	m.cut()
	time.Sleep(300 * time.Millisecond)
	said := false
	for _, e := range logs.All() {
		t.Log(e.Message, e.ContextMap())
		said = said || e.Message != "connection to NATS lost; events are taken and wait on disk" && e.Message != "connected to NATS"
	}
	if s := r.bridge.Status(t.Context()); !said && len(s.Notices) == 0 {
		t.Errorf("the stream has %d of 10 events, and neither log nor status say so: %+v", len(m.stored()), s)
	}
}
