package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// oracle is a sender that remembers, and a reader that compares. It posts events
// of many entities over many connections, each entity's in order, and repeats an
// event under its id until it is answered 2xx, as the real sender does with more
// patience. Whatever is done meanwhile, in the end every event that was answered
// 2xx must be in the stream: once, with the same bytes, and after those of its
// entity that were accepted before it.
type oracle struct {
	t      *testing.T
	url    string
	secret string
	// padding makes bodies of a realistic size.
	padding int
	// patience is how long an event is repeated; 0 is until it must have worked.
	// An event that was given up was not promised.
	patience time.Duration
	// anyOrder is for events that go through several bridges.
	anyOrder bool

	mu       sync.Mutex
	promised []*promise
	times    []time.Duration
	repeats  int
	refused  map[int]int
}

// promise is an event that was answered 2xx.
type promise struct {
	id     string
	entity string
	body   []byte
}

func newOracle(t *testing.T, url string) *oracle {
	return &oracle{t: t, url: url, secret: testSecret, padding: 1500, refused: make(map[int]int)}
}

const (
	oracleConnections = 64
	oracleEntities    = 200
)

// post posts until ctx ends, at most perSecond events a second in all, and
// returns when every event that was begun has been answered 2xx.
func (o *oracle) post(ctx context.Context, perSecond int) {
	var group sync.WaitGroup
	for connection := range oracleConnections {
		group.Go(func() {
			s := newSender(o.url, o.secret, 1)
			defer s.close()
			var mine []string
			for e := connection; e < oracleEntities; e += oracleConnections {
				mine = append(mine, fmt.Sprintf("WO-%d", e))
			}
			pace := time.NewTicker(time.Second * oracleConnections / time.Duration(perSecond))
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				entity := mine[n%len(mine)]
				o.deliver(s, entity, n)
				<-pace.C
			}
		})
	}
	group.Wait()
}

