package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// syncAlways is a server that syncs each message: a backlog goes in atomic batches.
const syncAlways = "jetstream: {store_dir: $STORE, sync_interval: always}"

// batchesSent is how many atomic batches the bridge has sent.
func (b *bridgeProcess) batchesSent() float64 {
	return b.metric(`persat_bridge_publish_batches_total{mode="batch"}`)
}

// moreBatches waits until there are so many more, or the backlog has gone.
func (b *bridgeProcess) moreBatches(n int) {
	b.t.Helper()
	before := b.batchesSent()
	testwait.Eventually(b.t, "batches are sent", func() bool {
		return b.batchesSent() >= before+float64(n) || b.metric("persat_bridge_pending_events") < 500
	})
}

// sessions is how often the bridge has begun to publish through a connection.
func (b *bridgeProcess) sessions() int {
	return strings.Count(b.Output.String(), `"connected to NATS"`)
}

// judgeBatches judges a stream that was filled in batches, once nothing is pending: it has each
// event once.
func (b *bridgeProcess) judgeBatches(t *testing.T, o *oracle, natsURL string) {
	t.Helper()
	b.drained()
	if b.batchesSent() == 0 {
		t.Error("no batch was sent, so nothing was proved")
	}
	messages := readStream(t, natsURL)
	o.judge(messages)
	if len(messages) != len(o.promised) {
		t.Errorf("got %d messages, want %d", len(messages), len(o.promised))
	}
}

// postBacklog posts n events of so many entities, each entity's by one connection.
func (o *oracle) postBacklog(n, entities int) {
	var group sync.WaitGroup
	for entity := range entities {
		group.Go(func() {
			s := newSender(o.url, o.secret, 1)
			defer s.close()
			for i := range n / entities {
				o.deliver(s, fmt.Sprintf("WO-%d", entity), i)
			}
		})
	}
	group.Wait()
}

// TestOracleBatches does to a server what happens to servers while a backlog goes to it in
// atomic batches: each event is stored once and in order, whatever becomes of its batch.
func TestOracleBatches(t *testing.T) {
	t.Parallel()
	times, many := 3, 3_000
	if *long {
		times, many = 12, 16_000
	}
	for name, c := range map[string]struct {
		events, entities int
		// fault is done times times, while batches are under way.
		fault func(b *bridgeProcess, n *natstest.Server, p *natstest.Proxy, random *rand.Rand)
		// healed says that the server loses what it had acknowledged.
		healed bool
	}{
		"server killed": {events: many, entities: 64, fault: func(_ *bridgeProcess, n *natstest.Server, _ *natstest.Proxy, _ *rand.Rand) {
			n.Kill()
			n.Run()
		}},
		"server killed, one hot entity": {events: 2_000, entities: 1, fault: func(_ *bridgeProcess, n *natstest.Server, _ *natstest.Proxy, _ *rand.Rand) {
			n.Kill()
			n.Run()
		}},
		"server rolled back": {events: many, entities: 64, healed: true, fault: func(b *bridgeProcess, n *natstest.Server, _ *natstest.Proxy, random *rand.Rand) {
			n.Kill()
			kept := n.CopyStore()
			n.Run()
			before := b.metric("persat_bridge_published_total")
			testwait.Eventually(b.t, "some more are published", func() bool {
				return b.metric("persat_bridge_published_total") > before+float64(100+random.IntN(2000)) || b.metric("persat_bridge_pending_events") == 0
			})
			sessions := b.sessions()
			n.Kill()
			n.PutStore(kept)
			n.Run()
			// Until the bridge has compared the stream with its journal, nothing is pending there.
			testwait.Eventually(b.t, "another session", func() bool { return b.sessions() > sessions })
		}},
		"connection cut": {events: many, entities: 64, fault: func(_ *bridgeProcess, _ *natstest.Server, p *natstest.Proxy, _ *rand.Rand) {
			p.Cut()
		}},
		"answers lost": {events: many, entities: 64, fault: func(_ *bridgeProcess, _ *natstest.Server, p *natstest.Proxy, random *rand.Rand) {
			p.DropDown.Store(true)
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			p.DropDown.Store(false)
			p.Cut()
		}},
		"server paused": {events: many, entities: 64, fault: func(_ *bridgeProcess, n *natstest.Server, _ *natstest.Proxy, random *rand.Rand) {
			n.Pause()
			time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
			n.Resume()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			random := newRandom(t)
			n := natstest.NewChild(t, syncAlways)
			p := natstest.NewProxy(t, n.Host)
			b := newBridgeProcess(t, "NATS_URL="+p.URL, "PERSAT_BRIDGE_PUBLISH_ACK_TIMEOUT=2s", "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
			b.Start()
			o := newOracle(t, b.url)
			o.padding = 200
			o.postBacklog(c.events, c.entities)
			n.Run()
			for range times {
				b.moreBatches(1 + random.IntN(4))
				time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
				c.fault(b, n, p, random)
			}
			b.judgeBatches(t, o, n.URL)
			if dead := b.metric("persat_bridge_dead_events"); dead != 0 {
				t.Errorf("got %v dead letters, want none", dead)
			}
			if healed := b.metric("persat_bridge_healed_events_total"); (healed > 0) != c.healed {
				t.Errorf("%v events were healed", healed)
			}
			t.Logf("%v batches, %v events of batches that were not decided", b.batchesSent(), b.metric(`persat_bridge_publish_attempts_total{result="undecided",source="persat"}`))
		})
	}
}

// TestOracleBatchesOfACluster kills the leader of a stream with three replicas. Events of few
// entities go in batches there, because each alone would wait for the one before it.
func TestOracleBatchesOfACluster(t *testing.T) {
	t.Parallel()
	kills := 2
	if *long {
		kills = 10
	}
	nodes := natstest.ChildCluster(t, syncAlways)
	all := natstest.URLs(nodes)
	b := newBridgeProcess(t, "NATS_URL="+all, "PERSAT_BRIDGE_NATS_STREAM_REPLICAS=3", "PERSAT_BRIDGE_PUBLISH_ACK_TIMEOUT=2s", "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
	b.Start()
	o := newOracle(t, b.url)
	o.padding = 200
	o.postBacklog(100, 4)
	b.drained()
	for range kills {
		for _, n := range nodes {
			n.Pause()
		}
		o.postBacklog(6_000, 4)
		for _, n := range nodes {
			n.Resume()
		}
		b.moreBatches(2)
		leader := nodes[streamLeader(t, all)]
		leader.Kill()
		leader.Run()
	}
	b.judgeBatches(t, o, all)
	t.Logf("%v batches", b.batchesSent())
}
