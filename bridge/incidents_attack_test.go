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

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A loss was noted while the journal had no places any more (all were past their time). The note
// stays, and the next session opens all that was published since, which the stream has.
func TestNotedLossWithoutPlaces(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) { o.Registerer = registry })
	for i := range 10 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	later := time.Now().Add(time.Hour)
	if n, err := r.journal.Trim(later, later); err != nil || n.Records != 10 { // retention has passed
		t.Fatal(n, err)
	}
	m.set(func() { m.ids, m.bodies = m.ids[:8:8], m.bodies[:8:8] }) // behind a living connection
	r.accept(delivery("b0", "1"), bridge.Accepted)
	r.drained()
	for i := range 50 {
		r.accept(delivery(fmt.Sprintf("c%d", i), fmt.Sprint(i)), bridge.Accepted)
	}
	r.drained()
	m.cut() // days later; nothing is lost
	r.accept(delivery("d", "1"), bridge.Accepted)
	r.drained()
	sent := make(map[string]int)
	m.set(func() {
		for _, id := range m.sent {
			sent[id]++
		}
	})
	again := 0
	for i := range 50 {
		if sent[fmt.Sprintf("persat:c%d", i)] > 1 {
			again++
		}
	}
	if h := healed(t, registry); h > 0 || again > 0 {
		t.Errorf("%v events 'healed', %d sent again, of which the stream had lost none: past the duplicate window they are stored twice", h, again)
	}
}

// goesBackInASilence has the server that has the stream start again without its last
// events, and a new one accepted after that.
func goesBackInASilence(t *testing.T, m *memory, r *rig) {
	t.Helper()
	time.Sleep(1500 * time.Millisecond)
	m.set(func() { m.ids, m.bodies = m.ids[:3:3], m.bodies[:3:3] })
	r.accept(delivery("new", "1"), bridge.Accepted)
	r.drained()
	time.Sleep(200 * time.Millisecond)
	r.drained()
	m.holdsOldBeforeNew(t)
}

// holdsOldBeforeNew looks for a4 before new, which was accepted after it for the same entity.
func (m *memory) holdsOldBeforeNew(t *testing.T) {
	t.Helper()
	ids := m.stored()
	if old, new := index(ids, "persat:a4"), index(ids, "persat:new"); old < 0 || old > new {
		t.Errorf("the stream has %v: new stands before a4 of the same entity, which was accepted before it", ids)
	}
}

// A rollback behind a living connection, with a replay at the end of the stream: the watch looks
// up a place that is no record's, and finds all well.
func TestRollbackAfterAReplay(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{IDs: []string{"a0"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	goesBackInASilence(t, m, r)
}

// What is pending when a replay begins is published, and then published once more by the replay,
// which had not counted it: else an older event of its entity would come last.
func TestReplayCountsWhatWasPending(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 300 {
		r.accept(delivery(fmt.Sprintf("a%d", i), fmt.Sprint(i)), bridge.Accepted)
	}
	r.drained()
	m.set(func() {
		m.look = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() } // an outage
		m.sessions[len(m.sessions)-1].Close()
	})
	time.Sleep(50 * time.Millisecond)
	for i := range 200 {
		r.accept(delivery(fmt.Sprintf("b%d", i), "2"), bridge.Accepted)
	}
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	m.set(func() { m.look = nil; m.sessions[len(m.sessions)-1].Close() })
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	r.drained()
	if now := r.bridge.ReplayNow(); now.Published != now.Matched {
		t.Errorf("the replay has published %d of %d events", now.Published, now.Matched)
	}
}

// One flipped byte among the bodies of published events, which nobody needs any more, ends the
// process at every start.
func TestDamagedBodyEndsNothing(t *testing.T) {
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

// While a look beside the sending has no answer, a silence makes nothing wait: an event goes into the
// stream that has gone back.
func TestLookBesideHoldsBack(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	looking, answer := make(chan struct{}, 10), make(chan struct{})
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.ID == "slow" { // its acknowledgement takes a while: the place before is suspect
				time.Sleep(1200 * time.Millisecond)
				m.look = func(ctx context.Context) error { // the server that has the stream goes away
					looking <- struct{}{}
					select {
					case <-answer:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			return nil
		}
	})
	r.accept(delivery("slow", "2"), bridge.Accepted)
	<-looking
	m.set(func() { m.ids, m.bodies = m.ids[:3:3], m.bodies[:3:3] }) // it lost power
	time.Sleep(1500 * time.Millisecond)                             // a silence
	r.accept(delivery("new", "1"), bridge.Accepted)
	time.Sleep(300 * time.Millisecond)
	close(answer) // it is back
	r.drained()
	time.Sleep(300 * time.Millisecond)
	r.drained()
	m.holdsOldBeforeNew(t)
}

// CountReplay counts those that "still have their bodies".
func TestCountReplayOfWhatIsDropped(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 10 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := r.bridge.CountReplay(t.Context(), bridge.Filter{}); n != 0 || err != nil {
		t.Errorf("--dry-run says that %d events would be published, %v; none can", n, err)
	}
}

// A stream that was made anew is "filled" though not one of its events could be published.
func TestNoticeOfWhatCannotBeFilled(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	for i := range 10 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	m.set(func() { m.created, m.ids, m.bodies = "2", nil, nil; m.sessions[len(m.sessions)-1].Close() })
	eventually(t, "notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) == 1 })
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
	if n := r.bridge.Status(t.Context()).Notices; len(n) == 0 {
		t.Errorf("the stream has %d of 10 events, replay %+v, and the notice is gone", len(m.stored()), *r.bridge.ReplayNow())
	}
}

// A cancelled replay does not end while one of its events stands behind a held one of its entity; until
// then no other replay can begin.
func TestCancelledReplayBehindAHeldEvent(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.accept(delivery("a", "1"), bridge.Accepted)
	r.drained()
	tried := make(chan struct{}, 1000)
	m.set(func() {
		m.fail = func(e *bridge.Event) error {
			if e.Type != "held" {
				return nil
			}
			tried <- struct{}{}
			return &bridge.Failure{Class: bridge.Held, Reason: "no permission"}
		}
	})
	d := delivery("b", "1")
	d.Type = "held"
	r.accept(d, bridge.Accepted)
	<-tried
	if _, err := r.bridge.StartReplay(t.Context(), bridge.Filter{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	r.bridge.CancelReplay()
	time.Sleep(2 * time.Second)
	if now := r.bridge.ReplayNow(); now.Running {
		_, err := r.bridge.StartReplay(t.Context(), bridge.Filter{})
		t.Errorf("2 s after it was cancelled the replay runs: %+v; another: %v", *now, err)
	}
}

// The stream is made during the first session. Until the next one, what it loses is not noticed before
// newer events are sent.
func TestWatchInTheFirstSession(t *testing.T) {
	m := &memory{created: "1", none: true}
	r := memoryRig(t, m)
	eventually(t, "connected", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	m.set(func() { m.none = false })
	for i := range 5 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	goesBackInASilence(t, m, r)
}

// One flipped byte among the keys of published records: every look at the stream fails on it, and nothing
// is ever sent again.
func TestDamagedKey(t *testing.T) {
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := br.Accept(ctx, delivery("b", "1")); err != nil {
		t.Fatal(err)
	}
	err = br.Run(ctx)
	s := br.Status(t.Context())
	if err != nil || s.Pending > 0 {
		t.Errorf("after 10 s: run %v, %d pending, NATS %+v", err, s.Pending, s.NATS)
	}
}
