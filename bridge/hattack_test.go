package bridge_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
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

// A quarantined event (an id used again) that is replayed while events before it, which were
// accepted when it was, have not been read yet.
func TestAttackReplayedQuarantineIsStuck(t *testing.T) {
	r := newRig(t)
	r.stopNATS()
	r.open(true)
	r.accept(delivery("a", "1"), bridge.Accepted)
	other := delivery("a", "1")
	other.Body = []byte(`{"eventType":"workorder.created","payload":{"_id":"1","n":"other"}}`)
	r.accept(other, bridge.Quarantined)
	r.accept(delivery("c", "2"), bridge.Accepted)
	if n, refused, err := r.bridge.ReplayDead(t.Context(), bridge.Filter{}); n != 1 || refused != 0 || err != nil {
		t.Fatal(n, refused, err)
	}
	r.startNATS()
	eventually(t, "published", func() bool { return r.bridge.Status(t.Context()).Pending <= 1 })
	for i := range 20 {
		r.accept(delivery(fmt.Sprint("d", i), "1"), bridge.Accepted)
	}
	time.Sleep(5 * time.Second)
	s := r.bridge.Status(t.Context())
	var ids []string
	for _, m := range r.messages() {
		ids = append(ids, m.Header["Nats-Msg-Id"][0])
	}
	if s.Pending != 0 {
		t.Errorf("5 s after NATS came back: pending %d, held %v, notices %q, NATS up %v; the stream has %v", s.Pending, s.Held, s.Notices, s.NATS.Up, ids)
	}
}

// The stream is made anew once more while it is being filled.
func TestAttackMadeAnewWhileFilling(t *testing.T) {
	const n = 3000
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.MaxInFlight = 4 })
	r.acceptMany(0, n)
	r.drained()
	remake := func() {
		js, hangUp := r.js()
		defer hangUp()
		if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
			t.Fatal(err)
		}
	}
	remake()
	r.accept(delivery("after", "x"), bridge.Accepted)
	r.drained()
	eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "half", func() bool { return r.bridge.ReplayNow().Published > 500 })
	remake()
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	r.drained()
	now, notices, has := r.bridge.ReplayNow(), r.bridge.Status(t.Context()).Notices, len(r.base())
	if has < n && len(notices) == 0 {
		t.Errorf("replay: %d published, %d failed, %d skipped; no notice; the stream has %d of %d events", now.Published, now.Failed, now.Skipped, has, n+1)
	}
}

func (r *rig) losePower(kept string) {
	r.stopNATS()
	store := filepath.Join(r.dir, "nats")
	if err := os.RemoveAll(store); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(kept, store); err != nil {
		r.t.Fatal(err)
	}
	r.startNATS()
}

// NATS loses power right after the stream was filled, or in the middle of it.
func TestAttackPowerLossAndFill(t *testing.T) {
	for _, when := range []string{"after", "during"} {
		t.Run(when, func(t *testing.T) {
			const n = 3000
			registry := prometheus.NewRegistry()
			r := newRig(t)
			r.open(true, func(o *bridge.Options) { o.MaxInFlight = 4; o.Registerer = registry })
			r.acceptMany(0, n)
			r.drained()
			js, hangUp := r.js()
			if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
				t.Fatal(err)
			}
			hangUp()
			r.accept(delivery("after", "x"), bridge.Accepted)
			r.drained()
			eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
			kept := filepath.Join(r.dir, "kept")
			if err := os.CopyFS(kept, os.DirFS(filepath.Join(r.dir, "nats"))); err != nil {
				t.Fatal(err)
			}
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
				eventually(t, "down", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
				time.Sleep(2 * time.Second)
			}
			r.accept(delivery("later", "y"), bridge.Accepted)
			r.drained()
			s, now, has := r.bridge.Status(t.Context()), r.bridge.ReplayNow(), len(r.base())
			if has < n && len(s.Notices) == 0 {
				t.Errorf("replay: %d published, %d failed, %d skipped; healed %v, gone %d, no notice; the stream has %d of %d events, and the journal all their bodies", now.Published, now.Failed, now.Skipped, healed(t, registry), s.Gone, has, n+2)
			}
		})
	}
}

// The stream is made anew behind a living session, and others have filled it past our places.
func TestAttackMadeAnewIsNotTold(t *testing.T) {
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
	wait := 75 * time.Second
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if len(r.bridge.Status(t.Context()).Notices) > 0 {
			return
		}
	}
	st := r.bridge.Status(t.Context())
	t.Errorf("after %v: NATS up %v, notices %q, gone %d; the stream has %d of 6 events", wait, st.NATS.Up, st.Notices, st.Gone, len(r.base()))
}

// The command that fills a stream made anew, and what was accepted in one second and appended in the next.
func TestAttackFillCommandMissesTheFirst(t *testing.T) {
	for range 20 {
		r := &rig{t: t, dir: t.TempDir()}
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
		js, hangUp := r.js()
		if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
			t.Fatal(err)
		}
		hangUp()
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
		missing, notices := r.base()["first"] == 0, r.bridge.Status(t.Context()).Notices
		r.stop()
		r.stopNATS()
		if missing && len(notices) == 0 {
			t.Fatalf("notice %q; accepted %s; replay %+v; now no notice, and the stream does not have it", notice, records[0].Accepted.Format(time.RFC3339Nano), *r.bridge.ReplayNow())
		}
	}
}

// An id used again is quarantined; its repeat after the first use has left the window.
func TestAttackRepeatOfAQuarantined(t *testing.T) {
	r := newRig(t)
	j, err := journal.Open(journal.Options{Dir: filepath.Join(r.dir, "journal"), DedupWindow: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bridge.New(bridge.Options{Journal: j, Publisher: publisherNow{r}, Sources: []string{"persat"}, DedupWindow: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	r.journal, r.bridge = j, b
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	defer func() { cancel(); <-ended; j.Close() }()

	r.accept(delivery("a", "1"), bridge.Accepted)
	other := delivery("a", "1")
	other.Body = []byte(`{"eventType":"workorder.created","payload":{"_id":"1","n":"other"}}`)
	time.Sleep(1500 * time.Millisecond)
	r.accept(other, bridge.Quarantined)
	if n, err := r.bridge.DiscardDead(t.Context(), bridge.Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r.drained()
	time.Sleep(700 * time.Millisecond) // 0.7 s after it was taken, its window is 2 s
	got, err := r.bridge.Accept(t.Context(), other)
	r.drained()
	time.Sleep(100 * time.Millisecond)
	_, dead, _ := r.bridge.DeadLetters(bridge.Filter{}, 10)
	if got != bridge.Duplicate {
		t.Errorf("the repeat of a discarded delivery, 0.7 s after it: %v %v; the stream has %d messages; dead %+v", got, err, len(r.messages()), dead)
	}
}

func TestAttackNumericIDs(t *testing.T) {
	r := newRig(t)
	r.open(false)
	bad := func(id, body string) {
		r.accept(bridge.Delivery{Source: "persat", ID: id, Body: []byte(body), Unusable: "not JSON"}, bridge.Quarantined)
	}
	bad("2", "one")
	bad("other", "two")
	// What the page's button on record 2 sends.
	n, err := r.bridge.DiscardDead(t.Context(), bridge.Filter{IDs: []string{"2"}})
	if n != 1 || err != nil {
		t.Errorf("discarding record 2 discarded %d: also record 1, whose delivery id is 2 (%v)", n, err)
	}
}
