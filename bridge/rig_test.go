package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
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

// acceptSeries accepts n events one after the other, prefix0, prefix1 and so on, of one
// entity; of one each, when that is empty.
func (r *rig) acceptSeries(prefix string, n int, entity string) {
	r.t.Helper()
	for i := range n {
		of := entity
		if of == "" {
			of = fmt.Sprint(i)
		}
		r.accept(delivery(fmt.Sprint(prefix, i), of), bridge.Accepted)
	}
}

// replayed makes a replay and waits for its end.
func (r *rig) replayed(f bridge.Filter) {
	r.t.Helper()
	if _, err := r.bridge.StartReplay(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
	testwait.Eventually(r.t, "the replay ends", func() bool { return !r.bridge.ReplayNow().Running })
}

func (r *rig) drained() {
	r.t.Helper()
	testwait.Eventually(r.t, "nothing pending", func() bool { return r.bridge.Status(r.t.Context()).Pending == 0 })
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

// acceptMany accepts n events of twenty entities, each entity's in order. Senders of
// different entities share a sync of the disk.
func (r *rig) acceptMany(from, n int) {
	r.t.Helper()
	const entities = 20
	var senders sync.WaitGroup
	for first := from; first < from+min(n, entities); first++ {
		senders.Go(func() {
			for i := first; i < from+n; i += entities {
				got, err := r.bridge.Accept(r.t.Context(), delivery(fmt.Sprintf("msg_%d", i), fmt.Sprint(i%entities)))
				if err != nil || got != bridge.Accepted {
					r.t.Errorf("accept msg_%d: got %v, %v, want %v", i, got, err, bridge.Accepted)
					return
				}
			}
		})
	}
	senders.Wait()
	if r.t.Failed() {
		r.t.FailNow()
	}
}

func index(ids []string, id string) int {
	for i, s := range ids {
		if s == id {
			return i
		}
	}
	return -1
}

// runInBubble runs a bridge whose disk is fs, so that nothing in a synctest bubble waits
// for anything outside of it. stop ends it.
func runInBubble(t *testing.T, fs vfs.FS, p bridge.Publisher, change ...func(*bridge.Options)) (b *bridge.Bridge, stop func()) {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: "journal", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	o := bridge.Options{Journal: j, Publisher: p, Sources: []string{"persat"}}
	for _, f := range change {
		f(&o)
	}
	b, err = bridge.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return b, func() {
		cancel()
		running.Wait()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}
