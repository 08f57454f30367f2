package bridge_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// behindProxy is a publisher with a proxy on its way to a nats-server.
func behindProxy(t *testing.T) (bridge.Publisher, *natstest.Proxy) {
	t.Helper()
	proxy := natstest.NewProxy(t, natstest.Start(t, "").Host)
	p, err := publisher.New(publisher.Options{
		Connect:  publisher.ConnectOptions{URL: proxy.URL},
		Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: 2 * time.Hour},
		Prefixes: map[string]string{"persat": "persat"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, proxy
}

// The way to NATS was slow (1 Mbit/s), and one of the newest events had 900 KB: to read it
// whole took longer than a request may, and no session ever began.
func TestLargeEventBehindASlowLink(t *testing.T) {
	t.Parallel()
	p, proxy := behindProxy(t)
	r := &rig{t: t, dir: t.TempDir()}
	with := func(o *bridge.Options) { o.Publisher = p }
	r.open(true, with)
	d := delivery("large", "1")
	d.Body = make([]byte, 900<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(d.Body)
	r.accept(d, bridge.Accepted)
	r.drained()
	r.stop()
	proxy.Rate.Store(1_000_000 / 8)
	r.open(true, with)
	r.accept(delivery("small", "1"), bridge.Accepted)
	r.drained()
}

// A look at the stream fetches the newest places whole, bodies and all, sixteen at a time: on a link
// that is fast enough for the events, but not for that, no session ever begins.
func TestLargeEventsOverASlowLink(t *testing.T) {
	t.Parallel()
	p, proxy := behindProxy(t)
	r := &rig{t: t, dir: t.TempDir()}
	with := func(o *bridge.Options) { o.Publisher, o.Log, o.AckTimeout = p, zap.NewNop(), 5*time.Second }
	r.open(true, with)
	random := rand.NewChaCha8([32]byte{})
	for i := range 40 {
		d := delivery(fmt.Sprint("a", i), fmt.Sprint(i))
		d.Body = make([]byte, 900<<10)
		random.Read(d.Body)
		r.accept(d, bridge.Accepted)
	}
	r.drained()
	r.stop()
	proxy.Rate.Store(20_000_000 / 8) // 20 Mbit/s
	r.open(true, with)
	r.accept(delivery("b", "1"), bridge.Accepted)
	up := false
	for begin := time.Now(); !up && time.Since(begin) < 45*time.Second; time.Sleep(500 * time.Millisecond) {
		up = r.bridge.Status(context.Background()).NATS.Up
	}
	status := r.bridge.Status(context.Background())
	if !up {
		t.Errorf("45 s over 20 Mbit/s, and no session has begun; %d pending: %s", status.Pending, strings.TrimSpace(status.NATS.Reason))
	}
	proxy.Rate.Store(0)
	r.drained()
}

// far is a memory behind a round trip. sent is when each event was sent through it.
type far struct {
	*memory
	roundTrip time.Duration
	sent      sync.Map // id: time.Time
}

type farSession struct {
	*memorySession
	f *far
}

func (f *far) Connect(ctx context.Context) (bridge.Session, error) {
	s, err := f.memory.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return farSession{s.(*memorySession), f}, nil
}

func (s farSession) wait() { time.Sleep(s.f.roundTrip / 2) }

func (s farSession) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	s.f.sent.Store(e.ID, time.Now())
	go func() {
		s.wait()
		receipt, err := s.publish(e)
		s.wait()
		done(receipt, err)
	}()
}

func (s farSession) Stream(ctx context.Context) (bridge.StreamState, error) {
	s.wait()
	defer s.wait()
	return s.memorySession.Stream(ctx)
}

func (s farSession) Message(ctx context.Context, seq uint64) (bridge.Message, error) {
	s.wait()
	defer s.wait()
	return s.memorySession.Message(ctx, seq)
}

// The stream is on another continent, and a session begins under load: no acknowledgement comes
// for longer than a silence may last, the stream is asked, and during each answer the next
// silence began. Most events waited for half a second, for good.
func TestSteadyEventsOverALongWay(t *testing.T) {
	t.Parallel()
	for _, roundTrip := range []time.Duration{50, 230, 300, 330, 370, 600} {
		t.Run(fmt.Sprint(int(roundTrip), " ms"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &far{memory: &memory{created: "1"}, roundTrip: roundTrip * time.Millisecond}
				b, stop := runInBubble(t, vfs.NewMem(), f)
				defer stop()
				time.Sleep(20 * time.Second)
				const pause, events, settled = 20 * time.Millisecond, 1500, 1000
				accepted := make([]time.Time, events)
				for i := range events {
					if i == 100 {
						f.cut()
					}
					accepted[i] = time.Now()
					if _, err := b.Accept(t.Context(), delivery(fmt.Sprint(i), fmt.Sprint(i))); err != nil {
						t.Fatal(err)
					}
					time.Sleep(pause)
				}
				time.Sleep(10 * time.Second)
				delayed := 0
				for i := settled; i < events; i++ {
					sent, ok := f.sent.Load(fmt.Sprint(i))
					if !ok || sent.(time.Time).Sub(accepted[i]) > pause {
						delayed++
					}
				}
				if delayed > 0 {
					t.Errorf("%d of %d events were not sent at once, long after the session had begun", delayed, events-settled)
				}
			})
		})
	}
}
