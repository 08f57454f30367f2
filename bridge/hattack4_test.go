package bridge_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// "the stream has lost 10 events whose bodies the journal no longer keeps …: ask the sender to send them again". The sender does.
func TestAttackSentAgainAfterALossForGood(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.Registerer = registry })
	r.acceptMany(0, 5)
	r.drained()
	kept := filepath.Join(r.dir, "kept")
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(r.dir, "nats"))); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		r.accept(delivery(fmt.Sprint("b", i), fmt.Sprint(i)), bridge.Accepted)
	}
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); err != nil || n != 15 { // what journal.max_bytes does
		t.Fatal(n, err)
	}
	r.losePower(kept)
	eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) > 0 })
	outcomes := make(map[bridge.Outcome]int)
	for i := range 10 {
		got, err := r.bridge.Accept(t.Context(), delivery(fmt.Sprint("b", i), fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		outcomes[got]++
	}
	r.drained()
	time.Sleep(100 * time.Millisecond)
	if has := len(r.messages()); has != 15 {
		t.Errorf("notice %q; the sender has sent all 10 again: outcomes %v; the stream has %d of 15 events", r.bridge.Status(t.Context()).Notices, outcomes, has)
	}
}

// Two losses for good, and what the notice says of them.
func TestAttackNoticeOfTwoLosses(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	lose := func(n int) {
		if _, _, err := r.journal.DropPublished(1 << 30); err != nil {
			t.Fatal(err)
		}
		before := r.bridge.Status(t.Context()).Gone
		m.set(func() {
			k := len(m.ids) - n
			m.ids, m.bodies = m.ids[:k:k], m.bodies[:k:k]
			m.sessions[len(m.sessions)-1].Close()
		})
		eventually(t, "told", func() bool { return r.bridge.Status(t.Context()).Gone > before })
	}
	for i := range 20 {
		r.accept(delivery(fmt.Sprint("a", i), "1"), bridge.Accepted)
	}
	r.drained()
	lose(10)
	r.accept(delivery("b", "1"), bridge.Accepted)
	r.drained()
	lose(1)
	if s := r.bridge.Status(t.Context()); s.Gone != 11 || !strings.Contains(fmt.Sprint(s.Notices), "lost 11 events") {
		t.Errorf("gone %d, notices %q", s.Gone, s.Notices)
	}
}

// A bulk event of a held subject with very many entities.
func TestAttackHeldBulkEventHoldsAll(t *testing.T) {
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
	time.Sleep(time.Second)
	r.accept(delivery("small", "another"), bridge.Accepted)
	time.Sleep(35 * time.Second)
	if s := r.bridge.Status(t.Context()); index(m.stored(), "persat:small") < 0 {
		t.Errorf("10 held events; an event of another type and entity is not published after 35 s; pending %d, held %+v, notices %q", s.Pending, s.Held, s.Notices)
	}
}
