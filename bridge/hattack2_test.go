package bridge_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A fill waits for NATS while retention goes on.
func TestAttackFillAndRetention(t *testing.T) {
	r := newRig(t)
	r.open(true)
	r.acceptMany(0, 100)
	r.drained()
	js, hangUp := r.js()
	if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
		t.Fatal(err)
	}
	hangUp()
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

// The same as TestAttackRepeatOfAQuarantined, replayed instead of discarded, and past the stream's window.
func TestAttackQuarantinedIsStoredTwice(t *testing.T) {
	r := newRig(t)
	js, hangUp := r.js()
	defer hangUp()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>", "other.>"}, Duplicates: 500 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(journal.Options{Dir: filepath.Join(r.dir, "journal"), DedupWindow: 3 * time.Second}) // stand for 2 h and 72 h
	if err != nil {
		t.Fatal(err)
	}
	b, err := bridge.New(bridge.Options{Journal: j, Publisher: publisherNow{r}, Sources: []string{"persat"}, DedupWindow: 3 * time.Second})
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
	time.Sleep(2 * time.Second)
	r.accept(other, bridge.Quarantined)
	if n, _, err := b.ReplayDead(t.Context(), bridge.Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r.drained()
	time.Sleep(1200 * time.Millisecond)
	got, err := b.Accept(t.Context(), other) // 1.2 s after it was taken; its window is 3 s
	r.drained()
	n := 0
	for _, m := range r.messages() {
		if string(m.Data) == string(other.Body) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("its repeat is %v (%v), and the stream has it %d times", got, err, n)
	}
}

// accept.wait_for: stream. What is quarantined hears 202, and its repeat 503, for ever.
func TestAttackRepeatOfAQuarantinedInStreamMode(t *testing.T) {
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.WaitForStream = true })
	eventually(t, "up", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	bad := bridge.Delivery{Source: "persat", ID: "x", Body: []byte("not JSON"), Unusable: "not JSON"}
	first, err := r.bridge.Accept(t.Context(), bad)
	again, err2 := r.bridge.Accept(t.Context(), bad)
	if err == nil && err2 != nil {
		t.Errorf("first %v %v, its repeat %v %v", first, err, again, err2)
	}
}