// deliver posts one event until it is answered 2xx.
func (o *oracle) deliver(s *sender, entity string, n int) {
	p := &promise{id: newDeliveryID(), entity: entity}
	note := make([]byte, rand.IntN(o.padding)/2)
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], rand.Uint64())
	_, _ = rand.NewChaCha8(seed).Read(note) // what does not compress much fills disks; it never fails
	p.body = fmt.Appendf(nil, `{"eventType":"workorder.updated","payload":{"_id":%q,"n":%d,"note":"ñ %s"}}`, entity, n, hex.EncodeToString(note))
	for begin := time.Now(); ; {
		a, err := s.post(context.Background(), p.id, p.body)
		o.mu.Lock()
		if err == nil && a.ok() {
			o.promised = append(o.promised, p)
			o.times = append(o.times, a.took)
			o.mu.Unlock()
			return
		}
		o.repeats++
		o.refused[a.code]++
		o.mu.Unlock()
		if err == nil && a.code != 503 {
			o.t.Errorf("post %s: got %d %s, want 2xx or 503", p.id, a.code, a.Error)
			return
		}
		if o.patience > 0 && time.Since(begin) > o.patience {
			return
		}
		if time.Since(begin) > 2*time.Minute {
			o.t.Errorf("post %s: no 2xx in two minutes, last %d %v", p.id, a.code, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// p99 of the time to a 2xx since the last call.
func (o *oracle) p99() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	times := o.times
	o.times = nil
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return quantile(times, .99)
}

// stored is a message as a reader of the stream gets it.
type stored struct {
	seq    uint64
	id     string // Nats-Msg-Id
	entity string
	data   []byte
}

// readStream reads all of the stream PERSAT.
func readStream(t *testing.T, natsURL string, options ...nats.Option) []stored {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	js := natstest.JetStream(t, natsURL, options...)
	defer js.Conn().Close()
	// A request that meets an election is never answered; it is asked again.
	var stream jetstream.Stream
	var consumer jetstream.Consumer
	testwait.Eventually(t, "the stream can be read", func() bool {
		var err error
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if stream, err = js.Stream(ctx, "PERSAT"); err != nil {
			return false
		}
		consumer, err = stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
		return err == nil
	})
	last := stream.CachedInfo().State.LastSeq
	if stream.CachedInfo().State.Msgs == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	var all []stored
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("read stream: %v", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		s := stored{seq: meta.Sequence.Stream, id: m.Headers().Get("Nats-Msg-Id"), data: m.Data()}
		if h := m.Headers()["ce-subject"]; len(h) > 0 {
			s.entity = h[0]
		}
		all = append(all, s)
		if meta.Sequence.Stream >= last {
			return all
		}
	}
}

// judge compares what was promised with what is in the stream.
func (o *oracle) judge(messages []stored) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	place := make(map[string]int)
	for i, m := range messages {
		if before, ok := place[m.id]; ok {
			o.t.Errorf("%s is in the stream twice, at %d and %d", m.id, messages[before].seq, m.seq)
		}
		place[m.id] = i
	}
	lastOf := make(map[string]int)
	lost, wrong, disordered := 0, 0, 0
	for _, p := range o.promised { // an entity's promises are in their order
		i, ok := place["persat:"+p.id]
		if !ok {
			lost++
			continue
		}
		if !bytes.Equal(messages[i].data, p.body) {
			wrong++
		}
		if before, ok := lastOf[p.entity]; ok && before > i && !o.anyOrder {
			disordered++
		}
		lastOf[p.entity] = i
	}
	if lost+wrong+disordered > 0 {
		o.t.Errorf("of %d events that were answered 2xx: %d lost, %d with other bytes, %d out of order", len(o.promised), lost, wrong, disordered)
	}
	if len(o.promised) == 0 {
		o.t.Error("nothing was promised, so nothing was proved")
	}
	o.t.Logf("%d events answered 2xx, %d repeats, refused %v; %d messages in the stream", len(o.promised), o.repeats, o.refused, len(messages))
}

// newRandom prints its seed, so that a failure can be tried again.
func newRandom(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestOracleBridgeKilled(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	killUnderLoad(t, newBridgeProcess(t, "NATS_URL="+n.URL), n.URL)
}

// TestOracleEverythingKilled: the embedded server dies with the bridge.
func TestOracleEverythingKilled(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t)
	killUnderLoad(t, b, b.nats)
}

// killUnderLoad kills a bridge at random moments, and lets the oracle judge.
func killUnderLoad(t *testing.T, b *bridgeProcess, natsURL string) {
	t.Helper()
	random, kills := newRandom(t), 5
	if *long {
		kills = 20
	}
	b.Start()
	o := newOracle(t, b.url)
	ctx, stop := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { o.post(ctx, 2500) })
	for range kills {
		time.Sleep(time.Duration(100+random.IntN(600)) * time.Millisecond)
		b.Kill()
		b.Start()
	}
	stop()
	sending.Wait()
	b.drained()
	o.judge(readStream(t, natsURL))
	if got := b.Stop(); got != exitDone {
		t.Errorf("exit code %d, want 0", got)
	}
}

func TestOracleNATSAway(t *testing.T) {
	t.Parallel()
	away := 3 * time.Second
	if *long {
		away = 20 * time.Second
	}
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL)
	b.Start()
	o := newOracle(t, b.url)
	ctx, stop := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { o.post(ctx, 2000) })
	time.Sleep(away)
	there := o.p99()
	n.Kill()
	time.Sleep(away)
	without := o.p99()
	n.Run()
	time.Sleep(time.Second)
	stop()
	sending.Wait()
	b.drained()
	o.judge(readStream(t, n.URL))
	if o.repeats > 0 {
		t.Errorf("%d posts were not answered 2xx at once, want none: %v", o.repeats, o.refused)
	}
	if dead := b.metric("persat_bridge_dead_events"); dead != 0 {
		t.Errorf("got %v dead letters, want none", dead)
	}
	t.Logf("POST to 2xx, p99: %v with NATS, %v without (%.2f times)", there, without, float64(without)/float64(max(there, 1)))
}
