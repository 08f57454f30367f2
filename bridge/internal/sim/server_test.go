package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

const (
	ackTimeout = 2 * time.Second
	askTimeout = 5 * time.Second
)

// server is the model of a NATS server with one stream, with what can go wrong between it
// and a bridge. Its lock is never held while it waits.
type server struct {
	mu     sync.Mutex
	rng    *rand.Rand
	log    func(format string, args ...any)
	stream *stream // nil: there is none
	// history has every message that was ever stored, by its id, in order of time.
	history map[string][]*message
	// wrong are breaches of the contract of Session, and of what no bridge may do.
	wrong []string

	starts   int // of the process that has the stream
	observed int // starts, when the bridge last observed the stream
	up       bool
	paused   bool // it takes what comes, and does nothing with it
	waiting  []*attempt
	electing bool // nobody answers for the stream
	full     bool
	denied   map[string]bool // subjects that this user may not publish to
	ackLoss  float64
	sync     time.Duration // that one message, or one batch, takes to reach the disk
	busy     time.Time     // until when the server syncs what it has
	crowded  bool          // other clients have too many batches open
	batches  *batchCount
	latency  time.Duration
	slowest  time.Duration // the greatest latency until now
	window   int           // the bridge's MaxInFlight
	foreign  int           // messages of strangers so far
	shaken   bool          // the stream has lost messages, or was not always the same

	// heard is told that the bridge knows of a message, hasHeard asks whether it does.
	heard    func(id string)
	hasHeard func(id string) bool

	duplicates time.Duration // the duplicate window of a new stream

	sessions []*session
}

func newServer(rng *rand.Rand, duplicates time.Duration, window int, log func(string, ...any)) *server {
	n := &server{rng: rng, log: log, history: make(map[string][]*message), up: true, denied: make(map[string]bool), latency: 2 * time.Millisecond, slowest: 2 * time.Millisecond, batches: &batches, window: window, duplicates: duplicates}
	n.stream = newStream(time.Now(), duplicates)
	return n
}

// delay is how long something is under way. n.mu is held.
func (n *server) delay() time.Duration {
	return time.Duration(1 + n.rng.Int64N(int64(2*n.latency)))
}

func (n *server) breach(format string, args ...any) {
	n.wrong = append(n.wrong, fmt.Sprintf(format, args...))
}

// client is the Publisher of one life of the bridge.
type client struct {
	n    *server
	dead atomic.Bool // its host has lost power
}

var _ bridge.Publisher = (*client)(nil)

// Connect implements bridge.Publisher.
func (c *client) Connect(ctx context.Context) (bridge.Session, error) {
	n := c.n
	if err := n.wait(ctx, nil); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up || c.dead.Load() {
		return nil, errors.New("connect: connection refused")
	}
	s := &session{client: c, n: n, done: make(chan struct{})}
	s.takesBatches = n.stream != nil && n.stream.batches
	n.sessions = append(n.sessions, s)
	n.log("session begins")
	return s, nil
}

// wait lets a request go to the server and back; an error means that there is no answer.
func (n *server) wait(ctx context.Context, done <-chan struct{}) error {
	n.mu.Lock()
	delay := n.delay()
	if n.paused {
		delay = askTimeout
	}
	n.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-done:
		return errors.New("connection closed")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if delay == askTimeout {
		return context.DeadlineExceeded
	}
	return nil
}

// session is a connection of a client.
type session struct {
	*client
	n        *server
	done     chan struct{}
	closed   bool
	flight   []*attempt
	arriving time.Time // when the last message that was sent arrives
	// takesBatches is what the session has seen of the stream last.
	takesBatches bool
}

var _ bridge.Session = (*session)(nil)

// attempt is one message on its way, and its acknowledgement.
type attempt struct {
	s       *session
	event   bridge.Event
	message *message
	keys    []string
	starts  int // of the server, when it was sent: what is on the wire dies with the process
	done    func(bridge.Receipt, error)
	ended   bool
	timeout *time.Timer
	batch   *batch // of which it is a part
}

// keysOf are the ordering keys of an event: source, kind and id.
func keysOf(source, eventType string, entities []string) []string {
	if len(entities) == 0 {
		return []string{source + " type " + eventType}
	}
	kind, _, _ := strings.Cut(eventType, ".")
	var keys []string
	for _, entity := range entities {
		keys = append(keys, source+" "+kind+" "+entity)
	}
	return keys
}

