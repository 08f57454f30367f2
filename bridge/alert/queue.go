package alert

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

const (
	// maxQueued bounds the messages that wait for one receiver.
	maxQueued = 200
	// attemptTimeout is how long an attempt is waited for. A Receiver that takes longer may
	// have delivered: the message is sent again all the same.
	attemptTimeout = 30 * time.Second
	// maxHanging bounds the attempts that have not returned.
	maxHanging = 3
)

// queue has the messages for one receiver, the oldest first.
type queue struct {
	receiver Receiver
	notice   func(about, text string)
	log      *zap.Logger
	wake     chan struct{}
	hanging  chan struct{} // a token for each attempt that has not returned

	mu       sync.Mutex
	messages []Message
	dropped  int
}

func newQueue(r Receiver, notice func(about, text string), log *zap.Logger) *queue {
	return &queue{receiver: r, notice: notice, log: log.With(zap.String("receiver", r.Name())), wake: make(chan struct{}, 1), hanging: make(chan struct{}, maxHanging)}
}

// add never waits.
func (q *queue) add(m Message) {
	q.mu.Lock()
	if len(q.messages) == maxQueued {
		q.messages = q.messages[1:]
		q.dropped++
	}
	q.messages = append(q.messages, m)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest message, and how many were dropped before it.
func (q *queue) take() (m Message, dropped int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.messages) == 0 {
		return m, 0, false
	}
	m, q.messages = q.messages[0], q.messages[1:]
	dropped, q.dropped = q.dropped, 0
	return m, dropped, true
}

// run delivers until ctx ends.
func (q *queue) run(ctx context.Context) {
	for {
		m, dropped, ok := q.take()
		if dropped > 0 {
			q.log.Error("alerts were dropped: too many waited for delivery", zap.Int("alerts", dropped))
		}
		if ok {
			if !q.deliver(ctx, m) {
				q.mu.Lock()
				left := len(q.messages) + 1
				q.mu.Unlock()
				q.log.Warn("alerts were not delivered before the end", zap.Int("alerts", left))
				return
			}
			continue
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
	}
}

// deliver tries until the receiver has taken the message. It is false when ctx has ended.
func (q *queue) deliver(ctx context.Context, m Message) bool {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(2*time.Second), backoff.WithMaxInterval(5*time.Minute), backoff.WithMaxElapsedTime(0))
	begun := time.Now()
	for attempt := 1; ; attempt++ {
		err := q.attempt(ctx, m)
		if err == nil {
			if attempt > 1 {
				q.log.Info("alerts are delivered again", zap.Duration("after", time.Since(begun).Round(time.Second)), zap.Int("attempts", attempt))
				q.notice("alerts "+q.receiver.Name(), "")
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if attempt == 1 {
			q.log.Warn("an alert cannot be delivered; it is tried again", zap.Error(err))
			q.notice("alerts "+q.receiver.Name(), fmt.Sprintf("alerts cannot be delivered by %s since %s: %v", q.receiver.Name(), begun.UTC().Format(time.RFC3339), err))
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-ctx.Done():
			return false
		}
	}
}

// attempt makes one attempt, and waits for it no longer than attemptTimeout.
func (q *queue) attempt(ctx context.Context, m Message) error {
	select {
	case q.hanging <- struct{}{}:
	default:
		return fmt.Errorf("%d attempts have not ended yet", maxHanging)
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-q.hanging }()
		done <- q.receiver.Send(m)
	}()
	timeout := time.NewTimer(attemptTimeout)
	defer timeout.Stop()
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		return fmt.Errorf("no answer within %v", attemptTimeout)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
