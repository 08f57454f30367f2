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
	"github.com/persat-bridge/persat-bridge/publisher"
)

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

// madeAnew has published n events, then the stream was made anew; that has been noticed.
func (r *rig) madeAnew(n int) {
	r.acceptMany(0, n)
	r.drained()
	r.deleteStream()
	r.accept(delivery("after", "x"), bridge.Accepted)
	r.drained()
	eventually(r.t, "a notice", func() bool { return len(r.bridge.Status(r.t.Context()).Notices) == 1 })
}

// NATS loses power right after the stream was filled, or in the middle of it.
func TestPowerLossAndFill(t *testing.T) {
	for _, when := range []string{"after", "during"} {
		t.Run(when, func(t *testing.T) {
			const n = 3000
			registry := prometheus.NewRegistry()
			r := newRig(t)
			r.open(true, func(o *bridge.Options) { o.MaxInFlight = 4; o.Registerer = registry })
			r.madeAnew(n)
			kept := r.keepStore()
			if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
				t.Fatal(err)
			}
			if when == "during" {
				eventually(t, "a part", func() bool { return r.bridge.ReplayNow().Published > 500 })
				r.losePower(kept)
			}
			eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
			if when == "after" {
				r.losePower(kept)
				eventually(t, "healed", func() bool { return healed(t, registry) > 0 })
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
func TestMadeAnewWhileFilling(t *testing.T) {
	const n = 3000
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.MaxInFlight = 4 })
	r.madeAnew(n)
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "half", func() bool { return r.bridge.ReplayNow().Published > 500 })
	r.deleteStream()
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	r.drained()
	now, notices, has := r.bridge.ReplayNow(), r.bridge.Status(t.Context()).Notices, len(r.base())
	if has < n && len(notices) == 0 || has == 0 {
		t.Errorf("replay: %d published, %d failed, %d skipped; no notice; the stream has %d of %d events", now.Published, now.Failed, now.Skipped, has, n+1)
	}
}

// The stream is made anew behind a living session, and others have filled it past our places.
func TestMadeAnewAndFilledByOthers(t *testing.T) {
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
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for i := range 10 { // another bridge, say
		if _, err := js.Publish(t.Context(), "other.workorder.created", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1500 * time.Millisecond) // so that it is looked at before the next one is sent
	r.accept(delivery("b", "x"), bridge.Accepted)
	r.drained()
	eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) > 0 })
}

// The command that fills a stream made anew, and what was accepted in one second and appended in the next.
func TestFillCommandHasTheFirst(t *testing.T) {
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
	eventually(t, "a notice", func() bool {
		for _, n := range r.bridge.Status(t.Context()).Notices {
			notice = n
		}
		return notice != ""
	})
	m := regexp.MustCompile(`--since (\S+) --until (\S+)`).FindStringSubmatch(notice)
	since, _ := time.Parse(time.RFC3339, m[1])
	until, _ := time.Parse(time.RFC3339, m[2])
	records, _, err := r.bridge.Events(t.Context(), bridge.Filter{IDs: []string{"first"}}, 0, 10)
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{Since: since, Until: until}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	if r.base()["first"] == 0 || len(r.bridge.Status(t.Context()).Notices) != 0 {
		t.Errorf("notice %q; accepted %s; replay %+v; the stream does not have it, or the notice stays", notice, records[0].Accepted.Format(time.RFC3339Nano), *r.bridge.ReplayNow())
	}
}

// A fill waits for NATS while retention goes on.
func TestFillAndRetention(t *testing.T) {
	r := newRig(t)
	r.open(true)
	r.acceptMany(0, 100)
	r.drained()
	r.deleteStream()
	half := time.Now()
	time.Sleep(10 * time.Millisecond)
	r.acceptMany(100, 50)
	r.drained()
	eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
	r.stopNATS()
	eventually(t, "down", func() bool { return !r.bridge.Status(t.Context()).NATS.Up })
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	if n, err := r.journal.Trim(half, half); err != nil || n.Records != 100 { // what Run does each minute; their time is over
		t.Fatal(n, err)
	}
	r.startNATS()
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	s := r.bridge.Status(t.Context())
	if has := len(r.base()); has < 150 && len(s.Notices) == 0 && s.Gone == 0 {
		t.Errorf("replay %+v; no notice, gone 0; the stream has %d of 150 events", *s.Replay, has)
	}
}
