package bridge_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

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
func TestAttackSentAgainAfterRepair(t *testing.T) {
	for _, discarded := range []bool{false, true} {
		r := damagedAndRepaired(t)
		_, dead, err := r.bridge.DeadLetters(bridge.Filter{}, 10)
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
