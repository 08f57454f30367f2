package bridge_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// "the stream has lost 10 events whose bodies the journal no longer keeps …: ask the sender to send them again". The sender does.
func TestSentAgainAfterALossForGood(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.Registerer = registry })
	r.acceptMany(0, 5)
	r.drained()
	kept := r.keepStore()
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

// damagedAndRepaired has accepted a0, a1, a2; the disk has damaged a1's body; the operator has repaired the journal.
func damagedAndRepaired(t *testing.T) *rig {
	r := newRig(t)
	r.stopNATS()
	r.open(true)
	for _, id := range []string{"a0", "a1", "a2"} {
		r.accept(delivery(id, id), bridge.Accepted)
	}
	r.stop()
	dir, moved := filepath.Join(r.dir, "journal"), filepath.Join(r.dir, "old")
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	flipped := false
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, []byte(`"n":"a1"`)); i >= 0 {
			b[i+6] = 'X'
			flipped = os.WriteFile(name, b, 0o600) == nil
		}
	}
	if !flipped {
		t.Fatal("a1 is not in a log")
	}
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	report, err := journal.Repair(moved, dir, zap.NewNop())
	if err != nil || len(report.Damaged) != 1 || len(report.Lost) != 0 {
		t.Fatalf("%+v %v", report, err)
	}
	r.startNATS()
	r.open(true)
	r.drained()
	return r
}

// "its body is damaged; it is a dead letter now: have the sender send it again". The sender does.
func TestSentAgainAfterRepair(t *testing.T) {
	for _, discarded := range []bool{false, true} {
		r := damagedAndRepaired(t)
		_, dead, err := r.bridge.DeadLetters(bridge.Filter{}, 0, 10)
		if err != nil || len(dead) != 1 {
			t.Fatal(dead, err)
		}
		if discarded {
			if n, err := r.bridge.DiscardDead(t.Context(), bridge.Filter{}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		got, err := r.bridge.Accept(t.Context(), delivery("a1", "a1"))
		r.drained()
		time.Sleep(100 * time.Millisecond)
		var ids []string
		for _, m := range r.messages() {
			ids = append(ids, m.Header["Nats-Msg-Id"][0])
		}
		if index(ids, "persat:a1") < 0 {
			t.Errorf("dead letter: %q; discarded %v; the sender sends it again: %v %v; the stream has %v", dead[0].Reason, discarded, got, err, ids)
		}
	}
}

// accept.wait_for: stream. What is quarantined hears 202, and its repeat 503, for ever.
func TestRepeatOfAQuarantinedInStreamMode(t *testing.T) {
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.WaitForStream = true })
	eventually(t, "up", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	bad := bridge.Delivery{Source: "persat", ID: "x", Body: []byte("not JSON"), Unusable: "not JSON"}
	first, err := r.bridge.Accept(t.Context(), bad)
	again, err2 := r.bridge.Accept(t.Context(), bad)
	if first != bridge.Quarantined || err != nil || again != bridge.Duplicate || err2 != nil {
		t.Errorf("first %v %v, its repeat %v %v", first, err, again, err2)
	}
}

// A quarantined event (an id used again) that is replayed while events before it, which were
// accepted when it was, have not been read yet.
func TestReplayOfAnUnreadQuarantine(t *testing.T) {
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
	r.drained()
	if got := len(r.messages()); got != 3 {
		t.Errorf("the stream has %d messages, want all 3", got)
	}
}

func TestNumericIDs(t *testing.T) {
	r := newRig(t)
	r.open(false)
	bad := func(id, body string) {
		r.accept(bridge.Delivery{Source: "persat", ID: id, Body: []byte(body), Unusable: "not JSON"}, bridge.Quarantined)
	}
	bad("2", "one")
	bad("other", "two")
	if n, err := r.bridge.DiscardDead(t.Context(), bridge.Filter{IDs: []string{"2"}}); n != 0 || !errors.Is(err, bridge.ErrAmbiguous) {
		t.Errorf("by an id that is the number of record 2 and the delivery id of record 1: %d discarded, error %v", n, err)
	}
	n, err := r.bridge.DiscardDead(t.Context(), bridge.Filter{Records: []uint64{2}})
	_, left, _ := r.bridge.DeadLetters(bridge.Filter{}, 0, 10)
	if n != 1 || err != nil || len(left) != 1 || left[0].Record != 1 {
		t.Errorf("by the number of record 2: %d discarded, error %v; left %+v", n, err, left)
	}
}
