package bridge_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

func TestMissingStreamHoldsOnlyUntilItIsThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	r.accept(delivery("msg_1", "1"), bridge.Accepted)
	r.drained()
	js, hangUp := r.js()
	defer hangUp()
	if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
		t.Fatal(err)
	}
	r.accept(delivery("msg_2", "1"), bridge.Accepted)
	r.drained()
	if got := len(r.messages()); got != 1 {
		t.Errorf("got %d messages in the stream made anew, want 1", got)
	}
}

// With a small window, the probes of held subjects take every place in it, and a subject
// that works is never sent. Times are those of the defaults, a hundredth of each.
func TestProbesDoNotStarveSubjectsThatWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m, func(o *bridge.Options) {
			o.MaxInFlight = 1
			o.Publisher = slow{m}
			o.Backoff = bridge.Backoff{Initial: time.Millisecond, Max: 300 * time.Millisecond, Multiplier: 2, Jitter: 0.5}
		})
		for i := range 15 {
			d := delivery(fmt.Sprintf("d%d", i), fmt.Sprint("e", i))
			d.Type = fmt.Sprintf("denied.t%d", i)
			r.accept(d, bridge.Accepted)
		}
		time.Sleep(1500 * time.Millisecond) // all are held
		r.accept(delivery("works", "1"), bridge.Accepted)
		for deadline := time.Now().Add(6 * time.Second); index(m.stored(), "persat:works") < 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("after 6 s, ten minutes in real time, the event of a subject that works is not sent")
			}
		}
	})
}

// slow answers for a denied subject as late as an attempt without permission does.
type slow struct{ m *memory }

func (s slow) Connect(ctx context.Context) (bridge.Session, error) {
	in, err := s.m.Connect(ctx)
	return slowSession{in}, err
}

type slowSession struct{ bridge.Session }

func (s slowSession) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	if strings.HasPrefix(e.Type, "denied") {
		time.AfterFunc(50*time.Millisecond, func() {
			done(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time"})
		})
		return
	}
	s.Session.Publish(e, done)
}

// A window of one, a steady backlog, and a held subject that was repaired.
func TestWindowOfOneProbes(t *testing.T) {
	t.Parallel()
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
	synctest.Test(t, func(t *testing.T) {
		heap := func() int64 {
			runtime.GC()
			runtime.GC() // pools, too
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			return int64(s.HeapAlloc >> 20)
		}
		before := heap() // what other tests have left
		m := &memory{created: "1", none: true}
		r := memoryRig(t, m, func(o *bridge.Options) {
			o.Backoff = bridge.Backoff{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Multiplier: 2, Jitter: 0.5}
		})
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
	})
}

// A bulk event of a held subject with very many entities.
func TestTooManyEntitiesHeld(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.Type == "bulk" {
				return &bridge.Failure{Class: bridge.Held, Reason: "the NATS user may not publish"}
			}
			return nil
		}
	})
	for n := range 10 {
		d := bridge.Delivery{Source: "persat", ID: fmt.Sprint("bulk", n), Type: "bulk", Body: []byte("{}")}
		for i := range 30_000 {
			d.Entities = append(d.Entities, fmt.Sprint(n, "-", i))
		}
		r.accept(d, bridge.Accepted)
	}
	told := func() bool {
		return strings.Contains(fmt.Sprint(r.bridge.Status(t.Context()).Notices), "all later events wait, too")
	}
	testwait.Eventually(t, "a notice that the rest waits too", told)
	m.set(func() { m.fail = nil })
	r.drained()
	testwait.Eventually(t, "the end of the notice", func() bool { return !told() })
}
