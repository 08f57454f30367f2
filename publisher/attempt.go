package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// attempt is one attempt to store an event.
type attempt struct {
	event *bridge.Event
	m     *nats.Msg
	done  func(bridge.Receipt, error)
}

// underWay are the attempts that have not ended. nats.go tells of the end of each by
// its message; when the connection has gone it does not.
type underWay struct {
	mu        sync.Mutex
	byMessage map[*nats.Msg]*attempt
	closed    bool
}

// add reports false when the connection has gone.
func (u *underWay) add(a *attempt) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	u.byMessage[a.m] = a
	return true
}

// take returns the attempt of m, to whoever asks first.
func (u *underWay) take(m *nats.Msg) *attempt {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.byMessage[m]
	delete(u.byMessage, m)
	return a
}

// close takes all, and no more.
func (u *underWay) close() map[*nats.Msg]*attempt {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	rest := u.byMessage
	u.byMessage = nil
	return rest
}

// begin sends the message.
func (s *session) begin(a *attempt) {
	if !s.underWay.add(a) {
		a.done(bridge.Receipt{}, classify(nats.ErrConnectionClosed))
		return
	}
	options := oneAttempt
	if !s.known() {
		// Another stream may have the subject: it would take the event, and again
		// whenever it has forgotten the id. Not sent always, because the header
		// is stored, and in the way of whoever copies a message to elsewhere.
		options = append([]jetstream.PublishOpt{jetstream.WithExpectStream(s.p.o.Stream.Name)}, options...)
	}
	if _, err := s.js.PublishMsgAsync(a.m, options...); err != nil {
		if a := s.underWay.take(a.m); a != nil {
			s.failed(a, err)
		}
	}
}

// oneAttempt keeps nats.go from trying again by itself.
var oneAttempt = []jetstream.PublishOpt{jetstream.WithRetryAttempts(0)}

// onAck hears of an acknowledgement.
func (s *session) onAck(_ jetstream.JetStream, m *nats.Msg, ack *jetstream.PubAck) {
	a := s.underWay.take(m)
	switch {
	case a == nil:
	case ack.Stream != s.p.o.Stream.Name:
		s.explaining.Go(func() {
			s.lookAgain()
			a.done(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: fmt.Sprintf("stream %s took subject %s instead of %s: take the subject from one and give it to the other", ack.Stream, m.Subject, s.p.o.Stream.Name)})
		})
	case s.elsewhere(ack.Domain):
		a.done(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: fmt.Sprintf("stream %s of JetStream %s acknowledged subject %s, and the events go to %s: take the subject from one of the two, or set nats.domain", ack.Stream, domainName(ack.Domain), m.Subject, s.domainNow())})
	case ack.Duplicate:
		s.explaining.Go(func() { s.repeated(a, ack) })
	default:
		a.done(bridge.Receipt{Sequence: ack.Sequence}, nil)
	}
}

// elsewhere says that an acknowledgement is of another JetStream: a leaf node and its hub
// can both have a stream of that name with that subject, and both answer.
func (s *session) elsewhere(domain string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.domain != nil && *s.domain != domain
}

func (s *session) domainNow() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return domainName(*s.domain)
}

func domainName(domain string) string {
	if domain == "" {
		return "without a domain"
	}
	return "domain " + domain
}

// onFailure hears of an attempt that failed.
func (s *session) onFailure(_ jetstream.JetStream, m *nats.Msg, err error) {
	if a := s.underWay.take(m); a != nil {
		s.explaining.Go(func() { s.failed(a, err) })
	}
}

// onClosed ends what was under way when the connection went.
func (s *session) onClosed(*nats.Conn) {
	for _, a := range s.underWay.close() {
		a.done(bridge.Receipt{}, classify(nats.ErrConnectionClosed))
	}
	close(s.done)
}

// failed says what kind of failure it was.
func (s *session) failed(a *attempt, err error) {
	f := classify(err)
	if errors.Is(err, jetstream.ErrNoStreamResponse) || isCode(err, server.JSStreamNotMatchErr) {
		// It may have been deleted: the next attempt finds it made again.
		s.lookAgain()
		switch problem := s.problemNow(); {
		case problem == nil:
		case isCode(err, server.JSStreamNotMatchErr):
			f.Reason += ": " + problem.Error()
		default:
			f.Reason = fmt.Sprintf("no stream answers: stream %s: %v", s.p.o.Stream.Name, problem)
		}
	}
	if lacking := s.lacking(a.m.Subject); lacking != "" && errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
		f.Reason = fmt.Sprintf("the NATS user may not %s: give it that permission", lacking)
	}
	a.done(bridge.Receipt{}, f)
}

// repeated is the end of an attempt that JetStream took for a repeat. It knows a repeat
// by its id alone, so the message that is there is compared with this one: an id that was
// used for something else must not swallow an event. When it cannot be read, for it is
// gone or may not be looked at, JetStream is believed.
func (s *session) repeated(a *attempt, ack *jetstream.PubAck) {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience())
	defer cancel()
	id, ceID := a.event.MessageID(), a.m.Header["ce-id"][0]
	there, _, err := s.message(ctx, ack.Sequence)
	if err == nil && there.Header.Get(jetstream.MsgIDHeader) == id && (!bytes.Equal(there.Data, a.m.Data) || !slices.Contains(there.Header["ce-id"], ceID)) {
		a.done(bridge.Receipt{}, &bridge.Failure{Class: bridge.Rejected, Reason: fmt.Sprintf("its message id %q was used before for another event (message %d of the stream): replay this dead letter, it gets a new one", id, ack.Sequence)})
		return
	}
	a.done(bridge.Receipt{Sequence: ack.Sequence, Duplicate: true}, nil)
}