// Publish implements bridge.Session.
func (s *session) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	n := s.n
	n.mu.Lock()
	now := time.Now()
	a := s.newAttempt(e, done)
	if s.closed || s.dead.Load() {
		n.mu.Unlock()
		done(bridge.Receipt{}, &bridge.Failure{Class: bridge.LinkDown, Reason: "connection closed"})
		return
	}
	s.fly(a)
	s.arriving = later(s.arriving.Add(1), now.Add(n.delay()))
	a.timeout = time.AfterFunc(ackTimeout, func() {
		a.end(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time"})
	})
	time.AfterFunc(s.arriving.Sub(now), a.arrive)
	n.mu.Unlock()
}

func (s *session) newAttempt(e *bridge.Event, done func(bridge.Receipt, error)) *attempt {
	a := &attempt{s: s, event: *e, done: done, keys: keysOf(e.Source, e.Type, e.Entities), starts: s.n.starts}
	a.message = &message{subject: e.Source + "." + e.Type, id: e.MessageID(), body: bytes.Clone(e.Body)}
	return a
}

// fly puts an attempt in flight. Two of one key are never, but in one batch. n.mu is held.
func (s *session) fly(a *attempt) {
	for _, other := range s.flight {
		for _, key := range a.keys {
			if slices.Contains(other.keys, key) && (a.batch == nil || a.batch != other.batch) {
				s.n.breach("%s is sent while %s of the same key %q is in flight", a.message.id, other.message.id, key)
			}
		}
	}
	if s.flight = append(s.flight, a); len(s.flight) > s.n.window {
		s.n.breach("%d attempts are in flight, the window is %d", len(s.flight), s.n.window)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// arrive is when the message reaches the server. One of a connection that has broken
// meanwhile may have been on the wire.
func (a *attempt) arrive() {
	n := a.s.n
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.up, a.starts != n.starts, a.s.closed && n.rng.IntN(2) == 0:
	case n.paused:
		n.waiting = append(n.waiting, a)
	case n.sync > 0:
		n.afterSync(a.take, a)
	default:
		a.take()
	}
}

// afterSync does what the server does with a message once it has synced all before it. n.mu
// is held.
func (n *server) afterSync(take func(), a *attempt) {
	n.busy = later(n.busy, time.Now()).Add(n.sync)
	time.AfterFunc(time.Until(n.busy), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		switch {
		case !n.up, a.starts != n.starts:
		case n.paused:
			n.waiting = append(n.waiting, a)
		default:
			take()
		}
	})
}

// take is what the server does with a message, or with the last one of a batch. n.mu is held.
func (a *attempt) take() {
	if a.batch != nil {
		a.batch.take()
		return
	}
	n, m := a.s.n, a.message
	answer := func(r bridge.Receipt, f *bridge.Failure) {
		if n.rng.Float64() < n.ackLoss {
			n.log("acknowledgement of %s is lost", m.id)
			return
		}
		time.AfterFunc(n.delay(), func() { a.end(r, f) })
	}
	var many int
	switch {
	case n.electing, n.stream == nil:
		answer(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: "no stream answers"})
		return
	case n.denied[m.subject]: // the server tells elsewhere
		return
	case bytes.HasPrefix(m.body, []byte("large")):
		answer(bridge.Receipt{}, &bridge.Failure{Class: bridge.Rejected, Reason: "too large"})
		return
	case func() bool { _, err := fmt.Sscanf(string(m.body), "odd %d", &many); return err == nil }() && n.rng.IntN(many+1) > 0:
		answer(bridge.Receipt{}, &bridge.Failure{Class: bridge.Unknown, Reason: "an odd answer"})
		return
	case n.full:
		answer(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: "the stream is full"})
		return
	}
	m.at = time.Now()
	seq, duplicate, refused := n.stream.publish(m)
	if refused {
		answer(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: "the stream is at a limit"})
		return
	}
	if !duplicate {
		if !n.shaken && n.hasHeard(m.id) {
			n.breach("%s is stored again, and the bridge had heard that it is in the stream", m.id)
		}
		n.history[m.id] = append(n.history[m.id], m)
	}
	n.log("%s is at %d, duplicate %v", m.id, seq, duplicate)
	answer(bridge.Receipt{Sequence: seq, Duplicate: duplicate}, nil)
}

