package bridge_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// The digest of a dead letter is read from the store's memory after the iterator has
// gone on; requeued, the record has whatever is there then.
func TestRevivedRecordKeepsItsDigest(t *testing.T) {
	r := &rig{t: t, dir: t.TempDir()}
	r.open(false, func(o *bridge.Options) { o.Publisher = &memory{} })
	const n = 6000
	var group sync.WaitGroup
	slots := make(chan struct{}, 64)
	long := strings.Repeat("x", 6000)
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

// With a small window, the probes of held subjects take every place in it, and a subject
// that works is never sent. Times are those of the defaults, a hundredth of each.
func TestProbesDoNotStarveSubjectsThatWork(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) {
		o.MaxInFlight = 1
		o.Publisher = slow{m}
		o.Backoff = bridge.Backoff{Initial: time.Millisecond, Max: 300 * time.Millisecond, Multiplier: 2, Jitter: 0.5}
	})
	for i := range 15 {
		d := delivery(fmt.Sprintf("d%d", i), fmt.Sprint("e", i))
		d.Type = fmt.Sprintf("denied.t%d", i)
		r.accept(d, bridge.Accepted)
	}
	time.Sleep(1500 * time.Millisecond) // all are held
	r.accept(delivery("works", "1"), bridge.Accepted)
	for deadline := time.Now().Add(6 * time.Second); index(m.stored(), "persat:works") < 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("after 6 s, ten minutes in real time, the event of a subject that works is not sent")
		}
	}
}

// The clock was set back after an event died.
func TestDeadLetterFromTheFutureCanBeReplayed(t *testing.T) {
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

// A replay goes through records of one id twice: the published one and a conflict that
// was replayed from the dead letters.
func TestReplayOfTwoRecordsOfOneID(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	d := delivery("same", "1")
	r.accept(d, bridge.Accepted)
	d.Body = []byte(`{"n":2}`)
	r.accept(d, bridge.Quarantined)
	if _, _, err := r.bridge.ReplayDead(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	r.drained()
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	if ids := m.stored(); len(ids) != 4 {
		t.Errorf("replay says %+v, the stream has %v, want 4", *r.bridge.ReplayNow(), ids)
	}
}

// slow answers for a denied subject as late as an attempt without permission does.
type slow struct{ m *memory }

func (s slow) Connect(ctx context.Context) (bridge.Session, error) {
	in, err := s.m.Connect(ctx)
	return slowSession{in}, err
}

type slowSession struct{ bridge.Session }

func (s slowSession) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	if strings.HasPrefix(e.Type, "denied") {
		time.AfterFunc(50*time.Millisecond, func() {
			done(bridge.Receipt{}, &bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time"})
		})
		return
	}
	s.Session.Publish(e, done)
}
