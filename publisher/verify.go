package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// This file answers what bridge/integrity asks of the stream. Requests go to the
// stream's leader: a replica that answers for it may lag.

// patience bounds one answer. Over a slow link a message takes as long as its publishing.
func (s *session) patience() time.Duration { return max(streamTimeout, s.p.o.AckTimeout) }

// Stream implements bridge.Session.
func (s *session) Stream(ctx context.Context) (bridge.StreamState, error) {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.p.o.Stream.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return bridge.StreamState{}, bridge.ErrNoStream
	}
	if err != nil {
		return bridge.StreamState{}, s.apiError("look up stream "+s.p.o.Stream.Name, s.api.subject("STREAM.INFO."+s.p.o.Stream.Name), err)
	}
	info := stream.CachedInfo()
	c, state := info.Config, info.State
	s.allowBatches(c)
	return bridge.StreamState{
		Identity:      c.Name + " " + info.Created.UTC().Format(time.RFC3339Nano),
		Host:          s.host(info.Cluster),
		FirstSequence: state.FirstSeq,
		LastSequence:  state.LastSeq,
		Messages:      state.Msgs,
		Deleted:       uint64(state.NumDeleted),
		Limits: bridge.StreamLimits{
			MaxAge:             c.MaxAge,
			MaxMessages:        uint64(max(c.MaxMsgs, 0)), // the server writes "no limit" as -1
			MaxBytes:           uint64(max(c.MaxBytes, 0)),
			MaxPerSubject:      uint64(max(c.MaxMsgsPerSubject, 0)),
			Bytes:              state.Bytes,
			RemovedOnceHandled: c.Retention != jetstream.LimitsPolicy,
		},
		Info: s.describe(info),
	}, nil
}

// host names the server process that has the stream in its charge. A server has a new id
// at each start, but its name may be configured: only that of the server at the other end
// of this connection is then known to be the same process.
func (s *session) host(cluster *jetstream.ClusterInfo) string {
	switch {
	case cluster == nil:
		return ""
	case cluster.Leader == s.nc.ConnectedServerName():
		return s.nc.ConnectedServerId()
	case nkeys.IsValidPublicServerKey(cluster.Leader): // a server without a name uses its id
		return cluster.Leader
	}
	return ""
}

// Message implements bridge.Session.
func (s *session) Message(ctx context.Context, sequence uint64) (bridge.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	m, stored, err := s.message(ctx, sequence)
	if err != nil {
		return bridge.Message{}, err
	}
	// Without an id it is somebody else's.
	return bridge.Message{Seq: sequence, ID: m.Header.Get(jetstream.MsgIDHeader), Stored: stored, Digest: sha256.Sum256(m.Data)}, nil
}

// message reads a message of the stream.
func (s *session) message(ctx context.Context, sequence uint64) (*nats.Msg, time.Time, error) {
	m, _, stored, err := s.getMessage(ctx, fmt.Appendf(nil, `{"seq":%d}`, sequence))
	return m, stored, err
}

// getMessage asks for one message.
func (s *session) getMessage(ctx context.Context, request []byte) (m *nats.Msg, seq uint64, stored time.Time, err error) {
	var got struct {
		Message struct {
			Seq    uint64    `json:"seq"`
			Header []byte    `json:"hdrs"`
			Data   []byte    `json:"data"`
			Time   time.Time `json:"time"`
		} `json:"message"`
	}
	err = s.ask(ctx, "read message", s.api.subject("STREAM.MSG.GET."+s.p.o.Stream.Name), request, &got)
	if refused, ok := errors.AsType[*jetstream.APIError](err); ok && refused.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return nil, 0, stored, bridge.ErrNoMessage
	}
	if err != nil {
		return nil, 0, stored, err
	}
	m = &nats.Msg{Data: got.Message.Data}
	if len(got.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(got.Message.Header); err != nil {
			return nil, 0, stored, fmt.Errorf("read message %d: %w", got.Message.Seq, err)
		}
	}
	return m, got.Message.Seq, got.Message.Time, nil
}

// request is a request to JetStream's API that has no answer yet.
type request struct {
	subject string
	giveUp  context.CancelFunc
}

// untilDenied is ctx until the server says that this client may not send to subject: it
// does not answer such a request, and whoever waits for it would wait in vain.
func (s *session) untilDenied(ctx context.Context, subject string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	r := &request{subject, cancel}
	s.mu.Lock()
	s.requests[r] = true
	s.mu.Unlock()
	return ctx, func() {
		s.mu.Lock()
		delete(s.requests, r)
		s.mu.Unlock()
		cancel()
	}
}

