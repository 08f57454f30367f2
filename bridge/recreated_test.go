package bridge_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// TestRecreatedStream: what to do is said, and replay does it.
func TestRecreatedStream(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.Registerer = registry })
	r.acceptMany(0, 200)
	r.drained()
	r.deleteStream()
	r.accept(delivery("after", "x"), bridge.Accepted)
	r.drained()
	var notice string
	testwait.Eventually(t, "a notice", func() bool {
		if notices := r.bridge.Status(t.Context()).Notices; len(notices) == 1 {
			notice = notices[0]
		}
		return notice != ""
	})
	if !strings.Contains(notice, "persat-bridge replay --since 20") {
		t.Errorf("notice %q does not have the command", notice)
	}
	if got := len(r.messages()); got != 1 || healed(t, registry) != 0 {
		t.Errorf("got %d messages, %v healed; want 1 and none: it may have been meant", got, healed(t, registry))
	}
	if n, err := r.bridge.CountReplay(t.Context(), bridge.Filter{}); err != nil || n != 201 {
		t.Errorf("count: got %d, %v; want 201", n, err)
	}
	replay, err := r.bridge.StartReplay(t.Context(), bridge.Filter{})
	if err != nil || replay.Matched != 201 || replay.Number != 1 {
		t.Fatalf("got %+v, %v", replay, err)
	}
	testwait.Eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	if now := r.bridge.ReplayNow(); now.Published != 201 || now.Failed+now.Skipped != 0 {
		t.Errorf("got %+v, want 201 published", now)
	}
	last := make(map[string]int)
	messages := r.messages()
	for _, m := range messages[1:] {
		id, entity := m.Header["Nats-Msg-Id"][0], m.Header["ce-subject"][0]
		if m.Header["Persat-Replay"][0] != "1" || !strings.HasSuffix(id, ":r1") {
			t.Errorf("got %q %q, want replay 1", id, m.Header["Persat-Replay"])
		}
		var i int
		if _, err := fmt.Sscanf(id, "persat:msg_%d:r1", &i); err == nil {
			if before, ok := last[entity]; ok && before > i {
				t.Errorf("entity %s: event %d is after %d", entity, i, before)
			}
			last[entity] = i
		}
	}
	if len(messages) != 202 {
		t.Errorf("got %d messages, want 202", len(messages))
	}
	if notices := r.bridge.Status(t.Context()).Notices; len(notices) != 0 {
		t.Errorf("the notice stays: %v", notices)
	}
}

// A stream that was made anew is "filled" though not one of its events could be published.
func TestNoticeOfWhatCannotBeFilled(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptSeries("a", 10, "1")
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	m.recreate()
	testwait.Eventually(t, "notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
	r.replayed(bridge.Filter{})
	if n := r.bridge.Status(t.Context()).Notices; len(n) == 0 {
		t.Errorf("the stream has %d of 10 events, replay %+v, and the notice is gone", len(m.stored()), *r.bridge.ReplayNow())
	}
}

// base counts the events of the stream by delivery id, replays or not.
func (r *rig) base() map[string]int {
	ids := make(map[string]int)
	for _, m := range r.messages() {
		if v := m.Header["ce-id"]; len(v) == 1 {
			ids[v[0]]++
		}
	}
	return ids
}

// recreated has published n events, then the stream was made anew; that has been noticed.
func (r *rig) recreated(n int) {
	r.acceptMany(0, n)
	r.drained()
	r.deleteStream()
	r.accept(delivery("after", "x"), bridge.Accepted)
	r.drained()
	testwait.Eventually(r.t, "a notice", func() bool { return len(r.bridge.Status(r.t.Context()).Notices) == 1 })
}

// NATS loses power right after the stream was filled, or in the middle of it.
func TestPowerLossAndFill(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"after", "during"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			const n = 1000
			registry := prometheus.NewRegistry()
			r := newRig(t)
			r.open(true, func(o *bridge.Options) { o.MaxInFlight = 4; o.Registerer = registry })
			r.recreated(n)
			kept := r.keepStore()
			if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
				t.Fatal(err)
			}
			if when == "during" {
				testwait.Eventually(t, "a part", func() bool { return r.bridge.ReplayNow().Published > 200 })
				r.losePower(kept)
			}
			testwait.Eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
			if when == "after" {
				r.losePower(kept)
				testwait.Eventually(t, "healed", func() bool { return healed(t, registry) > 0 })
			}
			r.accept(delivery("later", "y"), bridge.Accepted)
			r.drained()
			s, now, has := r.bridge.Status(t.Context()), r.bridge.ReplayNow(), len(r.base())
			if has != n+2 {
				t.Errorf("replay: %d published, %d failed, %d skipped; healed %v, gone %d, notices %q; the stream has %d of %d events, and the journal all their bodies",
					now.Published, now.Failed, now.Skipped, healed(t, registry), s.Gone, s.Notices, has, n+2)
			}
		})
	}
}

// The stream is made anew once more while it is being filled.
func TestRecreatedWhileFilling(t *testing.T) {
	t.Parallel()
	const n = 1000
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.MaxInFlight = 4 })
	r.recreated(n)
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	testwait.Eventually(t, "half", func() bool { return r.bridge.ReplayNow().Published > 200 })
	r.deleteStream()
	testwait.Eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	r.drained()
	now, notices, has := r.bridge.ReplayNow(), r.bridge.Status(t.Context()).Notices, len(r.base())
	if has < n && len(notices) == 0 || has == 0 {
		t.Errorf("replay: %d published, %d failed, %d skipped; no notice; the stream has %d of %d events", now.Published, now.Failed, now.Skipped, has, n+1)
	}
}

