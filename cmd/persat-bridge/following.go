package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// following reads a stream from some place on, also when it was recreated. An ordered
// consumer of nats.go goes on after the last sequence that it has seen, and so skips what a
// recreated stream has below.
type following struct {
	js     jetstream.JetStream
	stream string
	config jetstream.OrderedConsumerConfig
	// toEnd ends with the last message that is there.
	toEnd bool
	// recreated is called when the stream was.
	recreated func()
}

// run gives each message to show, until ctx ends. opened is called once it has begun.
func (f *following) run(ctx context.Context, opened func(), show func(jetstream.Msg) error) error {
	for {
		other, err := f.read(ctx, opened, show)
		if !other || err != nil {
			return err
		}
		f.recreated()
		opened = func() {}
		// All that is in it has arrived since.
		f.config.DeliverPolicy, f.config.OptStartTime = jetstream.DeliverAllPolicy, nil
	}
}

// read shows the messages of the stream that is there; other says that it is another one
// now.
func (f *following) read(ctx context.Context, opened func(), show func(jetstream.Msg) error) (other bool, err error) {
	created := f.created(ctx)
	consumer, err := f.js.OrderedConsumer(ctx, f.stream, f.config)
	if err != nil {
		return false, fmt.Errorf("read stream %s: %w", f.stream, err)
	}
	defer forget(ctx, f.js, f.stream, consumer)
	messages, err := consumer.Messages()
	if err != nil {
		return false, fmt.Errorf("read stream %s: %w", f.stream, err)
	}
	watch, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	var changed atomic.Bool
	watching.Go(func() {
		if f.awaitOther(watch, created) {
			changed.Store(true)
			messages.Stop()
		}
	})
	opened()
	if f.toEnd && consumer.CachedInfo().NumPending == 0 {
		return false, nil
	}
	for {
		m, err := messages.Next()
		switch {
		case ctx.Err() != nil:
			return false, nil
		case changed.Load():
			return true, nil
		case err != nil && !created.IsZero() && !f.created(ctx).Equal(created):
			return f.awaitOther(ctx, created), nil // it was deleted
		case err != nil:
			return false, fmt.Errorf("read stream %s: %w", f.stream, err)
		}
		if err := show(m); err != nil {
			return false, err
		}
		if !f.toEnd {
			continue
		}
		if meta, err := m.Metadata(); err != nil || meta.NumPending == 0 {
			return false, err
		}
	}
}

// otherLook is how often following looks whether the stream is still the same.
const otherLook = 2 * time.Second

// awaitOther waits for another stream of the same name. It is false when ctx has ended.
func (f *following) awaitOther(ctx context.Context, created time.Time) bool {
	for !created.IsZero() {
		select {
		case <-time.After(otherLook):
		case <-ctx.Done():
			return false
		}
		if now := f.created(ctx); !now.IsZero() && !now.Equal(created) {
			return true
		}
	}
	return false
}

// created is when the stream was; zero when there is none, or the server does not say.
func (f *following) created(ctx context.Context) time.Time {
	ctx, cancel := context.WithTimeout(ctx, otherLook)
	defer cancel()
	stream, err := f.js.Stream(ctx, f.stream)
	if err != nil {
		return time.Time{}
	}
	return stream.CachedInfo().Created
}

// forget takes the consumer from the server, which else keeps it for some minutes. The
// user may not be permitted to: then it is left at that.
func forget(ctx context.Context, js jetstream.JetStream, stream string, c jetstream.Consumer) {
	if !js.Conn().IsConnected() {
		return
	}
	js.Conn().SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = js.DeleteConsumer(ctx, stream, c.CachedInfo().Name)
}
