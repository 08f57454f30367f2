package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/publisher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a bridge with its real parts: a journal on disk and a nats-server in
// this process.
type rig struct {
	t       *testing.T
	dir     string
	nats    atomic.Pointer[publisher.Embedded]
	journal *journal.Journal
	bridge  *bridge.Bridge
	stop    func()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.startNATS()
	t.Cleanup(func() {
		if r.nats.Load() != nil {
			r.stopNATS()
		}
	})
	return r
}

func (r *rig) startNATS() {
	r.t.Helper()
	e, err := publisher.StartEmbedded(r.t.Context(), publisher.EmbeddedOptions{StoreDir: filepath.Join(r.dir, "nats")})
	if err != nil {
		r.t.Fatal(err)
	}
	r.nats.Store(e)
}

// keepStore copies what NATS has on disk, and says where to.
func (r *rig) keepStore() (kept string) {
	kept = filepath.Join(r.dir, "kept")
	if err := os.CopyFS(kept, os.DirFS(filepath.Join(r.dir, "nats"))); err != nil {
		r.t.Fatal(err)
	}
	return kept
}

// putBack puts such a copy in the place of the store: what a power loss leaves. NATS
// must not run.
func (r *rig) putBack(kept string) {
	store := filepath.Join(r.dir, "nats")
	if err := os.RemoveAll(store); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(kept, store); err != nil {
		r.t.Fatal(err)
	}
}

// losePower is putBack under a bridge that stays up.
func (r *rig) losePower(kept string) {
	r.stopNATS()
	r.putBack(kept)
	r.startNATS()
}

// deleteStream is the first half of making it anew; the bridge does the other.
func (r *rig) deleteStream() {
	js, hangUp := r.js()
	defer hangUp()
	if err := js.DeleteStream(r.t.Context(), "PERSAT"); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stopNATS() {
	r.t.Helper()
	if err := r.nats.Swap(nil).Close(); err != nil {
		r.t.Error(err)
	}
}

// publisherNow reaches whichever server runs when it is asked to connect.
type publisherNow struct{ r *rig }

func (p publisherNow) Connect(ctx context.Context) (bridge.Session, error) {
	server := p.r.nats.Load()
	if server == nil {
		return nil, errors.New("no server")
	}
	js, err := publisher.New(publisher.Options{
		Connect:    publisher.ConnectOptions{Embedded: server},
		Stream:     publisher.StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: 2 * time.Hour},
		Prefixes:   map[string]string{"persat": "persat", "other": "other"},
		AckTimeout: 2 * time.Second,
		Log:        zaptest.NewLogger(p.r.t),
	})
	if err != nil {
		return nil, err
	}
	return js.Connect(ctx)
}

// open opens the journal and makes a bridge; run, when set, runs it. close ends
// both.
func (r *rig) open(run bool, change ...func(*bridge.Options)) {
	r.t.Helper()
	j, err := journal.Open(journal.Options{Dir: filepath.Join(r.dir, "journal")})
	if err != nil {
		r.t.Fatal(err)
	}
	o := bridge.Options{
		Journal: j, Publisher: publisherNow{r}, Sources: []string{"persat"}, Types: []string{"workorder.created"},
		AckTimeout: 2 * time.Second,
		Backoff:    bridge.Backoff{Initial: 5 * time.Millisecond, Max: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.5},
		Log:        zaptest.NewLogger(r.t),
	}
	for _, f := range change {
		f(&o)
	}
	b, err := bridge.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.journal, r.bridge = j, b
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	if run {
		group.Go(func() {
			if err := b.Run(ctx); err != nil {
				r.t.Errorf("run: %v", err)
			}
		})
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		if err := j.Close(); err != nil {
			r.t.Errorf("close journal: %v", err)
		}
	})
	r.t.Cleanup(r.stop)
}

func delivery(id, entity string) bridge.Delivery {
	return bridge.Delivery{
		Source: "persat", ID: id, Type: "workorder.created", Entities: []string{entity},
		Body: fmt.Appendf(nil, `{"eventType":"workorder.created","payload":{"_id":%q,"n":%q}}`, entity, id),
	}
}

func (r *rig) accept(d bridge.Delivery, want bridge.Outcome) {
	r.t.Helper()
	got, err := r.bridge.Accept(r.t.Context(), d)
	if err != nil {
		r.t.Fatalf("accept %s: %v", d.ID, err)
	}
	if got != want {
		r.t.Fatalf("accept %s: got %v, want %v", d.ID, got, want)
	}
}

// eventually waits for a state that has to come.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (r *rig) drained() {
	r.t.Helper()
	eventually(r.t, "nothing pending", func() bool { return r.bridge.Status(r.t.Context()).Pending == 0 })
}

