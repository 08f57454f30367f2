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
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
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

func (l *line) MaxBatch() int { return 0 }

func (l *line) PublishBatch(_ []*bridge.Event, done func([]bridge.Receipt, error)) {
	done(nil, &bridge.Failure{Class: bridge.Undecided, Reason: "no batches"})
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
	t.Parallel()
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
			t.Parallel()
			core, logs := observer.New(zap.InfoLevel)
			nats := new(switchboard)
			r := newRig(t)
			r.open(true, func(o *bridge.Options) { o.Publisher, o.Log = nats, zap.New(core) })
			defer r.stop()
			up := func() bool { return r.bridge.Status(t.Context()).NATS.Up }
			testwait.Eventually(t, "connected", up)
			logs.TakeAll()

			nats.cut(fail)
			testwait.Eventually(t, "fifty attempts", func() bool { return nats.tried() >= 50 })
			for i := range 3 {
				d := bridge.Delivery{Source: "persat", ID: fmt.Sprintf("msg_%d", i), Type: "workorder.created", Body: []byte("{}")}
				if _, err := r.bridge.Accept(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
			nats.mend()
			testwait.Eventually(t, "connected again", up)
			testwait.Eventually(t, "all published", func() bool { return r.bridge.Status(t.Context()).Pending == 0 })

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

// TestEachKindOfFailureIsLogged: what is wrong may change while NATS is away.
func TestEachKindOfFailureIsLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	nats := new(switchboard)
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.Publisher, o.Log = nats, zap.New(core) })
	defer r.stop()
	testwait.Eventually(t, "connected", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	logs.TakeAll()
	nats.cut(func(attempt int) error {
		if attempt%2 == 0 {
			return errors.New("authorization violation")
		}
		return errors.New("no servers available")
	})
	testwait.Eventually(t, "twenty attempts", func() bool { return nats.tried() >= 20 })
	if n := logs.FilterMessageSnippet("no connection to NATS").Len(); n != 2 {
		t.Errorf("%d lines of two kinds of failure, want 2", n)
	}
}

func TestOutageSpendsNoAttempts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.MaxAttempts = 1 })
	r.accept(delivery("before", "1"), bridge.Accepted)
	r.drained()
	r.stopNATS()
	for i := range 50 {
		r.accept(delivery(fmt.Sprintf("away_%d", i), fmt.Sprint(i%5)), bridge.Accepted)
	}
	testwait.Eventually(t, "several connects", func() bool { return r.bridge.Status(t.Context()).NATS.Attempts > 5 })
	if err := r.bridge.Ready(); err != nil {
		t.Errorf("ready: %v, want ready without NATS", err)
	}
	r.startNATS()
	r.drained()
	if got := len(r.messages()); got != 51 {
		t.Errorf("got %d messages, want 51", got)
	}
	if dead := r.bridge.Status(t.Context()).Dead; dead != 0 {
		t.Errorf("got %d dead letters, want none", dead)
	}
}

// There is a connection, but JetStream does not answer.
func TestStatusSaysWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1", look: func(context.Context) error {
			return errors.New("JetStream is not enabled on the NATS server")
		}}
		r := memoryRig(t, m)
		r.accept(delivery("a", "1"), bridge.Accepted)
		time.Sleep(time.Second)
		s := r.bridge.Status(t.Context())
		if s.NATS.Reason == "" || s.NATS.Since.IsZero() {
			t.Errorf("status: %+v held %v notices %v", s.NATS, s.Held, s.Notices)
		}
	})
}

// brief is sessions that end as soon as they have begun.
type brief struct{ *memory }

func (b brief) Connect(ctx context.Context) (bridge.Session, error) {
	s, err := b.memory.Connect(ctx)
	if err == nil {
		s.Close()
	}
	return s, err
}

func TestNoReconnectStorm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1", look: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		core, logs := observer.New(zap.InfoLevel)
		r := memoryRig(t, m, func(o *bridge.Options) {
			o.Publisher = brief{m}
			o.Log = zap.New(core)
			o.Backoff = bridge.Backoff{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Multiplier: 2, Jitter: 0.5}
		})
		time.Sleep(time.Second)
		r.stop()
		n := 0
		m.set(func() { n = len(m.sessions) })
		if n > 20 {
			t.Errorf("%d connects and %d log lines in a second", n, logs.Len())
		}
	})
}

// A client that may not look at the stream cannot find out why places come again: to
// end the session for that helps nobody.
func TestNoReconnectStormWithoutPermissionToVerify(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptSeries("a", 100, "")
	r.drained()
	m.set(func() {
		m.look = func(context.Context) error { return bridge.ErrNotPermitted }
		m.created, m.ids, m.bodies = "2", nil, nil
		m.sessions[len(m.sessions)-1].Close()
	})
	for i := range 50 {
		r.accept(delivery(fmt.Sprintf("b%d", i), fmt.Sprint(i)), bridge.Accepted)
		r.drained()
	}
	sessions := 0
	m.set(func() { sessions = len(m.sessions) })
	if sessions > 5 {
		t.Errorf("%d sessions for 50 events", sessions)
	}
}

// While the stream does not answer, an event that is due again makes the loop spin.
func TestNoSpinWhileVerifying(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	testwait.Eventually(t, "connected", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	tried := make(chan struct{}, 1000)
	m.set(func() {
		m.fail = func(*bridge.Event) error {
			tried <- struct{}{}
			return &bridge.Failure{Class: bridge.Held, Reason: "full"}
		}
	})
	r.accept(delivery("a", "1"), bridge.Accepted)
	<-tried
	time.Sleep(20 * time.Millisecond) // it is in delayed
	m.set(func() {
		m.look = func(ctx context.Context) error { return errors.New("no answer") }
		m.sessions[len(m.sessions)-1].Close()
	})
	time.Sleep(300 * time.Millisecond)
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, begin := cpu(), time.Now()
	time.Sleep(time.Second)
	if share := float64(cpu()-before) / float64(time.Since(begin)); share > 0.25 {
		t.Errorf("%.0f %% of a core while nothing can be done", 100*share)
	}
}
