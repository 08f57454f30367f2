package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/persat/examples/durable"
)

// maxDeliveries is after how many deliveries a message counts as poison: that
// many times the process died over it, or its effect failed.
const maxDeliveries = 20

// seenFor is how long the ids of events are remembered. The sender's portal can
// send an event again for 90 days.
const seenFor = 91 * 24 * time.Hour

// backlog is from how many waiting messages on the consumer is behind.
const backlog = 100

// consumer takes messages from JetStream, one at a time, to the ledger.
type consumer struct {
	source *durable.Reader
	ledger ledger
	log    *slog.Logger

	upToDate       bool
	effects, known int // events, since it was that last
}

// run handles messages until ctx ends, and then the one that is here already.
func (c *consumer) run(ctx context.Context) error {
	var pruned time.Time
	for {
		if time.Since(pruned) > 24*time.Hour {
			if err := c.ledger.forget(time.Now().Add(-seenFor)); err != nil {
				return err
			}
			pruned = time.Now()
		}
		m, err := c.source.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.handle(m); err != nil {
			return err
		}
	}
}

// handle brings one message to its end: acknowledged when its effect is on disk,
// terminated when it is put aside, or to be delivered again. An acknowledgement
// that gets lost does no harm: the message comes again and is known. An error
// ends the consumer.
func (c *consumer) handle(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	log := c.log.With("sequence", meta.Sequence.Stream, "subject", m.Subject())
	if meta.NumDelivered > maxDeliveries {
		return c.putAside(m, meta, fmt.Sprintf("delivered %d times", meta.NumDelivered))
	}
	event, err := persat.Parse(m.Data())
	if err != nil {
		return c.putAside(m, meta, err.Error())
	}
	id := m.Headers().Get("ce-id")
	if id == "" {
		return c.putAside(m, meta, "no ce-id: not published by persat-bridge")
	}
	// Two accounts may use the same delivery id.
	id = m.Headers().Get("ce-source") + " " + id

	fresh, err := c.ledger.record(id, event, meta.Sequence.Stream)
	if err != nil {
		wait := min(time.Second<<min(meta.NumDelivered-1, 5), 30*time.Second)
		log.Error("effect failed, again later", "err", err, "delivery", meta.NumDelivered, "wait", wait)
		return m.NakWithDelay(wait)
	}
	if fresh {
		c.effects++
	} else {
		c.known++
	}
	c.note(meta.NumPending)
	return m.Ack()
}

// note logs when the consumer gets behind and when it is up to date: an event is no
// news, and a replay brings thousands that are known already.
func (c *consumer) note(pending uint64) {
	switch {
	case c.upToDate && pending >= backlog:
		c.upToDate = false
		c.log.Info("behind", "pending", pending)
	case !c.upToDate && pending == 0:
		c.upToDate = true
		c.log.Info("up to date", "effects", c.effects, "known already", c.known)
		c.effects, c.known = 0, 0
	}
}

// putAside keeps a message that can never be handled where somebody can look at
// it, and tells JetStream not to bring it again. In that order: killed in
// between, it is put aside twice, at the same place.
func (c *consumer) putAside(m jetstream.Msg, meta *jetstream.MsgMetadata, reason string) error {
	c.log.Error("message put aside", "sequence", meta.Sequence.Stream, "subject", m.Subject(), "reason", reason)
	if err := c.ledger.putAside(meta.Sequence.Stream, m.Data(), reason); err != nil {
		return err
	}
	c.note(meta.NumPending)
	return m.TermWithReason(reason)
}
