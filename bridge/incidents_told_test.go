package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A loss for good, and the process is killed right after the journal has forgotten the places of what was lost.
func TestKilledBeforeALossIsTold(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptMany(0, 20)
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); err != nil || n != 20 {
		t.Fatal(n, err)
	}
	r.stop()
	m.set(func() { m.ids, m.bodies = m.ids[:10:10], m.bodies[:10:10] })
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
func TestTooManyEntitiesHeld(t *testing.T) {
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
		return strings.Contains(fmt.Sprint(r.bridge.Status(t.Context()).Notices), "accepted after them wait too")
	}
	eventually(t, "a notice that the rest waits too", told)
	m.set(func() { m.fail = nil })
	r.drained()
	eventually(t, "the end of the notice", func() bool { return !told() })
}
