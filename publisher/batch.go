package publisher

import (
	"errors"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// An atomic batch (ADR-50 of the NATS architecture, nats-server 2.12) is stored as a whole
// or not at all. Three headers make it, and stay in the stored messages. The server answers
// the first message with nothing or an error, and the last with the sequence of the last;
// the others stand right before it.
const (
	batchID       = "Nats-Batch-Id"
	batchSequence = "Nats-Batch-Sequence"
	batchCommit   = "Nats-Batch-Commit"

	// maxBatch is the server's limit; its configuration may have a lower one.
	maxBatch = 1000
)

// batch is one attempt to store several events as an atomic batch.
type batch struct {
	id     string
	events int
	done   func([]bridge.Receipt, error)
	ended  atomic.Bool
}

// end tells of the end of a batch, of which several answers may tell.
func (b *batch) end(receipts []bridge.Receipt, err error) {
	if b.ended.CompareAndSwap(false, true) {
		b.done(receipts, err)
	}
}

// undecided is the failure of a batch. Its events are to be published one by one, where
// each has its own answer.
func undecided(reason string, err error) *bridge.Failure {
	return &bridge.Failure{Class: bridge.Undecided, Reason: reason, Err: err}
}

// MaxBatch implements bridge.Session.
func (s *session) MaxBatch() int { return int(s.maxBatch.Load()) }

// PublishBatch implements bridge.Session. Whatever needs a closer look is left to the
// attempts of the single events: the batch is undecided then.
func (s *session) PublishBatch(events []*bridge.Event, done func([]bridge.Receipt, error)) {
	b := &batch{events: len(events), done: done}
	if len(events) < 2 || len(events) > s.MaxBatch() || !s.known() {
		b.end(nil, undecided("the stream takes no batch of this size", nil))
		return
	}
	messages := make([]*nats.Msg, len(events))
	for i, e := range events {
		m, err := s.compose(e, 2) // one until the batch is committed
		if err != nil {
			b.end(nil, undecided("an event of the batch cannot go", err))
			return
		}
		messages[i] = m
	}
	b.id = s.batches + strconv.FormatUint(s.batchCount.Add(1), 36)
	for i, m := range messages {
		m.Header[batchID] = []string{b.id}
		m.Header[batchSequence] = []string{strconv.Itoa(i + 1)}
	}
	messages[len(messages)-1].Header[batchCommit] = []string{"1"}
	for _, m := range messages {
		if !s.covers(m.Subject) {
			b.end(nil, undecided("an event of the batch has a subject that the stream does not have", nil))
			return
		}
		if int64(m.Size()) > s.nc.MaxPayload() {
			b.end(nil, undecided("an event of the batch is larger than the NATS server's max_payload", nil))
			return
		}
	}
	for i, m := range messages {
		if i == 0 || i == len(messages)-1 {
			a := &attempt{m: m, batch: b, commit: i > 0, done: func(_ bridge.Receipt, err error) { b.end(nil, err) }}
			token, ok := s.pending.add(a)
			if !ok {
				b.end(nil, classify(nats.ErrConnectionClosed))
				return
			}
			m.Reply = string(tokenText([]byte(s.replies), token))
		}
		if err := s.nc.PublishMsg(m); err != nil {
			s.batchFailed(b, err) // the server forgets what it has of the batch
			return
		}
	}
}

// batchReplied hears the answer to the first or to the last message of a batch.
func (s *session) batchReplied(a *attempt, m *nats.Msg, ack pubAck, err error) {
	b := a.batch
	switch {
	case !a.commit && len(m.Data) == 0 && len(m.Header) == 0: // the server has it
	case err != nil:
		s.batchFailed(b, err)
	case ack.Stream != s.p.o.Stream.Name, ack.Batch != b.id, ack.Count != b.events, ack.Sequence < uint64(b.events):
		b.end(nil, undecided("the answer to the batch is not that of its stream", jetstream.ErrInvalidJSAck))
	default:
		receipts := make([]bridge.Receipt, b.events)
		for i := range receipts {
			receipts[i].Sequence = ack.Sequence - uint64(b.events-1-i)
		}
		b.end(receipts, nil)
	}
}

// batchFailed ends a batch. Only a lost connection says as much of its events as it would
// say of each.
func (s *session) batchFailed(b *batch, err error) {
	f := classify(err)
	if f.Class == bridge.LinkDown {
		b.end(nil, f)
		return
	}
	switch {
	case isCode(err, server.JSAtomicPublishDisabledErr):
		s.maxBatch.Store(0) // until the stream is looked at again
	case isCode(err, server.JSAtomicPublishTooLargeBatchErrF):
		s.batchTooLarge(b.events)
	}
	b.end(nil, undecided(batchReason(err), err))
}

// batchTooLarge makes batches smaller that a server refused for their size.
func (s *session) batchTooLarge(events int) {
	limit := min(s.batchLimit.Load(), int64(events/2))
	if limit < 2 {
		limit = 0
	}
	s.batchLimit.Store(limit)
	s.maxBatch.Store(limit)
}

// allowBatches notes what the stream's configuration says.
func (s *session) allowBatches(c jetstream.StreamConfig) {
	limit := int64(0)
	if c.AllowAtomicPublish {
		limit = s.batchLimit.Load()
	}
	s.maxBatch.Store(limit)
}

// batchRefusals are the reasons for which a server refuses a batch, by its error code.
var batchRefusals = map[server.ErrorIdentifier]string{
	server.JSAtomicPublishContainsDuplicateMessageErr: "the stream has one of its events already",
	server.JSStreamDuplicateMessageConflict:           "the stream is still busy with one of its events",
	server.JSAtomicPublishIncompleteBatchErr:          "the server does not have all of its messages",
	server.JSAtomicPublishDisabledErr:                 "the stream takes no batches any more (allow_atomic)",
	server.JSAtomicPublishTooLargeBatchErrF:           "the server takes smaller batches only",
	server.JSAtomicPublishTooManyInflight:             "the server has too many batches at once",
}

func batchReason(err error) string {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		if reason, ok := batchRefusals[server.ErrorIdentifier(api.ErrorCode)]; ok {
			return "a batch was refused: " + reason
		}
	}
	return "a batch failed: " + classify(err).Reason
}