// ask sends a request to JetStream's API and reads the answer into got.
func (s *session) ask(ctx context.Context, what, subject string, body []byte, got any) error {
	if lacking := s.lacking(subject); lacking != "" { // it would not be answered
		return fmt.Errorf("%s: %w: give it permission to %s", what, bridge.ErrNotPermitted, lacking)
	}
	ctx, answered := s.untilDenied(ctx, subject)
	defer answered()
	answer, err := s.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return s.apiError(what, subject, err)
	}
	var refused struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := errors.Join(json.Unmarshal(answer.Data, &refused), json.Unmarshal(answer.Data, got)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if refused.Error != nil {
		return fmt.Errorf("%s: %w", what, refused.Error)
	}
	return nil
}

// Deleted implements bridge.Session.
func (s *session) Deleted(ctx context.Context) ([]bridge.SequenceRange, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	var got struct {
		State struct {
			Deleted []uint64 `json:"deleted"`
		} `json:"state"`
	}
	if err := s.ask(ctx, "list deleted messages", s.api.subject("STREAM.INFO."+s.p.o.Stream.Name), []byte(`{"deleted_details":true}`), &got); err != nil {
		return nil, err
	}
	var ranges []bridge.SequenceRange
	for _, seq := range got.State.Deleted {
		if n := len(ranges); n > 0 && ranges[n-1].Last+1 == seq {
			ranges[n-1].Last = seq
		} else {
			ranges = append(ranges, bridge.SequenceRange{First: seq, Last: seq})
		}
	}
	return ranges, nil
}

// Heads implements bridge.Session. A consumer that delivers headers only saves the bodies.
// A stream whose consumers decide what it keeps must not get another one, and the server
// may refuse one: then the messages are read whole, one by one.
func (s *session) Heads(ctx context.Context, from uint64, n int) ([]bridge.Message, error) {
	heads, err := s.consumeHeads(ctx, from, n)
	if _, refused := errors.AsType[*jetstream.APIError](err); !refused && !errors.Is(err, errConsumed) && !errors.Is(err, bridge.ErrNotPermitted) {
		return heads, err
	}
	for len(heads) < n {
		m, err := s.nextMessage(ctx, from)
		if errors.Is(err, bridge.ErrNoMessage) {
			break
		}
		if err != nil {
			return heads, err
		}
		heads = append(heads, m)
		from = m.Seq + 1
	}
	return heads, nil
}

// nextMessage is the first message at a sequence or behind it.
func (s *session) nextMessage(ctx context.Context, from uint64) (bridge.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	m, seq, stored, err := s.getMessage(ctx, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":">"}`, max(from, 1)))
	if err != nil {
		return bridge.Message{}, err
	}
	return bridge.Message{Seq: seq, ID: m.Header.Get(jetstream.MsgIDHeader), Stored: stored}, nil
}

// errConsumed says that a consumer would change what the stream keeps.
var errConsumed = errors.New("the stream's consumers decide what it keeps")

// consumeHeads reads headers by a consumer that goes by itself a moment later.
func (s *session) consumeHeads(ctx context.Context, from uint64, n int) ([]bridge.Message, error) {
	stream, err := s.js.Stream(ctx, s.p.o.Stream.Name)
	if err != nil {
		return nil, err
	}
	if stream.CachedInfo().Config.Retention != jetstream.LimitsPolicy {
		return nil, errConsumed
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	inbox := s.nc.NewInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	request, err := json.Marshal(map[string]any{"stream_name": s.p.o.Stream.Name, "config": map[string]any{
		"deliver_subject": inbox, "deliver_policy": "by_start_sequence", "opt_start_seq": max(from, 1), "headers_only": true,
		// No more than n come, because none is acknowledged.
		"ack_policy": "explicit", "max_ack_pending": n, "ack_wait": time.Hour, "inactive_threshold": 5 * time.Second, "num_replicas": 1, "mem_storage": true,
	}})
	if err != nil {
		return nil, err
	}
	var made struct {
		Pending   uint64 `json:"num_pending"`
		Delivered struct {
			Consumer uint64 `json:"consumer_seq"`
		} `json:"delivered"`
	}
	if err := s.ask(ctx, "make a consumer of headers", s.api.subject("CONSUMER.CREATE."+s.p.o.Stream.Name), request, &made); err != nil {
		return nil, err
	}
	want := min(made.Pending+made.Delivered.Consumer, uint64(n))
	var heads []bridge.Message
	for uint64(len(heads)) < want {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("read headers: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("read headers: %w", err)
		}
		heads = append(heads, bridge.Message{Seq: meta.Sequence.Stream, ID: m.Header.Get(jetstream.MsgIDHeader), Stored: meta.Timestamp})
	}
	return heads, nil
}
