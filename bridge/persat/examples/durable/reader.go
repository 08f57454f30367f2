// Package durable reads a stream through a durable consumer, and goes on when the stream is
// recreated.
//
// A NATS server that comes back with an empty store has no stream and no consumer; the
// bridge makes the stream again and fills it, but the consumer is its owner's. nats.go
// reports no more than that heartbeats are missing, as in any outage, so that a client
// that only goes on waits for ever. A Reader then asks what is there.
package durable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Reader is a durable consumer of a stream. One goroutine uses it.
type Reader struct {
	js     jetstream.JetStream
	stream string
	config jetstream.ConsumerConfig
	log    *slog.Logger
	// heartbeat is how often the server shows that it is there; twice that is silence.
	heartbeat time.Duration
	created   time.Time // when the stream was
	pending   uint64
	messages  jetstream.MessagesContext
}

// Open makes the consumer, or takes over the one that is there.
func Open(ctx context.Context, js jetstream.JetStream, stream string, config jetstream.ConsumerConfig, log *slog.Logger) (*Reader, error) {
	r := &Reader{js: js, stream: stream, config: config, log: log, heartbeat: 5 * time.Second}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Reader) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stream, err := r.js.Stream(ctx, r.stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", r.stream, err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(ctx, r.config)
	if err != nil {
		return fmt.Errorf("consumer %s of stream %s: %w", r.config.Durable, r.stream, err)
	}
	messages, err := consumer.Messages(jetstream.PullHeartbeat(r.heartbeat))
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	r.Stop()
	info := consumer.CachedInfo()
	r.messages, r.created, r.pending = messages, stream.CachedInfo().Created, info.NumPending+uint64(info.NumAckPending)
	r.log.Info("consuming", "stream", r.stream, "consumer", r.config.Durable, "pending", r.pending)
	return nil
}

// Created is when the stream was created that is read now: its sequences mean nothing in
// another one.
func (r *Reader) Created() time.Time { return r.created }

// Pending is how many messages there were to come when the consumer was opened last.
func (r *Reader) Pending() uint64 { return r.pending }

// Stop ends the reading. The consumer stays.
func (r *Reader) Stop() {
	if r.messages != nil {
		r.messages.Stop()
	}
}

// Next waits for a message. When ctx ends it returns those that are here already, and then
// io.EOF.
func (r *Reader) Next(ctx context.Context) (jetstream.Msg, error) {
	for {
		stop := context.AfterFunc(ctx, r.messages.Drain)
		m, err := r.messages.Next()
		stop()
		switch {
		case err == nil:
			return m, nil
		case errors.Is(err, jetstream.ErrMsgIteratorClosed) && ctx.Err() != nil:
			return nil, io.EOF
		case errors.Is(err, jetstream.ErrNoHeartbeat), errors.Is(err, jetstream.ErrConsumerDeleted),
			errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
			// The server is away, elects a leader, or has lost the stream or the consumer.
			if err := r.recover(ctx, err); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("read messages: %w", err)
		}
	}
}

const (
	// askTimeout bounds a question to JetStream.
	askTimeout = 5 * time.Second
	// recoverWait is how long to wait before the next one.
	recoverWait = time.Second
)

// recover waits for the stream and goes on with its consumer, which it makes again when the
// stream was recreated. In the same stream a missing consumer is an error: somebody
// deleted it.
func (r *Reader) recover(ctx context.Context, reason error) error {
	r.log.Warn("NATS is silent: waiting for the stream", "err", reason)
	for ctx.Err() == nil {
		err := r.check(ctx)
		if err == nil || errors.Is(err, errDeleted) {
			return err
		}
		select {
		case <-time.After(recoverWait):
		case <-ctx.Done():
		}
	}
	return io.EOF
}

var errDeleted = errors.New("it was deleted")

func (r *Reader) check(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stream, err := r.js.Stream(ask, r.stream)
	if err != nil {
		return err
	}
	same := stream.CachedInfo().Created.Equal(r.created)
	_, err = stream.Consumer(ask, r.config.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound) && same:
		return fmt.Errorf("consumer %s of stream %s: %w", r.config.Durable, r.stream, errDeleted)
	case err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound):
		return err
	case !same:
		r.log.Warn("the stream was recreated: reading it from its beginning")
	}
	return r.open(ctx)
}
