package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// accept.wait_for: stream, and the event can never be stored: that is no 2xx.
func TestWaitForStreamOfADeadLetter(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) { o.WaitForStream = true })
	m.set(func() {
		m.fail = func(*bridge.Event) error {
			return &bridge.Failure{Class: bridge.Rejected, Reason: "larger than max_payload"}
		}
	})
	got, err := r.bridge.Accept(t.Context(), delivery("a", "1"))
	if err == nil {
		t.Errorf("Accept says %v without an error, and JetStream has %v", got, m.stored())
	}
	got, err = r.bridge.Accept(t.Context(), delivery("a", "1"))
	if err == nil {
		t.Errorf("the repeat: Accept says %v without an error, and JetStream has %v", got, m.stored())
	}
}

// A replay of one event does not fill a stream that was made anew.
func TestNoticeOutlivesAReplayOfOne(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	m.set(func() { m.created, m.ids, m.bodies = "2", nil, nil; m.sessions[len(m.sessions)-1].Close() })
	eventually(t, "notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{IDs: []string{"a3"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	if len(r.bridge.Status(t.Context()).Notices) == 0 {
		t.Errorf("the notice is gone, and the stream has %d of 5 events", len(m.stored()))
	}
}

// Nor does a restart.
func TestNoticeOutlivesARestart(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	m.set(func() { m.created, m.ids, m.bodies = "2", nil, nil; m.sessions[len(m.sessions)-1].Close() })
	eventually(t, "notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
	r.stop()
	r.open(true, func(o *bridge.Options) { o.Publisher = m })
	eventually(t, "connected", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	if len(r.bridge.Status(t.Context()).Notices) == 0 {
		t.Errorf("the notice is gone, and the stream has %d of 5 events", len(m.stored()))
	}
}

// There is a connection, but JetStream does not answer.
func TestStatusSaysWhatIsWaitedFor(t *testing.T) {
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
}

// A heal in the middle of a replay.
func TestReplayCountsAfterAHeal(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) { o.MaxInFlight = 8 })
	r.accept(delivery("blocked", "B"), bridge.Accepted)
	for i := range 20 {
		r.accept(delivery(fmt.Sprintf("a%d", i), fmt.Sprint(i)), bridge.Accepted)
	}
	r.drained()
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.ID == "blocked" && e.Replay > 0 {
				return &bridge.Failure{Class: bridge.Unknown, Reason: "odd"}
			}
			return nil
		}
	})
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "most", func() bool { return r.bridge.ReplayNow().Published >= 19 })
	m.set(func() {
		m.fail = nil
		m.ids, m.bodies = m.ids[:20:20], m.bodies[:20:20] // event 21 and the replayed ones
		m.sessions[len(m.sessions)-1].Close()
	})
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	now := r.bridge.ReplayNow()
	if now.Published > now.Matched {
		t.Errorf("replay: %+v", *now)
	}
}

// A window of one, a steady backlog, and a held subject that was repaired.
func TestWindowOfOneProbes(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) { o.MaxInFlight = 1 })
	broken := true
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if strings.HasPrefix(e.Type, "held") {
				if broken {
					return &bridge.Failure{Class: bridge.Held, Reason: "no permission"}
				}
				return nil
			}
			time.Sleep(2 * time.Millisecond)
			return nil
		}
	})
	d := delivery("held", "1")
	d.Type = "held.type"
	r.accept(d, bridge.Accepted)
	time.Sleep(300 * time.Millisecond)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if r.bridge.Status(context.Background()).Pending < 20 {
				_, _ = r.bridge.Accept(context.Background(), delivery(fmt.Sprint("n", i), fmt.Sprint("n", i)))
			}
		}
	}()
	m.set(func() { broken = false })
	begin := time.Now()
	for index(m.stored(), "persat:held") < 0 && time.Since(begin) < 5*time.Second {
		time.Sleep(10 * time.Millisecond)
	}
	if index(m.stored(), "persat:held") < 0 {
		t.Errorf("repaired for 5 s (100 times the longest backoff), not sent; %d others were", len(m.stored()))
	}
	close(stop)
	<-done
}

// Bulk events of very many entities that wait do not take the memory of the host.
func TestMemoryOfBulkEvents(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // pools, too
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc >> 20)
	}
	before := heap() // what other tests have left
	m := &memory{created: "1", none: true}
	r := memoryRig(t, m)
	const events = 24
	for i := range events {
		var b strings.Builder
		b.WriteString(`{"eventType":"delivery.deleted","payload":[`)
		for n := 0; b.Len() < 1<<20; n++ {
			if n > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"_id":%d}`, i*1000000+n)
		}
		b.WriteString(`]}`)
		e, err := persat.ReadEnvelope([]byte(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			t.Logf("%d entities in %d bytes", len(e.Entities), b.Len())
		}
		r.accept(bridge.Delivery{Source: "persat", ID: fmt.Sprint("bulk", i), Type: e.Type, Entities: e.Entities, Body: []byte(b.String())}, bridge.Accepted)
	}
	time.Sleep(3 * time.Second)
	used := heap() - before
	t.Logf("%d events pending: %d MiB of heap after a collection", events, used)
	if used > 96 {
		t.Errorf("%d MiB of heap for %d events that wait, %d MiB for each", used, events, used/events)
	}
}
