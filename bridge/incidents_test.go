package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// memory is a JetStream that fits in a test: one stream, which can be rolled back, and
// which knows ids again as long as it has their messages.
type memory struct {
	mu       sync.Mutex
	none     bool // there is no stream
	created  string
	ids      []string // the message at sequence i+1
	bodies   []string
	fail     func(e *bridge.Event) error // before anything is stored
	look     func(ctx context.Context) error
	sessions []*memorySession
	sent     []string
}

type memorySession struct {
	m    *memory
	done chan struct{}
	once sync.Once
}

func (m *memory) Connect(context.Context) (bridge.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &memorySession{m: m, done: make(chan struct{})}
	m.sessions = append(m.sessions, s)
	return s, nil
}

// cut ends the newest session.
func (m *memory) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions[len(m.sessions)-1].Close()
}

func (m *memory) set(f func()) { m.mu.Lock(); defer m.mu.Unlock(); f() }

func (m *memory) stored() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.ids...)
}

func (s *memorySession) Done() <-chan struct{} { return s.done }
func (s *memorySession) Close()                { s.once.Do(func() { close(s.done) }) }

func (s *memorySession) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	go func() { done(s.publish(e)) }()
}

func (s *memorySession) publish(e *bridge.Event) (bridge.Receipt, error) {
	m := s.m
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-s.done: // what a server loses with its power, no attempt of before reaches
		return bridge.Receipt{}, &bridge.Failure{Class: bridge.LinkDown, Reason: "cut"}
	default:
	}
	m.sent = append(m.sent, e.MessageID())
	if m.fail != nil {
		if err := m.fail(e); err != nil {
			return bridge.Receipt{}, err
		}
	}
	if m.none {
		return bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: "no stream"}
	}
	for i, id := range m.ids {
		if id == e.MessageID() {
			return bridge.Receipt{Sequence: uint64(i + 1), Duplicate: true}, nil
		}
	}
	m.ids, m.bodies = append(m.ids, e.MessageID()), append(m.bodies, string(e.Body))
	return bridge.Receipt{Sequence: uint64(len(m.ids))}, nil
}

func (s *memorySession) Stream(ctx context.Context) (bridge.StreamState, error) {
	s.m.mu.Lock()
	look := s.m.look
	s.m.mu.Unlock()
	if look != nil {
		if err := look(ctx); err != nil {
			return bridge.StreamState{}, err
		}
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.none {
		return bridge.StreamState{}, bridge.ErrNoStream
	}
	return bridge.StreamState{Identity: "PERSAT " + s.m.created, LastSequence: uint64(len(s.m.ids)), Messages: uint64(len(s.m.ids)), FirstSequence: 1}, nil
}

func (s *memorySession) Message(_ context.Context, seq uint64) (bridge.Message, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if seq == 0 || seq > uint64(len(s.m.ids)) {
		return bridge.Message{}, bridge.ErrNoMessage
	}
	return bridge.Message{Seq: seq, ID: s.m.ids[seq-1]}, nil
}

func (s *memorySession) Deleted(context.Context) ([]bridge.SequenceRange, error) { return nil, nil }

func (s *memorySession) Heads(_ context.Context, from uint64, n int) ([]bridge.Message, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	var heads []bridge.Message
	for seq := max(from, 1); seq <= uint64(len(s.m.ids)) && len(heads) < n; seq++ {
		heads = append(heads, bridge.Message{Seq: seq, ID: s.m.ids[seq-1]})
	}
	return heads, nil
}

func memoryRig(t *testing.T, m *memory, change ...func(*bridge.Options)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.open(true, append([]func(*bridge.Options){func(o *bridge.Options) { o.Publisher = m }}, change...)...)
	return r
}

func index(ids []string, id string) int {
	for i, s := range ids {
		if s == id {
			return i
		}
	}
	return -1
}

// Events that Run had taken notice of before the link was lost stand in their lanes
// when heal makes older ones of the same entity pending.
func TestHealedEventsComeBeforeThoseThatWaited(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.accept(delivery("old", "1"), bridge.Accepted)
	r.drained()
	tried := make(chan struct{}, 100)
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.ID != "new" {
				return nil
			}
			tried <- struct{}{}
			return &bridge.Failure{Class: bridge.Held, Reason: "the stream is full"}
		}
	})
	r.accept(delivery("new", "1"), bridge.Accepted)
	<-tried
	m.set(func() { m.fail, m.ids, m.bodies = nil, nil, nil; m.sessions[len(m.sessions)-1].Close() }) // power loss
	r.drained()
	ids := m.stored()
	if old, new := index(ids, "persat:old"), index(ids, "persat:new"); old < 0 || new < 0 || old > new {
		t.Errorf("the stream has %v, want old before new", ids)
	}
}