// js talks to the server as an operator or a consumer does.
func (r *rig) js() (jetstream.JetStream, func()) {
	r.t.Helper()
	nc, err := publisher.Dial(r.t.Context(), publisher.ConnectOptions{Embedded: r.nats.Load()})
	if err != nil {
		r.t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	return js, nc.Close
}

// messages reads the whole stream.
func (r *rig) messages() []*jetstream.RawStreamMsg {
	r.t.Helper()
	js, hangUp := r.js()
	defer hangUp()
	stream, err := js.Stream(r.t.Context(), "PERSAT")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	state := stream.CachedInfo().State
	var messages []*jetstream.RawStreamMsg
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := stream.GetMsg(r.t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

func TestAcceptedEventReachesTheStreamOnce(t *testing.T) {
	r := newRig(t)
	r.open(true)
	d := delivery("msg_1", "48")
	d.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.accept(d, bridge.Accepted)
	r.accept(d, bridge.Duplicate)
	r.drained()
	messages := r.messages()
	if len(messages) != 1 {
		t.Fatalf("got %d messages, want 1", len(messages))
	}
	m := messages[0]
	if m.Subject != "persat.workorder.created" || string(m.Data) != string(d.Body) {
		t.Errorf("got %s %s, want the body on persat.workorder.created", m.Subject, m.Data)
	}
	want := map[string]string{
		"Nats-Msg-Id": "persat:msg_1", "ce-specversion": "1.0", "ce-id": "msg_1", "ce-type": "workorder.created", "ce-source": "/persat/persat",
		"ce-subject": "48", "ce-datacontenttype": "application/json", "Content-Type": "application/json", "traceparent": d.Traceparent,
	}
	for name, value := range want {
		if got := m.Header[name]; len(got) != 1 || got[0] != value {
			t.Errorf("header %s: got %q, want %q", name, got, value)
		}
	}
	accepted, err := time.Parse(time.RFC3339Nano, m.Header["ce-time"][0])
	if err != nil || time.Since(accepted) > time.Minute {
		t.Errorf("ce-time %v: %v", m.Header["ce-time"], err)
	}
	for name := range m.Header {
		_, wanted := want[name]
		// The server's answer to a direct get brings these along.
		added := slices.Contains([]string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"}, name)
		if !wanted && !added && name != "ce-time" {
			t.Errorf("got header %s: %q, want none such", name, m.Header[name])
		}
	}
}

func TestEventsOfAnEntityStayInOrder(t *testing.T) {
	r := newRig(t)
	r.open(false)
	random := rand.New(rand.NewPCG(1, 2))
	want := make(map[string][]string)
	for i := range 2000 {
		id := fmt.Sprintf("msg_%d", i)
		d := delivery(id, fmt.Sprint(random.IntN(20)))
		if random.IntN(10) == 0 { // a bulk event speaks of several
			d.Entities = append(d.Entities, fmt.Sprint(random.IntN(20)), fmt.Sprint(random.IntN(20)))
		}
		r.accept(d, bridge.Accepted)
		seen := make(map[string]bool)
		for _, e := range d.Entities {
			if !seen[e] {
				want[e] = append(want[e], "persat:"+id)
			}
			seen[e] = true
		}
	}
	r.stop()
	r.open(true) // what was pending at the end of a process goes out in the next
	r.drained()
	place := make(map[string]int)
	messages := r.messages()
	for i, m := range messages {
		place[m.Header["Nats-Msg-Id"][0]] = i
	}
	if len(messages) != 2000 || len(place) != 2000 {
		t.Fatalf("got %d messages with %d ids, want 2000", len(messages), len(place))
	}
	for entity, ids := range want {
		for i := 1; i < len(ids); i++ {
			if place[ids[i-1]] > place[ids[i]] {
				t.Errorf("entity %s: %s is before %s", entity, ids[i], ids[i-1])
			}
		}
	}
}

func TestOutageSpendsNoAttempts(t *testing.T) {
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.MaxAttempts = 1 })
	r.accept(delivery("before", "1"), bridge.Accepted)
	r.drained()
	r.stopNATS()
	for i := range 50 {
		r.accept(delivery(fmt.Sprintf("away_%d", i), fmt.Sprint(i%5)), bridge.Accepted)
	}
	eventually(t, "several connects", func() bool { return r.bridge.Status(t.Context()).NATS.Attempts > 5 })
	if err := r.bridge.Ready(); err != nil {
		t.Errorf("ready: %v, want ready without NATS", err)
	}
	r.startNATS()
	r.drained()
	if got := len(r.messages()); got != 51 {
		t.Errorf("got %d messages, want 51", got)
	}
	if dead := r.bridge.Status(t.Context()).Dead; dead != 0 {
		t.Errorf("got %d dead letters, want none", dead)
	}
}

func TestIDReusedForOtherBytesIsQuarantined(t *testing.T) {
	r := newRig(t)
	r.open(true)
	r.accept(delivery("msg_1", "1"), bridge.Accepted)
	other := delivery("msg_1", "2")
	r.accept(other, bridge.Quarantined)
	r.accept(other, bridge.Duplicate)
	r.accept(delivery("msg_1", "1"), bridge.Duplicate)
	r.drained()
	if got := len(r.messages()); got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
	if dead := r.bridge.Status(t.Context()).Dead; dead != 1 {
		t.Errorf("got %d dead letters, want 1", dead)
	}
}

func TestMissingStreamHoldsOnlyUntilItIsThere(t *testing.T) {
	r := newRig(t)
	r.open(true)
	r.accept(delivery("msg_1", "1"), bridge.Accepted)
	r.drained()
	js, hangUp := r.js()
	defer hangUp()
	if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
		t.Fatal(err)
	}
	r.accept(delivery("msg_2", "1"), bridge.Accepted)
	r.drained()
	if got := len(r.messages()); got != 1 {
		t.Errorf("got %d messages in the stream made anew, want 1", got)
	}
}
