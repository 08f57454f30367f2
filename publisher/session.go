package publisher

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// session is one connection and what was seen through it.
type session struct {
	p    *JetStream
	nc   *nats.Conn
	api  api
	js   jetstream.JetStream
	done chan struct{}

	looking sync.Mutex // held by the one attempt that looks at the stream
	looked  time.Time

	pending    *pendingAcks
	replies    string         // what the subjects of the answers begin with
	explaining sync.WaitGroup // attempts whose end is looked into

	batches    string        // what the ids of this session's batches begin with
	batchCount atomic.Uint64 // those so far
	maxBatch   atomic.Int64  // how many events the next one may have; 0: the stream takes none
	batchLimit atomic.Int64  // the server's

	mu       sync.Mutex
	closed   bool
	denied   map[string]time.Time // subjects that the server refused, and when
	requests map[*request]bool    // those that have no answer
	subjects []string             // of the stream; nil while they are not known
	problem  error                // why the stream could not be looked at or made
	created  time.Time            // of the stream, as first seen in this session
	domain   *string              // JetStream's that has the stream; nil while that is not known
	absent   bool                 // the stream was missing in this session, which ends when it is there
	awaiting bool                 // somebody looks for it again
}

// Done implements bridge.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Close implements bridge.Session.
func (s *session) Close() {
	s.nc.Close()
	<-s.done
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.explaining.Wait()
}

// explain looks into the end of an attempt without keeping NATS waiting, which brings the
// answers. Close waits for it; of an answer that comes with the close the caller hears at
// once.
func (s *session) explain(f func()) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.explaining.Add(1)
	}
	s.mu.Unlock()
	if closed {
		f()
		return
	}
	go func() {
		defer s.explaining.Done()
		f()
	}()
}

// Publish implements bridge.Session. What is out of the ordinary is looked into in a
// goroutine of its own: the caller, and NATS that brings the answers, go on.
func (s *session) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	m, err := s.compose(e, 1)
	if err != nil {
		done(bridge.Receipt{}, err)
		return
	}
	if s.covers(m.Subject) {
		s.begin(&attempt{event: e, m: m, done: done})
		return
	}
	s.explain(func() {
		s.lookAgain()
		if !s.covers(m.Subject) {
			done(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: fmt.Sprintf("stream %s does not have subject %s: add %s.> to its subjects", s.p.o.Stream.Name, m.Subject, s.p.o.Prefixes[e.Source])})
			return
		}
		s.begin(&attempt{event: e, m: m, done: done})
	})
}

// compose makes the message of an event. The server keeps so many copies of it at a time.
func (s *session) compose(e *bridge.Event, copies int) (*nats.Msg, error) {
	subject, ok := s.p.subject(e)
	if !ok {
		return nil, &bridge.Failure{Class: bridge.Held, Reason: fmt.Sprintf("source %q is not configured any more: put it back under sources until its events are published", e.Source)}
	}
	m := message(subject, e)
	if embedded := s.p.o.Connect.Embedded; embedded != nil {
		if err := embedded.room.take(copies * (len(m.Data) + overhead)); err != nil {
			return nil, &bridge.Failure{Class: bridge.Held, Reason: err.Error()}
		}
	}
	return m, nil
}

// where names the server of this session.
func (s *session) where() string {
	if s.p.o.Connect.Embedded != nil {
		return s.p.o.Connect.where()
	}
	return Redact(s.nc.ConnectedUrl())
}

func (s *session) describe(info *jetstream.StreamInfo) bridge.StreamInfo {
	c := info.Config
	described := bridge.StreamInfo{
		Server:          s.nc.ConnectedServerName(),
		ServerVersion:   s.nc.ConnectedServerVersion(),
		Address:         s.where(),
		Name:            c.Name,
		Created:         info.Created,
		Subjects:        c.Subjects,
		Storage:         strings.ToLower(c.Storage.String()),
		Retention:       strings.ToLower(c.Retention.String()),
		Discard:         strings.ToLower(strings.TrimPrefix(c.Discard.String(), "Discard")),
		Replicas:        c.Replicas,
		MaxAge:          c.MaxAge,
		MaxBytes:        max(c.MaxBytes, 0), // the server writes "no limit" as -1
		MaxMessages:     max(c.MaxMsgs, 0),
		DuplicateWindow: c.Duplicates,
		Messages:        info.State.Msgs,
		Bytes:           info.State.Bytes,
		FirstSequence:   info.State.FirstSeq,
		LastSequence:    info.State.LastSeq,
		Consumers:       info.State.Consumers,
		Differences:     s.p.o.differences(c),
		GrowthPerDay:    growthPerDay(info.State.Bytes, info.State.FirstTime, time.Now()),
	}
	if info.Cluster != nil {
		described.Cluster, described.Leader = info.Cluster.Name, info.Cluster.Leader
	}
	return described
}

// apiError says of a request that failed whether it was for want of permission,
// which the server tells elsewhere.
func (s *session) apiError(what, subject string, err error) error {
	if lacking := s.lacking(subject); lacking != "" {
		return fmt.Errorf("%s: %w: give it permission to %s", what, bridge.ErrNotPermitted, lacking)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%s: JetStream is not enabled on the NATS server, or its cluster has no leader: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// covers says whether the stream takes subject, as far as is known.
func (s *session) covers(subject string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subjects == nil {
		return true // the server will tell
	}
	return covered(subject, s.subjects)
}

// known says whether the stream has been looked at.
func (s *session) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subjects != nil
}

func covered(subject string, by []string) bool {
	for _, filter := range by {
		if server.SubjectMatchesFilter(subject, filter) {
			return true
		}
	}
	return false
}

func (s *session) problemNow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// violation finds what was done and the subject in what the server says.
var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// onError hears what the server says outside of any answer.
func (s *session) onError(_ *nats.Conn, _ *nats.Subscription, err error) {
	if m := violation.FindStringSubmatch(err.Error()); m != nil {
		subject := m[2]
		if strings.EqualFold(m[1], "subscription") {
			subject = s.inbox() // the only thing that a session subscribes to
		}
		s.mu.Lock()
		s.denied[subject] = time.Now()
		for r := range s.requests {
			if r.subject == subject || subject == s.inbox() {
				r.giveUp() // no answer comes
			}
		}
		s.mu.Unlock()
		return // told once, with the event that is held by it
	}
	s.p.o.Log.Warn("NATS reports", zap.Error(err))
}

// inbox is where the answers to this session come in.
func (s *session) inbox() string { return s.nc.Opts.InboxPrefix }

// lacking says which permission was missing when a request to subject got no
// answer; "" when none was.
func (s *session) lacking(subject string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.denied[s.inbox()].IsZero(): // subscribed to once in a session
		return "subscribe to " + s.inbox() + ".>"
	case time.Since(s.denied[subject]) < time.Minute:
		return "publish to " + subject
	}
	return ""
}
