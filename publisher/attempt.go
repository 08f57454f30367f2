package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

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
	// batch is the one whose first or last message it is; commit says that it is the last.
	batch  *batch
	commit bool
	// elsewhere is the domain of another JetStream that acknowledged it; nil when none did.
	elsewhere *string
}

// begin sends the message. The server's answer comes to the session's own subject, with
// the attempt's token as its last part.
func (s *session) begin(a *attempt) {
	token, ok := s.pending.add(a)
	if !ok {
		a.done(bridge.Receipt{}, classify(nats.ErrConnectionClosed))
		return
	}
	a.m.Reply = string(tokenText([]byte(s.replies), token))
	if !s.known() {
		// Another stream may have the subject: it would take the event, and again
		// whenever it has forgotten the id. Not sent always, because the header
		// is stored, and in the way of whoever copies a message to elsewhere.
		a.m.Header[jetstream.ExpectedStreamHeader] = []string{s.p.o.Stream.Name}
	}
	if err := s.nc.PublishMsg(a.m); err != nil {
		if a := s.pending.take(token); a != nil {
			s.failed(a, err)
		}
	}
}

// onReply hears the answer to an attempt.
func (s *session) onReply(m *nats.Msg) {
	token, ok := tokenOf(m.Subject, len(s.replies))
	if !ok {
		return
	}
	ack, err := readPubAck(m)
	if err == nil && ack.Stream == s.p.o.Stream.Name && s.elsewhere(ack.Domain) {
		s.pending.noteElsewhere(token, ack.Domain) // ours may come yet
		return
	}
	a := s.pending.take(token)
	if a == nil { // its time was over, or another answer was first
		return
	}
	if a.batch != nil {
		s.batchReplied(a, m, ack, err)
		return
	}
	if err != nil {
		s.explain(func() { s.failed(a, err) })
		return
	}
	s.acknowledged(a, ack)
}

func (s *session) acknowledged(a *attempt, ack pubAck) {
	switch subject := a.m.Subject; {
	case ack.Stream != s.p.o.Stream.Name:
		s.explain(func() {
			s.lookAgain()
			a.done(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: fmt.Sprintf("stream %s took subject %s instead of %s: take the subject from one and give it to the other", ack.Stream, subject, s.p.o.Stream.Name)})
		})
	case ack.Duplicate:
		s.explain(func() { s.repeated(a, ack) })
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

// onExpired ends attempts that were not answered in time.
func (s *session) onExpired(over []*attempt) {
	for _, a := range over {
		if a.batch != nil {
			s.batchFailed(a.batch, jetstream.ErrAsyncPublishTimeout)
			continue
		}
		s.explain(func() { s.failed(a, jetstream.ErrAsyncPublishTimeout) })
	}
}

// onClosed ends what was under way when the connection went.
func (s *session) onClosed(*nats.Conn) {
	for _, a := range s.pending.close() {
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
	if a.elsewhere != nil && errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
		f.Reason = fmt.Sprintf("stream %s of JetStream %s acknowledged subject %s, and that of %s did not, where the events go: take the subject from the other, or set nats.domain", s.p.o.Stream.Name, domainName(*a.elsewhere), a.m.Subject, s.domainNow())
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
func (s *session) repeated(a *attempt, ack pubAck) {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience())
	defer cancel()
	id, ceID := a.event.MessageID(), a.m.Header["ce-id"][0]
	there, _, err := s.message(ctx, ack.Sequence)
	if err == nil && there.Header.Get(jetstream.MsgIDHeader) == id && (!bytes.Equal(there.Data, a.m.Data) || !slices.Contains(there.Header["ce-id"], ceID)) {
		a.done(bridge.Receipt{}, &bridge.Failure{Class: bridge.Rejected, Reason: fmt.Sprintf("its message id %q was used before for another event (message %d of the stream): a replay gives it a new one", id, ack.Sequence)})
		return
	}
	a.done(bridge.Receipt{Sequence: ack.Sequence, Duplicate: true}, nil)
}
