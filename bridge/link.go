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

// linkState is what is known of the way to NATS, for status and metrics.
type linkState struct {
	mu       sync.Mutex
	up       bool
	since    time.Time // of up, or of the outage
	attempts int       // to connect, in this outage
	reason   string
	told     map[string]bool // kinds of failure that the log has shown, in this outage
}

// Link is the state of the connection to NATS.
type Link struct {
	Up       bool      `json:"up"`
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

func (l *linkState) get() Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Link{Up: l.up, Since: l.since, Attempts: l.attempts, Reason: l.reason}
}

// linkFailed notes a failed connect. It logs each kind of failure once in an outage.
func (b *Bridge) linkFailed(err error) {
	l := &b.link
	l.mu.Lock()
	kind := failureKind(err)
	told := l.told[kind]
	if l.told == nil {
		l.told = make(map[string]bool)
	}
	l.told[kind] = true
	l.attempts++
	l.reason = err.Error()
	if l.since.IsZero() {
		l.since = time.Now()
	}
	l.mu.Unlock()
	if !told {
		b.o.Log.Warn("no connection to NATS; "+b.meanwhile(), zap.Error(err))
	}
}

// failureKind is what two failures have in common that differ only in the server
// that was tried or in the local port: of these there is a new one each time.
func failureKind(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Timeout() {
			return "timeout"
		}
		return op.Err.Error()
	}
	return err.Error()
}

// meanwhile says what becomes of events while NATS is away.
func (b *Bridge) meanwhile() string {
	if b.o.WaitForStream {
		return "events wait on disk, and senders hear 503 (accept.wait_for is stream)"
	}
	return "events are taken and wait on disk"
}

// linkWaits notes why a connection that there is cannot be used yet.
func (b *Bridge) linkWaits(err error) {
	l := &b.link
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reason = err.Error()
	if l.since.IsZero() {
		l.since = time.Now()
	}
}

func (b *Bridge) linkLost(reason string) {
	l := &b.link
	l.mu.Lock()
	before := l.up
	if before {
		l.up, l.since, l.attempts, l.told = false, time.Now(), 0, nil
	}
	l.reason = reason
	l.mu.Unlock()
	if before {
		b.o.Log.Warn(reason + "; " + b.meanwhile())
	}
}

func (b *Bridge) linkUp() {
	l := &b.link
	l.mu.Lock()
	outage, attempts := l.since, l.attempts
	l.up, l.since, l.attempts, l.reason, l.told = true, time.Now(), 0, "", nil
	l.mu.Unlock()
	fields := []zap.Field{zap.Int("pending", b.backlog.total())}
	if !outage.IsZero() {
		fields = append(fields, zap.Duration("away", time.Since(outage).Round(time.Millisecond)), zap.Int("attempts", attempts+1))
	}
	b.o.Log.Info("connected to NATS", fields...)
}

// connect tries until there is a session or ctx ends, and hands it to sessions. When the
// session before never began, it waits first: else sessions that end at once would be a
// storm.
func (b *Bridge) connect(ctx context.Context, wait backoff.BackOff, atOnce bool, sessions chan<- Session) {
	for ; ; atOnce = false {
		if !atOnce {
			select {
			case <-time.After(wait.NextBackOff()):
			case <-ctx.Done():
				return
			}
		}
		s, err := b.o.Publisher.Connect(ctx)
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
		b.linkFailed(err)
	}
}
