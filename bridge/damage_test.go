package bridge_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

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
func TestSentAgainAfterRepair(t *testing.T) {
	t.Parallel()
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

// One flipped byte among the bodies of published events, which nobody needs any more, ends the
// process at every start.
func TestDamagedBodyEndsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	random := rand.NewChaCha8([32]byte{})
	for i := range 100 {
		d := delivery(fmt.Sprint("a", i), fmt.Sprint(i))
		d.Body = make([]byte, 2000)
		random.Read(d.Body)
		r.accept(d, bridge.Accepted)
	}
	r.drained()
	if err := r.journal.Flush(); err != nil {
		t.Fatal(err)
	}
	r.stop()
	var largest string
	var size int64
	names, _ := filepath.Glob(filepath.Join(r.dir, "journal", "*.sst"))
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Size() > size {
			largest, size = name, info.Size()
		}
	}
	b, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	b[size/3] ^= 0x10
	if err := os.WriteFile(largest, b, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(journal.Options{Dir: filepath.Join(r.dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	br, err := bridge.New(bridge.Options{Journal: j, Publisher: publisherNow{r}, Sources: []string{"persat"},
		Retention: time.Nanosecond, DedupWindow: time.Hour, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := br.Run(ctx); err != nil {
		t.Errorf("Run ends, and so the process, again and again: %v (journal failed: %v)", err, j.Err())
	}
}

// One flipped byte among the keys of published records: every look at the stream fails on it, and nothing
// is ever sent again.
func TestDamagedKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	for i := range 300 {
		r.accept(delivery(fmt.Sprint("a", i, "-", rand.Uint64()), fmt.Sprint(i)), bridge.Accepted)
	}
	r.drained()
	if err := r.journal.Flush(); err != nil {
		t.Fatal(err)
	}
	r.stop()
	names, _ := filepath.Glob(filepath.Join(r.dir, "journal", "*.sst"))
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, []byte("workorder.created")); i >= 0 && len(b) > 30000 {
			b[len(b)*2/5] ^= 0x10
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	j, err := journal.Open(journal.Options{Dir: filepath.Join(r.dir, "journal")})
	if err != nil {
		t.Skip("it does not open: ", err)
	}
	defer j.Close()
	br, err := bridge.New(bridge.Options{Journal: j, Publisher: publisherNow{r}, Sources: []string{"persat"}, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := br.Accept(t.Context(), delivery("b", "1")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- br.Run(ctx) }()
	r.bridge = br
	r.drained()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}
