package bridge_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

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
	m := &barrier{memory: &memory{created: "1"}}
	r := memoryRig(t, m.memory, func(o *bridge.Options) { o.Publisher = m })
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "a"), bridge.Accepted)
	}
	r.drained()
	m.arm(6)
	m.set(func() { m.ids, m.bodies = m.ids[:3:3], m.bodies[:3:3] })
	for i := range 6 {
		r.accept(delivery(fmt.Sprintf("b%d", i), fmt.Sprint("b", i)), bridge.Accepted)
	}
	r.drained()
	time.Sleep(100 * time.Millisecond)
	r.drained()
	if ids := m.stored(); len(ids) != 11 {
		t.Errorf("the stream has %d of 11 events: %v", len(ids), ids)
	}
}

// A client that may not look at the stream cannot find out why places come again: to
// end the session for that helps nobody.
func TestNoReconnectStormWithoutPermissionToLook(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 100 {
		r.accept(delivery(fmt.Sprintf("a%d", i), fmt.Sprint(i)), bridge.Accepted)
	}
	r.drained()
	m.set(func() {
		m.look = func(context.Context) error { return bridge.ErrNotPermitted }
		m.created, m.ids, m.bodies = "2", nil, nil
		m.sessions[len(m.sessions)-1].Close()
	})
	for i := range 50 {
		r.accept(delivery(fmt.Sprintf("b%d", i), fmt.Sprint(i)), bridge.Accepted)
		r.drained()
	}
	sessions := 0
	m.set(func() { sessions = len(m.sessions) })
	if sessions > 5 {
		t.Errorf("%d sessions for 50 events", sessions)
	}
}