// The stream is made anew behind a living session, and others have filled it past our places.
func TestRecreatedAndFilledByOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	r.acceptMany(0, 5)
	r.drained()
	js, hangUp := r.js()
	defer hangUp()
	s, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
		t.Fatal(err)
	}
	natstest.CreateStream(t, js, config)
	for i := range 10 { // another bridge, say
		if _, err := js.Publish(t.Context(), "other.workorder.created", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1500 * time.Millisecond) // so that it is looked at before the next one is sent
	r.accept(delivery("b", "x"), bridge.Accepted)
	r.drained()
	testwait.Eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) > 0 })
}

// The command that fills a stream made anew, and what was accepted in one second and appended in the next.
func TestFillCommandHasTheFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.stopNATS()
	e, err := publisher.StartEmbedded(t.Context(), publisher.EmbeddedOptions{StoreDir: filepath.Join(r.dir, "nats"), MaxPayload: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r.nats.Store(e)
	r.open(true)
	d := delivery("first", "1")
	d.Body = []byte(`{"eventType":"workorder.created","payload":{"_id":"1","n":"` + strings.Repeat("x", 4<<20) + `"}}`)
	now := time.Now()
	time.Sleep(time.Until(now.Truncate(time.Second).Add(2*time.Second - 2*time.Millisecond)))
	r.accept(d, bridge.Accepted)
	r.drained()
	time.Sleep(20 * time.Millisecond)
	r.acceptMany(0, 5)
	r.drained()
	r.deleteStream()
	time.Sleep(1500 * time.Millisecond)
	r.accept(delivery("after", "x"), bridge.Accepted)
	r.drained()
	var notice string
	testwait.Eventually(t, "a notice", func() bool {
		for _, n := range r.bridge.Status(t.Context()).Notices {
			notice = n
		}
		return notice != ""
	})
	m := regexp.MustCompile(`--since (\S+) --until (\S+)`).FindStringSubmatch(notice)
	since, _ := time.Parse(time.RFC3339, m[1])
	until, _ := time.Parse(time.RFC3339, m[2])
	list, err := r.bridge.Events(t.Context(), bridge.EventQuery{Filter: bridge.Filter{IDs: []string{"first"}}, Limit: 10})
	if err != nil || len(list.Records) != 1 {
		t.Fatal(list, err)
	}
	r.replayed(bridge.Filter{Since: since, Until: until})
	if r.base()["first"] == 0 || len(r.bridge.Status(t.Context()).Notices) != 0 {
		t.Errorf("notice %q; accepted %s; replay %+v; the stream does not have it, or the notice stays", notice, list.Records[0].Accepted.Format(time.RFC3339Nano), *r.bridge.ReplayNow())
	}
}

// A fill waits for NATS while retention goes on.
func TestFillAndRetention(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	r.acceptMany(0, 100)
	r.drained()
	r.deleteStream()
	half := time.Now()
	time.Sleep(10 * time.Millisecond)
	r.acceptMany(100, 50)
	r.drained()
	testwait.Eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
	r.stopNATS()
	testwait.Eventually(t, "down", func() bool { return !r.bridge.Status(t.Context()).NATS.Up })
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	if n, err := r.journal.Trim(half, half); err != nil || n.Records != 100 { // what Run does each minute; their time is over
		t.Fatal(n, err)
	}
	r.startNATS()
	testwait.Eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	s := r.bridge.Status(t.Context())
	if has := len(r.base()); has < 150 && len(s.Notices) == 0 && s.Gone == 0 {
		t.Errorf("replay %+v; no notice, gone 0; the stream has %d of 150 events", *s.Replay, has)
	}
}

// What has not filled a stream that was made anew leaves its notice.
func TestNoticeStaysUntilTheStreamIsFilled(t *testing.T) {
	for name, do := range map[string]func(*rig, *memory){
		"a replay of one event": func(r *rig, _ *memory) { r.replayed(bridge.Filter{IDs: []string{"a3"}}) },
		"a replay of none":      func(r *rig, _ *memory) { r.replayed(bridge.Filter{IDs: []string{"none"}}) },
		"a replay that was cancelled": func(r *rig, m *memory) {
			m.set(func() {
				m.fail = func(*bridge.Event) error { return &bridge.Failure{Class: bridge.Held, Reason: "full"} }
			})
			if _, err := r.bridge.StartReplay(r.t.Context(), bridge.Filter{}); err != nil {
				r.t.Fatal(err)
			}
			r.bridge.CancelReplay()
			testwait.Eventually(r.t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
		},
		"a restart": func(r *rig, m *memory) {
			r.stop()
			r.open(true, func(o *bridge.Options) { o.Publisher = m })
			testwait.Eventually(r.t, "connected", func() bool { return r.bridge.Status(r.t.Context()).NATS.Up })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &memory{created: "1"}
			r := memoryRig(t, m)
			r.acceptSeries("a", 5, "1")
			r.drained()
			m.recreate()
			testwait.Eventually(t, "notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
			do(r, m)
			if len(r.bridge.Status(t.Context()).Notices) == 0 {
				t.Errorf("the notice is gone, and the stream has %d of 5 events", len(m.stored()))
			}
		})
	}
}
