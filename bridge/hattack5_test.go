package bridge_test

import (
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A loss for good, and the process is killed right after the journal has forgotten the places of what was lost.
func TestAttackKilledBeforeALossIsTold(t *testing.T) {
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
	gone, err := j.Reopen(11, func(journal.Item) {}) // heal.go, heal; the kill comes when it has returned
	if err != nil || gone != 10 {
		t.Fatal(gone, err)
	}
	j.Close()
	r.open(true, func(o *bridge.Options) { o.Publisher = m })
	eventually(t, "up", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	time.Sleep(time.Second)
	if s := r.bridge.Status(t.Context()); s.Gone == 0 && len(s.Notices) == 0 {
		t.Errorf("gone %d, notices %q; the stream has %d of 20 events", s.Gone, s.Notices, len(m.stored()))
	}
}
