package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// switchboard is a NATS that can be taken away, and fails to be reached as the test
// says.
type switchboard struct {
	mu       sync.Mutex
	fail     func(attempt int) error // nil: reachable
	attempts int
	done     chan struct{}
	last     atomic.Uint64 // place in the stream
}

func (s *switchboard) Connect(context.Context) (bridge.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		s.attempts++
		return nil, fmt.Errorf("connect to NATS at nats://192.0.2.1:4222: %w", s.fail(s.attempts))
	}
	s.done = make(chan struct{})
	return &line{done: s.done, last: &s.last}, nil
}

func (s *switchboard) cut(fail func(int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.attempts = fail, 0
	close(s.done)
}

func (s *switchboard) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = nil
}

func (s *switchboard) tried() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

type line struct {
	done chan struct{}
	last *atomic.Uint64
}

func (l *line) Done() <-chan struct{} { return l.done }
func (l *line) Close()                {}

func (l *line) Publish(_ *bridge.Event, done func(bridge.Receipt, error)) {
	select {
	case <-l.done:
		done(bridge.Receipt{}, &bridge.Failure{Class: bridge.LinkDown, Reason: "cut"})
	default:
		done(bridge.Receipt{Sequence: l.last.Add(1)}, nil)
	}
}

func (l *line) Stream(context.Context) (bridge.StreamState, error) {
	return bridge.StreamState{}, bridge.ErrNoStream
}

func (l *line) Message(context.Context, uint64) (bridge.Message, error) {
	return bridge.Message{}, bridge.ErrNoMessage
}
func (l *line) Deleted(context.Context) ([]bridge.SequenceRange, error)      { return nil, nil }
func (l *line) Heads(context.Context, uint64, int) ([]bridge.Message, error) { return nil, nil }

// TestOutageIsThreeLines: however long NATS is away and however often it is tried,
// the log has a line when it began, one for what it waits for, and one when it
// has ended, with how long and how many.
func TestOutageIsThreeLines(t *testing.T) {
	for name, fail := range map[string]func(attempt int) error{
		"nothing listens": func(int) error {
			return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		},
		// The server is paused: each attempt has a local port of its own in its words.
		"no greeting": func(attempt int) error {
			return &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 40000 + attempt}, Err: os.ErrDeadlineExceeded}
		},
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			nats := new(switchboard)
			r := newRig(t)
			r.open(true, func(o *bridge.Options) { o.Publisher, o.Log = nats, zap.New(core) })
			defer r.stop()
			wait := func(what string, f func() bool) {
				t.Helper()
				for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("waited in vain: %s", what)
					}
				}
			}
			up := func() bool { return r.bridge.Status(t.Context()).NATS.Up }
			wait("connected", up)
			logs.TakeAll()

			nats.cut(fail)
			wait("fifty attempts", func() bool { return nats.tried() >= 50 })
			for i := range 3 {
				d := bridge.Delivery{Source: "persat", ID: fmt.Sprintf("msg_%d", i), Type: "workorder.created", Body: []byte("{}")}
				if _, err := r.bridge.Accept(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
			nats.mend()
			wait("connected again", up)
			wait("all published", func() bool { return r.bridge.Status(t.Context()).Pending == 0 })

			lines := logs.TakeAll()
			if len(lines) != 3 {
				for _, l := range lines {
					t.Logf("%s %v", l.Message, l.ContextMap())
				}
				t.Fatalf("the outage is %d lines, want 3", len(lines))
			}
			end := lines[2].ContextMap()
			if end["pending"] != int64(3) || end["attempts"].(int64) < 50 || end["away"].(time.Duration) <= 0 {
				t.Errorf("the last line says %v, want how long, how many waited, and the attempts", end)
			}
		})
	}
}

// TestEachKindOfFailureIsTold: what is wrong may change while NATS is away.
func TestEachKindOfFailureIsTold(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	nats := new(switchboard)
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.Publisher, o.Log = nats, zap.New(core) })
	defer r.stop()
	for deadline := time.Now().Add(10 * time.Second); !r.bridge.Status(t.Context()).NATS.Up; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not connected")
		}
	}
	logs.TakeAll()
	nats.cut(func(attempt int) error {
		if attempt%2 == 0 {
			return errors.New("authorization violation")
		}
		return errors.New("no servers available")
	})
	for deadline := time.Now().Add(10 * time.Second); nats.tried() < 20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no attempts")
		}
	}
	if n := logs.FilterMessageSnippet("no connection to NATS").Len(); n != 2 {
		t.Errorf("%d lines of two kinds of failure, want 2", n)
	}
}