// A bridge that is told to stop while it looks at the stream sends what is pending
// into the stream that it has not looked at.
func TestNothingIsSentUnverifiedWhenStopping(t *testing.T) {
	lost, early := 0, 0
	for range 12 {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		for i := range 5 {
			r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
		}
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
}

// A stream that is rolled back behind a connection that stays up (a cluster, a leaf
// node) is written over, and what it lost is never missed.
func TestRollbackBehindALivingConnection(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	m.set(func() { m.ids, m.bodies = nil, nil })
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("b%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	m.cut()
	r.accept(delivery("c", "1"), bridge.Accepted)
	r.drained()
	eventually(t, "c", func() bool { return index(m.stored(), "persat:c") >= 0 })
	if ids := m.stored(); len(ids) != 11 {
		t.Errorf("the stream has %d of 11 events: %v", len(ids), ids)
	}
}

// The stream is made (by its operator) after the session began: what the stream loses
// before the session after that is taken for "made anew".
func TestStreamMadeDuringTheSessionIsHealed(t *testing.T) {
	m := &memory{created: "1", none: true}
	r := memoryRig(t, m)
	eventually(t, "connected", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	m.set(func() { m.none = false })
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	m.set(func() { m.ids, m.bodies = m.ids[:2], m.bodies[:2]; m.sessions[len(m.sessions)-1].Close() })
	r.accept(delivery("b", "1"), bridge.Accepted)
	r.drained()
	if ids := m.stored(); len(ids) != 6 {
		t.Errorf("the stream has %d of 6 events: %v; notices %q", len(ids), ids, r.bridge.Status(t.Context()).Notices)
	}
}

// Two deliveries that reused an id for other bytes are replayed together.
func TestTwoDeadLettersOfOneID(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i, want := range []bridge.Outcome{bridge.Accepted, bridge.Quarantined, bridge.Quarantined} {
		d := delivery("same", "1")
		d.Body = fmt.Appendf(nil, `{"n":%d}`, i)
		r.accept(d, want)
	}
	r.drained()
	n, refused, err := r.bridge.ReplayDead(t.Context(), bridge.Filter{})
	if err != nil || n != 2 || refused != 0 {
		t.Fatalf("got %d, %d, %v", n, refused, err)
	}
	r.drained()
	if ids := m.stored(); len(ids) != 3 {
		t.Errorf("the stream has %v, want three events: one was swallowed as a duplicate", ids)
	}
}

// The operator hangs up while dead letters are replayed.
func TestReplayDeadWithAnOperatorWhoLeaves(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.Replay == 0 {
				return &bridge.Failure{Class: bridge.Rejected, Reason: "no"}
			}
			return nil
		}
	})
	for i := range 20 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 20 {
		if n, _, _ := r.bridge.ReplayDead(gone, bridge.Filter{IDs: []string{fmt.Sprintf("a%d", i)}}); n != 1 {
			t.Fatalf("replayed %d", n)
		}
	}
	for deadline := time.Now().Add(4 * time.Second); len(m.stored()) < 20; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 20 are published, %d are pending for ever", len(m.stored()), r.bridge.Status(t.Context()).Pending)
		}
	}
}

// While the stream does not answer, an event that is due again makes the loop spin.
func TestNoSpinWhileVerifying(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	eventually(t, "connected", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	tried := make(chan struct{}, 1000)
	m.set(func() {
		m.fail = func(*bridge.Event) error {
			tried <- struct{}{}
			return &bridge.Failure{Class: bridge.Held, Reason: "full"}
		}
	})
	r.accept(delivery("a", "1"), bridge.Accepted)
	<-tried
	time.Sleep(20 * time.Millisecond) // it is in delayed
	m.set(func() {
		m.look = func(ctx context.Context) error { return errors.New("no answer") }
		m.sessions[len(m.sessions)-1].Close()
	})
	time.Sleep(300 * time.Millisecond)
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, begin := cpu(), time.Now()
	time.Sleep(time.Second)
	if share := float64(cpu()-before) / float64(time.Since(begin)); share > 0.25 {
		t.Errorf("%.0f %% of a core while nothing can be done", 100*share)
	}
}

// A delivery whose sender's time ran out while it was being written is on disk, and
// published; it must be counted.
func TestPendingCountsWhatTimedOut(t *testing.T) {
	r := &rig{t: t, dir: t.TempDir()}
	r.open(false, func(o *bridge.Options) { o.Publisher = &memory{} })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 40 {
		_, _ = r.bridge.Accept(gone, delivery(fmt.Sprintf("a%d", i), "1"))
	}
	r.accept(delivery("last", "1"), bridge.Accepted) // all before it is on disk
	n := 0
	for _, err := range r.journal.AllPending() {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if got := r.bridge.Status(t.Context()).Pending; got != n {
		t.Errorf("status says %d pending, the journal has %d", got, n)
	}
}

// A replay of events whose subject is held cannot be ended.
func TestReplayOfAHeldSubjectCanBeCancelled(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) { o.MaxInFlight = 4 })
	d := delivery("a", "1")
	d.Source = "other"
	r.accept(d, bridge.Accepted)
	r.accept(delivery("b", "1"), bridge.Accepted)
	r.drained()
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.Source == "other" {
				return &bridge.Failure{Class: bridge.Held, Reason: "source is not configured any more"}
			}
			return nil
		}
	})
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	t.Logf("before cancel: %+v", *r.bridge.ReplayNow())
	r.bridge.CancelReplay()
	for deadline := time.Now().Add(4 * time.Second); r.bridge.ReplayNow().Running; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("cancelled, and still: %+v", *r.bridge.ReplayNow())
		}
	}
}

// A cancelled replay, or one of a single event, has not filled the stream made anew.
func TestNoticeStaysUntilTheStreamIsFilled(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	m.set(func() { m.created, m.ids, m.bodies = "2", nil, nil; m.sessions[len(m.sessions)-1].Close() })
	eventually(t, "notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{IDs: []string{"none"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	if len(r.bridge.Status(t.Context()).Notices) == 0 {
		t.Errorf("the notice is gone, and the stream has %d of 5 events", len(m.stored()))
	}
}
