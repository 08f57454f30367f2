package bridge_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// silent never answers an attempt of type "slow" before its session is closed or
// answer is called, and holds those of type "held".
type silent struct {
	*memory
	mu      sync.Mutex
	waiting []func()
}

func (s *silent) Connect(ctx context.Context) (bridge.Session, error) {
	in, err := s.memory.Connect(ctx)
	return silentSession{in, s}, err
}

// answer ends the attempts that wait, and says how many there were.
func (s *silent) answer() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, done := range s.waiting {
		done()
	}
	n := len(s.waiting)
	s.waiting = nil
	return n
}

type silentSession struct {
	bridge.Session
	s *silent
}

func (s silentSession) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	f := &bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time"}
	switch e.Type {
	case "slow":
		s.s.mu.Lock()
		defer s.s.mu.Unlock()
		s.s.waiting = append(s.s.waiting, func() { done(bridge.Receipt{}, f) })
	case "held":
		go done(bridge.Receipt{}, f)
	default:
		s.Session.Publish(e, done)
	}
}

// A stop waited for the acknowledgement of one attempt while another event was due
// again: the loop, which sent nothing any more, woke up for it without a pause and used
// a processor until the first attempt had timed out. In a bubble a loop that never waits
// keeps synctest.Wait from returning.
func TestStopWaitsWithoutSpinning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &silent{memory: &memory{created: "1"}}
		b, stop := runInBubble(t, vfs.NewMem(), p)
		for _, eventType := range []string{"slow", "held"} {
			d := delivery(eventType, eventType)
			d.Type = eventType
			if _, err := b.Accept(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second) // both have been tried, and the second is due every now and then
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := p.answer(); n != 1 {
			t.Errorf("%d attempts wait for their acknowledgement, want 1", n)
		}
		<-stopped
	})
}

// The loss was noticed, and the bridge stops (or is killed) before it is healed.
func TestStopBetweenRollbackAndHealing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &barrier{memory: &memory{created: "1"}}
		r := memoryRig(t, m.memory, func(o *bridge.Options) { o.Publisher = m })
		r.acceptSeries("a", 5, "a")
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
	})
}

// A bridge that is told to stop while it looks at the stream sends what is pending
// into the stream that it has not looked at.
func TestNothingIsSentUnverifiedWhenStopping(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost, early := 0, 0
		for range 12 {
			m := &memory{created: "1"}
			r := memoryRig(t, m)
			r.acceptSeries("a", 5, "1")
			r.drained()
			looking := make(chan struct{}, 10)
			m.set(func() {
				m.ids, m.bodies, m.sent = nil, nil, nil // power loss
				m.look = func(ctx context.Context) error { looking <- struct{}{}; <-ctx.Done(); return ctx.Err() }
				m.sessions[len(m.sessions)-1].Close()
			})
			<-looking
			r.accept(delivery("b0", "1"), bridge.Accepted)
			r.stop()
			m.set(func() { early += len(m.sent); m.look = nil })
			r.open(true, func(o *bridge.Options) { o.Publisher = m })
			r.drained()
			time.Sleep(20 * time.Millisecond)
			r.drained()
			ids := m.stored()
			for i := range 5 {
				if index(ids, fmt.Sprintf("persat:a%d", i)) < 0 {
					lost++
				}
			}
			r.stop()
		}
		if early > 0 || lost > 0 {
			t.Errorf("%d events were sent unverified, %d acknowledged events are lost for ever", early, lost)
		}
	})
}