// end is the one end of an attempt, for the bridge.
func (a *attempt) end(r bridge.Receipt, f *bridge.Failure) {
	n := a.s.n
	n.mu.Lock()
	if a.ended {
		n.mu.Unlock()
		return
	}
	a.ended = true
	a.timeout.Stop()
	a.s.land(a)
	if f != nil {
		n.log("attempt of %s: %s", a.message.id, f.Reason)
	} else if !a.s.dead.Load() {
		n.heard(a.message.id)
	}
	n.mu.Unlock()
	if f != nil {
		a.done(bridge.Receipt{}, f)
		return
	}
	a.done(r, nil)
}

// land takes an attempt out of flight. n.mu is held.
func (s *session) land(a *attempt) {
	s.flight = slices.DeleteFunc(s.flight, func(other *attempt) bool { return other == a })
}

// ask is a question about the stream; get is asked with n.mu held, once it has arrived.
func (s *session) ask(ctx context.Context, get func(*stream) error) error {
	if err := s.n.wait(ctx, s.done); err != nil {
		return err
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	switch {
	case s.closed || s.dead.Load() || !s.n.up:
		return errors.New("connection closed")
	case s.n.electing:
		return errors.New("no responders")
	case s.n.stream == nil:
		return bridge.ErrNoStream
	}
	return get(s.n.stream)
}

// Stream implements bridge.Session.
func (s *session) Stream(ctx context.Context) (state bridge.StreamState, err error) {
	err = s.ask(ctx, func(st *stream) error {
		s.n.observed = s.n.starts
		state = stateOf(st, fmt.Sprintf("host %d", s.n.starts))
		s.takesBatches = st.batches
		return nil
	})
	return state, err
}

// Message implements bridge.Session.
func (s *session) Message(ctx context.Context, sequence uint64) (found bridge.Message, err error) {
	err = s.ask(ctx, func(st *stream) error {
		m := st.messages[sequence]
		if m == nil {
			return bridge.ErrNoMessage
		}
		found = bridge.Message{Seq: sequence, ID: m.id, Stored: m.at}
		return nil
	})
	return found, err
}

// Deleted implements bridge.Session.
func (s *session) Deleted(ctx context.Context) (ranges []bridge.SequenceRange, err error) {
	err = s.ask(ctx, func(st *stream) error {
		ranges = st.deleted()
		return nil
	})
	return ranges, err
}

// Heads implements bridge.Session.
func (s *session) Heads(ctx context.Context, from uint64, count int) (heads []bridge.Message, err error) {
	err = s.ask(ctx, func(st *stream) error {
		for _, seq := range st.sequences() {
			if seq >= from && len(heads) < count {
				heads = append(heads, bridge.Message{Seq: seq, ID: st.messages[seq].id, Stored: st.messages[seq].at})
			}
		}
		return nil
	})
	return heads, err
}

// Done implements bridge.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Close implements bridge.Session.
func (s *session) Close() { s.cut() }

// cut ends the connection, and all attempts with it.
func (s *session) cut() {
	s.n.mu.Lock()
	if s.closed {
		s.n.mu.Unlock()
		return
	}
	s.closed = true
	close(s.done)
	flight := slices.Clone(s.flight)
	s.n.sessions = slices.DeleteFunc(s.n.sessions, func(other *session) bool { return other == s })
	s.n.mu.Unlock()
	for _, a := range flight {
		if a.batch != nil {
			a.batch.end(nil, &bridge.Failure{Class: bridge.LinkDown, Reason: "connection closed"})
			continue
		}
		a.end(bridge.Receipt{}, &bridge.Failure{Class: bridge.LinkDown, Reason: "connection closed"})
	}
}

// cutSessions ends all connections.
func (n *server) cutSessions() {
	n.mu.Lock()
	sessions := slices.Clone(n.sessions)
	n.mu.Unlock()
	for _, s := range sessions {
		s.cut()
	}
}

// stateOf describes a stream. host is the process that has it.
func stateOf(st *stream, host string) bridge.StreamState {
	return bridge.StreamState{
		Identity: "PERSAT " + st.created.Format(time.RFC3339Nano), Host: host, FirstSequence: st.firstSaid(), LastSequence: st.last,
		Messages: uint64(len(st.messages)), Deleted: uint64(st.holes()),
		Limits: bridge.StreamLimits{MaxMessages: uint64(st.maxMessages), MaxPerSubject: uint64(st.maxPerSubject)},
		Info:   bridge.StreamInfo{Name: "PERSAT", Created: st.created},
	}
}
