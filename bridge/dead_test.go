package bridge_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A quarantined event (an id used again) that is replayed while events before it, which were
// accepted when it was, have not been read yet.
func TestReplayOfAnUnreadQuarantine(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// The digest of a dead letter is read from the store's memory after the iterator has
// gone on; requeued, the record has whatever is there then.
func TestRequeuedRecordKeepsItsDigest(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, dir: t.TempDir()}
	r.open(false, func(o *bridge.Options) { o.Publisher = &memory{} })
	const n = 600 // more bytes than the store keeps in its memory
	var group sync.WaitGroup
	slots := make(chan struct{}, 64)
	long := strings.Repeat("x", 60_000)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			d := delivery(fmt.Sprintf("a%d", i), fmt.Sprintf("%s%d", long, i))
			d.Body = fmt.Appendf(nil, "body %d", i)
			d.Unusable = "no"
			if _, err := r.bridge.Accept(t.Context(), d); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := r.journal.Flush(); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.open(false, func(o *bridge.Options) { o.Publisher = &memory{} })
	begin := time.Now()
	if k, refused, err := r.bridge.ReplayDead(t.Context(), bridge.Filter{}); err != nil || k != n {
		t.Fatalf("%d %d %v", k, refused, err)
	}
	t.Log(time.Since(begin))
	wrong := 0
	for item, err := range r.journal.AllPending() {
		if err != nil {
			t.Fatal(err)
		}
		body, err := r.journal.Body(item.Seq)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(body); !bytes.Equal(sum[:16], item.Digest) {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d requeued records have a wrong digest: repair would call them damaged", wrong, n)
	}
}

// The clock was set back after an event died.
func TestDeadLetterFromTheFutureCanBeReplayed(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, dir: t.TempDir()}
	r.open(false, func(o *bridge.Options) { o.Publisher = &memory{} })
	r.accept(delivery("a", "1"), bridge.Accepted)
	item, _, err := r.journal.Load(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.journal.MarkDead(item, journal.Death{At: time.Now().Add(time.Hour), Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	if n, refused, err := r.bridge.ReplayDead(t.Context(), bridge.Filter{IDs: []string{"a"}}); n != 1 || err != nil {
		t.Errorf("replayed %d, refused %d, %v: want 1", n, refused, err)
	}
}

// Two deliveries that reused an id for other bytes are replayed together.
func TestTwoDeadLettersOfOneID(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i, want := range []bridge.Outcome{bridge.Accepted, bridge.Quarantined, bridge.Quarantined} {
		d := delivery("same", "1")
		d.Body = fmt.Appendf(nil, `{"n":%d}`, i)
		r.accept(d, want)
	}
	r.drained()
	n, refused, err := r.bridge.ReplayDead(t.Context(), bridge.Filter{})
	if err != nil || n != 2 || refused != 0 {
		t.Fatalf("got %d, %d, %v", n, refused, err)
	}
	r.drained()
	if ids := m.stored(); len(ids) != 3 {
		t.Errorf("the stream has %v, want three events: one was swallowed as a duplicate", ids)
	}
}

// The operator hangs up while dead letters are replayed.
func TestReplayDeadWithAnOperatorWhoLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{created: "1"}
		r := memoryRig(t, m)
		m.set(func() {
			m.fail = func(e *bridge.Event) error {
				if e.Replay == 0 {
					return &bridge.Failure{Class: bridge.Rejected, Reason: "no"}
				}
				return nil
			}
		})
		r.acceptSeries("a", 20, "1")
		r.drained()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for i := range 20 {
			if n, _, _ := r.bridge.ReplayDead(gone, bridge.Filter{IDs: []string{fmt.Sprintf("a%d", i)}}); n != 1 {
				t.Fatalf("replayed %d", n)
			}
		}
		for deadline := time.Now().Add(4 * time.Second); len(m.stored()) < 20; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d of 20 are published, %d are pending for ever", len(m.stored()), r.bridge.Status(t.Context()).Pending)
			}
		}
	})
}
