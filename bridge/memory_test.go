package bridge_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// holdsOnce fails the test unless the stream has each of these events, once.
func (m *memory) holdsOnce(t *testing.T, want ...string) {
	t.Helper()
	got := m.stored()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the stream has %v, want %v", got, want)
	}
}

// holdsOldBeforeNew looks for a4 before new, which was accepted after it for the same entity.
func (m *memory) holdsOldBeforeNew(t *testing.T) {
	t.Helper()
	ids := m.stored()
	if old, new := index(ids, "persat:a4"), index(ids, "persat:new"); old < 0 || old > new {
		t.Errorf("the stream has %v: new stands before a4 of the same entity, which was accepted before it", ids)
	}
}

// memory is a JetStream that fits in a test: one stream, which can be rolled back, and
// which knows ids again as long as it has their messages.
type memory struct {
	mu       sync.Mutex
	none     bool // there is no stream
	created  string
	ids      []string // the message at sequence i+1
	bodies   []string
	times    []time.Time                 // when each was stored; beyond its end that is not known
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

// rollBack leaves the stream its first messages, as a server does that loses power.
func (m *memory) rollBack(keep int) { m.rollBackAndFill(keep, 0) }

// rollBackAndFill is rollBack, and another bridge publishes behind what is left.
func (m *memory) rollBackAndFill(keep, others int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ids, m.bodies = m.ids[:keep:keep], m.bodies[:keep:keep]
	for i := range others {
		m.ids, m.bodies = append(m.ids, fmt.Sprint("persat:other", i)), append(m.bodies, "x")
	}
}

// recreate makes the stream an empty one with another identity, and ends the session.
func (m *memory) recreate() {
	m.set(func() {
		m.created, m.ids, m.bodies = "2", nil, nil
		m.sessions[len(m.sessions)-1].Close()
	})
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

// Its stream takes no batches.
func (s *memorySession) MaxBatch() int { return 0 }

func (s *memorySession) PublishBatch(_ []*bridge.Event, done func([]bridge.Receipt, error)) {
	done(nil, &bridge.Failure{Class: bridge.Undecided, Reason: "no batches"})
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
	m.times = append(m.times[:min(len(m.times), len(m.ids))], make([]time.Time, max(len(m.ids)-len(m.times), 0))...)
	m.ids, m.bodies, m.times = append(m.ids, e.MessageID()), append(m.bodies, string(e.Body)), append(m.times, time.Now())
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
	found := bridge.Message{Seq: seq, ID: s.m.ids[seq-1]}
	if seq <= uint64(len(s.m.times)) {
		found.Stored = s.m.times[seq-1]
	}
	return found, nil
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

// nothingLost fails the test unless the stream has all events of a series.
func (r *rig) nothingLost(m *memory, prefix string, n int) {
	r.t.Helper()
	ids, lost := m.stored(), 0
	for i := range n {
		if index(ids, fmt.Sprintf("persat:%s%d", prefix, i)) < 0 {
			lost++
		}
	}
	if lost > 0 {
		s := r.bridge.Status(r.t.Context())
		r.t.Errorf("%d events answered 2xx and acknowledged are lost for ever: pending %d, gone %d, notices %q", lost, s.Pending, s.Gone, s.Notices)
	}
}

func memoryRig(t *testing.T, m *memory, change ...func(*bridge.Options)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.open(true, append([]func(*bridge.Options){func(o *bridge.Options) { o.Publisher = m }}, change...)...)
	return r
}
