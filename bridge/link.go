package bridge

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

// link makes the sessions with NATS, and knows what can be told of the way there.
type link struct {
	publisher Publisher
	log       *zap.Logger
	pending   func() int
	// meanwhile says what becomes of events while NATS is away.
	meanwhile string

	// retry has a token when somebody does not want to wait for the next attempt.
	retry chan struct{}

	mu     sync.Mutex
	now    Link
	logged map[string]bool // kinds of failure that the log has shown, in this outage
}

// Link is the state of the connection to NATS.
type Link struct {
	Up bool `json:"up"`
	// Since is when it came up, or when the outage began.
	Since time.Time `json:"since"`
	// Attempts counts the connects in this outage, and Reason says why the last failed.
	Attempts int    `json:"attempts,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// ReasonCode and ReasonParams are as in Record.
	ReasonCode   string            `json:"reason_code,omitempty"`
	ReasonParams map[string]string `json:"reason_params,omitempty"`
	// Next is when the next one begins; nil while one is under way.
	Next *time.Time `json:"next_attempt,omitempty"`
}

func newLink(o *Options, pending func() int) *link {
	l := &link{publisher: o.Publisher, log: o.Log, pending: pending, meanwhile: "events are taken and wait on disk", retry: make(chan struct{}, 1)}
	if o.WaitForStream {
		l.meanwhile = "events wait on disk, and senders get 503 (accept.wait_for is stream)"
	}
	return l
}

func (l *link) state() Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// connect tries until there is a session or ctx ends, and hands it to sessions. When the
// session before never began, it waits first: else sessions that end at once would be a
// storm.
func (l *link) connect(ctx context.Context, wait backoff.BackOff, atOnce bool, sessions chan<- Session) {
	for ; ; atOnce = false {
		if !atOnce {
			if !l.wait(ctx, wait.NextBackOff()) {
				return
			}
		}
		s, err := l.publisher.Connect(ctx)
		if err == nil {
			select {
			case sessions <- s:
			case <-ctx.Done():
				s.Close()
			}
			return
		}
		if ctx.Err() != nil {
			return
		}
		l.failed(err)
	}
}

// wait lets the time until the next attempt pass, or until somebody wants it now. It is
// false when ctx has ended.
func (l *link) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-l.retry: // it was meant for an attempt that has been made
	default:
	}
	l.next(time.Now().Add(d))
	defer l.next(time.Time{})
	select {
	case <-time.After(d):
	case <-l.retry:
	case <-ctx.Done():
		return false
	}
	return true
}

// next notes when the next attempt begins; zero when it is under way.
func (l *link) next(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now.Next = nil
	if !at.IsZero() {
		at = at.UTC()
		l.now.Next = &at
	}
}

// failed notes a failed connect. It logs each kind of failure once in an outage.
func (l *link) failed(err error) {
	l.mu.Lock()
	kind := failureKind(err)
	logged := l.logged[kind]
	if l.logged == nil {
		l.logged = make(map[string]bool)
	}
	l.logged[kind] = true
	l.now.Attempts++
	l.down(err.Error())
	l.mu.Unlock()
	if !logged {
		l.log.Warn("no connection to NATS; "+l.meanwhile, zap.Error(err))
	}
}

// down notes a reason. l.mu is held.
func (l *link) down(reason string) {
	l.now.Reason = reason
	if l.now.Since.IsZero() {
		l.now.Since = time.Now()
	}
}

// failureKind is the same for two failures that differ only in the server that was tried
// or in the local port: of these there is a new one each time.
func failureKind(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Timeout() {
			return "timeout"
		}
		return op.Err.Error()
	}
	return err.Error()
}

// waits notes why a session cannot be used yet.
func (l *link) waits(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down(err.Error())
}

// lost notes the end of a session.
func (l *link) lost(reason string) {
	l.mu.Lock()
	wasUp := l.now.Up
	if wasUp {
		l.now, l.logged = Link{Since: time.Now()}, nil
	}
	l.now.Reason = reason
	l.mu.Unlock()
	if wasUp {
		l.log.Warn(reason + "; " + l.meanwhile)
	}
}

// up notes that events are published through a session.
func (l *link) up() {
	l.mu.Lock()
	outage := l.now
	l.now, l.logged = Link{Up: true, Since: time.Now()}, nil
	l.mu.Unlock()
	fields := []zap.Field{zap.Int("pending", l.pending())}
	if !outage.Since.IsZero() {
		fields = append(fields, zap.Duration("away", time.Since(outage.Since).Round(time.Millisecond)), zap.Int("attempts", outage.Attempts+1))
	}
	l.log.Info("connected to NATS", fields...)
}
