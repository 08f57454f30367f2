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
	// maxHanging bounds the attempts that have not returned, but for those that are given up:
	// a Receiver cannot be interrupted, and one that never returns must not end the delivery.
	maxHanging = 3
	// givenUpAfter is how long an attempt that has not returned counts.
	givenUpAfter = time.Hour
)

// queue has the messages for one receiver, the oldest first.
type queue struct {
	receiver Receiver
	notice   func(about, text string)
	changed  func() // the messages that wait are others now
	log      *zap.Logger
	wake     chan struct{}
	hanging  chan struct{} // a token for each attempt that has not returned and counts

	mu       sync.Mutex
	current  *Message // is being delivered
	messages []Message
	dropped  int
}

func newQueue(r Receiver, notice func(about, text string), changed func(), log *zap.Logger) *queue {
	return &queue{
		receiver: r, notice: notice, changed: changed, log: log.With(zap.String("receiver", r.Name())),
		wake: make(chan struct{}, 1), hanging: make(chan struct{}, maxHanging),
	}
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
	q.current = &m
	dropped, q.dropped = q.dropped, 0
	return m, dropped, true
}

// taken ends the delivery of the message that take returned.
func (q *queue) taken() {
	q.mu.Lock()
	q.current = nil
	q.mu.Unlock()
	q.changed()
}

// waiting returns the messages that are not delivered, the oldest first.
func (q *queue) waiting() (messages []Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current != nil {
		messages = append(messages, *q.current)
	}
	return append(messages, q.messages...)
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
				q.log.Warn("alerts were not delivered before the end; they are after the next start", zap.Int("alerts", len(q.waiting())))
				return
			}
			q.taken()
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
	release := sync.OnceFunc(func() { <-q.hanging })
	go func() {
		giveUp := time.AfterFunc(givenUpAfter, func() {
			release()
			q.log.Warn("an attempt to deliver an alert has not ended for long and is given up", zap.Duration("after", givenUpAfter))
		})
		err := q.receiver.Send(m)
		giveUp.Stop()
		release()
		done <- err
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
