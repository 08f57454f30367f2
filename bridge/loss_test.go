package bridge_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// "the stream has lost 10 events whose content the journal no longer keeps …: ask the sender to send it again". The sender does.
func TestSentAgainAfterAnUnrecoverableLoss(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.Registerer = registry })
	r.acceptMany(0, 5)
	r.drained()
	kept := r.keepStore()
	r.acceptSeries("b", 10, "")
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); err != nil || n != 15 { // what journal.max_bytes does
		t.Fatal(n, err)
	}
	r.losePower(kept)
	testwait.Eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) > 0 })
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

// The bodies were dropped for want of room, then the stream loses its tail.
func TestUnrecoverableLossIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		core, logs := observer.New(zap.InfoLevel)
		r := memoryRig(t, m, func(o *bridge.Options) { o.Log = zap.New(core) })
		r.acceptSeries("a", 10, "1")
		r.drained()
		if n, _, err := r.journal.DropPublished(1 << 30); n != 10 || err != nil {
			t.Fatal(n, err)
		}
		m.set(func() { m.ids, m.bodies = m.ids[:5:5], m.bodies[:5:5]; m.sessions[len(m.sessions)-1].Close() })
		time.Sleep(300 * time.Millisecond)
		logs.TakeAll()
		m.cut()
		time.Sleep(300 * time.Millisecond)
		said := false
		for _, e := range logs.All() {
			t.Log(e.Message, e.ContextMap())
			said = said || e.Message != "connection to NATS lost; events are taken and wait on disk" && e.Message != "connected to NATS"
		}
		if s := r.bridge.Status(t.Context()); !said && len(s.Notices) == 0 {
			t.Errorf("the stream has %d of 10 events, and neither log nor status say so: %+v", len(m.stored()), s)
		}
	})
}

// A loss for good, and the process is killed right after the journal has forgotten the places of what was lost.
func TestKilledBeforeALossIsReported(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptMany(0, 20)
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); err != nil || n != 20 {
		t.Fatal(n, err)
	}
	r.stop()
	m.rollBack(10)
	j, err := journal.Open(journal.Options{Dir: r.dir + "/journal"})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := j.Unpublish(11, func(journal.Item) {}) // heal.go, heal; the kill comes when it has returned
	if err != nil || gone != 10 {
		t.Fatal(gone, err)
	}
	j.Close()
	r.open(true, func(o *bridge.Options) { o.Publisher = m })
	if s := r.bridge.Status(t.Context()); s.Gone != 10 || !strings.Contains(fmt.Sprint(s.Notices), "lost 10 events") {
		t.Errorf("gone %d, notices %q; the stream has %d of 20 events", s.Gone, s.Notices, len(m.stored()))
	}
}

// Two losses for good, and what the notice says of them.
func TestNoticeOfTwoLosses(t *testing.T) {
	t.Parallel()
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
		testwait.Eventually(t, "told", func() bool { return r.bridge.Status(t.Context()).Gone > before })
	}
	r.acceptSeries("a", 20, "1")
	r.drained()
	lose(10)
	r.accept(delivery("b", "1"), bridge.Accepted)
	r.drained()
	lose(1)
	if s := r.bridge.Status(t.Context()); s.Gone != 11 || !strings.Contains(fmt.Sprint(s.Notices), "lost 11 events") {
		t.Errorf("gone %d, notices %q", s.Gone, s.Notices)
	}
}
