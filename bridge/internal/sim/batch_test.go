package sim

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// batch is an atomic batch on its way. Its messages travel one behind the other; a server
// that loses one of them, or does not know the first, refuses the rest.
type batch struct {
	n        *server
	attempts []*attempt
	done     func([]bridge.Receipt, error)
	begun    bool // the server has its first message
	ended    bool
	timeout  *time.Timer
}

// batches counts what has become of the batches of all runs.
var batches batchCount

type batchCount struct{ stored, events, refused, unheard atomic.Int64 }

func (c *batchCount) String() string {
	return fmt.Sprintf("%d batches of %d events were stored, %d were refused, of %d the bridge did not hear", c.stored.Load(), c.events.Load(), c.refused.Load(), c.unheard.Load())
}

// MaxBatch implements bridge.Session.
func (s *session) MaxBatch() int {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.takesBatches {
		return 1000
	}
	return 0
}

// PublishBatch implements bridge.Session.
func (s *session) PublishBatch(events []*bridge.Event, done func([]bridge.Receipt, error)) {
	n := s.n
	n.mu.Lock()
	if s.closed || s.dead.Load() {
		n.mu.Unlock()
		done(nil, &bridge.Failure{Class: bridge.LinkDown, Reason: "connection closed"})
		return
	}
	b := &batch{n: n, done: done}
	for _, e := range events {
		a := s.newAttempt(e, nil) // it ends with its batch
		a.batch = b
		s.fly(a)
		b.attempts = append(b.attempts, a)
	}
	now := time.Now()
	s.arriving = later(s.arriving.Add(1), now.Add(n.delay()))
	time.AfterFunc(s.arriving.Sub(now), b.arrive)
	s.arriving = s.arriving.Add(time.Duration(n.rng.Int64N(int64(n.latency))) + 1)
	time.AfterFunc(s.arriving.Sub(now), b.last().arrive)
	b.timeout = time.AfterFunc(ackTimeout, func() { b.end(nil, undecided("no answer in time")) })
	n.mu.Unlock()
}

func undecided(reason string) *bridge.Failure {
	return &bridge.Failure{Class: bridge.Undecided, Reason: reason}
}

func (b *batch) last() *attempt { return b.attempts[len(b.attempts)-1] }

// arrive is when the first message reaches the server.
func (b *batch) arrive() {
	n, s := b.n, b.last().s
	n.mu.Lock()
	defer n.mu.Unlock()
	b.begun = n.up && b.last().starts == n.starts && !n.electing && n.stream != nil && (!s.closed || n.rng.IntN(2) == 0)
}

// take is what the server does with the last message. n.mu is held.
func (b *batch) take() {
	n := b.n
	answer := func(receipts []bridge.Receipt, err error) {
		if n.rng.Float64() < n.ackLoss {
			n.log("the answer to a batch of %d from %s on is lost", len(b.attempts), b.attempts[0].message.id)
			n.batches.unheard.Add(1)
			return
		}
		time.AfterFunc(n.delay(), func() { b.end(receipts, err) })
	}
	refuse := func(code int) {
		n.batches.refused.Add(1)
		if code == notAllowed {
			b.last().s.takesBatches = false
		}
		answer(nil, undecided(fmt.Sprintf("the server refuses the batch (%d)", code)))
	}
	if n.electing || n.stream == nil {
		answer(nil, undecided("no stream answers"))
		return
	}
	if n.denied[b.last().message.subject] { // the server tells elsewhere
		return
	}
	messages := make([]*message, len(b.attempts))
	for i, a := range b.attempts {
		m := a.message
		if n.denied[m.subject] || bytes.HasPrefix(m.body, []byte("large")) || bytes.HasPrefix(m.body, []byte("odd")) {
			b.begun = false // the server never sees this one, or not whole
		}
		m.at = time.Now()
		messages[i] = m
	}
	switch {
	case n.crowded:
		refuse(tooMany)
		return
	case !b.begun:
		refuse(incomplete)
		return
	case n.full:
		refuse(atLimit)
		return
	}
	last, refused := n.stream.publishBatch(messages)
	if refused != 0 {
		refuse(refused)
		return
	}
	n.batches.stored.Add(1)
	n.batches.events.Add(int64(len(messages)))
	receipts := make([]bridge.Receipt, len(messages))
	for i, m := range messages {
		receipts[i].Sequence = last - uint64(len(messages)-1-i)
		if !n.shaken && n.hasHeard(m.id) {
			n.breach("%s is stored again, and the bridge had heard that it is in the stream", m.id)
		}
		n.history[m.id] = append(n.history[m.id], m)
		n.log("%s is at %d, in a batch", m.id, receipts[i].Sequence)
	}
	answer(receipts, nil)
}

// end is the one end of a batch, for the bridge.
func (b *batch) end(receipts []bridge.Receipt, err error) {
	n := b.n
	n.mu.Lock()
	if b.ended {
		n.mu.Unlock()
		return
	}
	b.ended = true
	b.timeout.Stop()
	for _, a := range b.attempts {
		a.ended = true
		a.s.land(a)
		if err == nil && !a.s.dead.Load() {
			n.heard(a.message.id)
		}
	}
	if err != nil {
		n.log("batch of %d from %s on: %v", len(b.attempts), b.attempts[0].message.id, err)
	}
	n.mu.Unlock()
	b.done(receipts, err)
}
