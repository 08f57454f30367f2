package bridge_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// What is pending when a replay begins is published, and then published once more by the replay,
// which had not counted it: else an older event of its entity would come last.
func TestReplayCountsWhatWasPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		r.acceptSeries("a", 300, "")
		r.drained()
		m.set(func() {
			m.look = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() } // an outage
			m.sessions[len(m.sessions)-1].Close()
		})
		time.Sleep(50 * time.Millisecond)
		r.acceptSeries("b", 200, "2")
		if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
			t.Fatal(err)
		}
		m.set(func() { m.look = nil; m.sessions[len(m.sessions)-1].Close() })
		testwait.Eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
		r.drained()
		if now := r.bridge.ReplayNow(); now.Published != now.Matched {
			t.Errorf("the replay has published %d of %d events", now.Published, now.Matched)
		}
	})
}

// CountReplay counts those that "still have their bodies".
func TestCountReplayOfWhatIsDropped(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptSeries("a", 10, "1")
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := r.bridge.CountReplay(t.Context(), bridge.Filter{}); n != 0 || err != nil {
		t.Errorf("--dry-run says that %d events would be published, %v; none can", n, err)
	}
}

// A cancelled replay does not end while one of its events stands behind a held one of its entity; until
// then no other replay can begin.
func TestCancelledReplayBehindAHeldEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		r.accept(delivery("a", "1"), bridge.Accepted)
		r.drained()
		tried := make(chan struct{}, 1000)
		m.set(func() {
			m.fail = func(e *bridge.Event) error {
				if e.Type != "held" {
					return nil
				}
				tried <- struct{}{}
				return &bridge.Failure{Class: bridge.Held, Reason: "no permission"}
			}
		})
		d := delivery("b", "1")
		d.Type = "held"
		r.accept(d, bridge.Accepted)
		<-tried
		if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		r.bridge.CancelReplay()
		time.Sleep(2 * time.Second)
		if now := r.bridge.ReplayNow(); now.Running {
			_, err := r.bridge.StartReplay(t.Context(), bridge.Filter{})
			t.Errorf("2 s after it was cancelled the replay runs: %+v; another: %v", *now, err)
		}
	})
}

// A replay goes through records of one id twice: the published one and a conflict that
// was replayed from the dead letters.
func TestReplayOfTwoRecordsOfOneID(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	d := delivery("same", "1")
	r.accept(d, bridge.Accepted)
	d.Body = []byte(`{"n":2}`)
	r.accept(d, bridge.Quarantined)
	if _, _, err := r.bridge.ReplayDead(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	r.drained()
	r.replayed(bridge.Filter{})
	if ids := m.stored(); len(ids) != 4 {
		t.Errorf("replay says %+v, the stream has %v, want 4", *r.bridge.ReplayNow(), ids)
	}
}

// A heal in the middle of a replay.
func TestReplayCountsAfterAHeal(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) { o.MaxInFlight = 8 })
	r.accept(delivery("blocked", "B"), bridge.Accepted)
	r.acceptSeries("a", 20, "")
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
	testwait.Eventually(t, "most", func() bool { return r.bridge.ReplayNow().Published >= 19 })
	m.set(func() {
		m.fail = nil
		m.ids, m.bodies = m.ids[:20:20], m.bodies[:20:20] // event 21 and the replayed ones
		m.sessions[len(m.sessions)-1].Close()
	})
	testwait.Eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	now := r.bridge.ReplayNow()
	if now.Published > now.Matched {
		t.Errorf("replay: %+v", *now)
	}
}

// A replay of events whose subject is held cannot be ended.
func TestReplayOfAHeldSubjectCanBeCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m, func(o *bridge.Options) { o.MaxInFlight = 4 })
		d := delivery("a", "1")
		d.Source = "other"
		r.accept(d, bridge.Accepted)
		r.accept(delivery("b", "1"), bridge.Accepted)
		r.drained()
		m.set(func() {
			m.fail = func(e *bridge.Event) error {
				if e.Source == "other" {
					return &bridge.Failure{Class: bridge.Held, Reason: "source is not configured any more"}
				}
				return nil
			}
		})
		if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		t.Logf("before cancel: %+v", *r.bridge.ReplayNow())
		r.bridge.CancelReplay()
		for deadline := time.Now().Add(4 * time.Second); r.bridge.ReplayNow().Running; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("cancelled, and still: %+v", *r.bridge.ReplayNow())
			}
		}
	})
}
