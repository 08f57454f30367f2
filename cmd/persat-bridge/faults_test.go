package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// faultTime is how long a fault lasts.
func faultTime() time.Duration {
	if *long {
		return 20 * time.Second
	}
	return 2 * time.Second
}

// TestOracleFaults does to NATS, and to the way there, everything that happens to
// them, under load, and lets the oracle judge.
func TestOracleFaults(t *testing.T) {
	for name, fault := range map[string]func(*testing.T, *natstest.Server, *natstest.Proxy){
		"server killed": func(_ *testing.T, n *natstest.Server, _ *natstest.Proxy) {
			n.Kill()
			time.Sleep(faultTime())
			n.Run()
		},
		"server paused": func(_ *testing.T, n *natstest.Server, _ *natstest.Proxy) {
			n.Pause()
			time.Sleep(faultTime())
			n.Resume()
		},
		"connection cut again and again": func(_ *testing.T, _ *natstest.Server, p *natstest.Proxy) {
			for range 10 {
				p.Cut()
				time.Sleep(faultTime() / 10)
			}
		},
		"nothing gets to the server": func(_ *testing.T, _ *natstest.Server, p *natstest.Proxy) {
			p.HoldUp.Store(true)
			time.Sleep(faultTime())
			p.HoldUp.Store(false)
		},
		"nothing comes from the server": func(_ *testing.T, _ *natstest.Server, p *natstest.Proxy) {
			p.HoldDown.Store(true)
			time.Sleep(faultTime())
			p.HoldDown.Store(false)
		},
		"acks lost": func(_ *testing.T, _ *natstest.Server, p *natstest.Proxy) {
			p.DropDown.Store(true)
			time.Sleep(faultTime())
			p.Cut()
			p.DropDown.Store(false)
		},
		"connections refused": func(_ *testing.T, _ *natstest.Server, p *natstest.Proxy) {
			p.Refuse.Store(true)
			p.Cut()
			time.Sleep(faultTime())
			p.Refuse.Store(false)
		},
		"credentials revoked and given back": func(t *testing.T, n *natstest.Server, _ *natstest.Proxy) {
			n.Configure(strings.ReplaceAll(natsUsers, "open sesame", "another"))
			n.Kill()
			n.Run()
			time.Sleep(faultTime())
			n.Configure(natsUsers)
			n.Kill()
			n.Run()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := natstest.StartChild(t, natsUsers)
			p := natstest.NewProxy(t, n.Host)
			b := newBridgeProcess(t, "NATS_URL="+p.URL, "NATS_USER=bridge", "NATS_PASSWORD=open sesame", "PERSAT_BRIDGE_PUBLISH_ACK_TIMEOUT=1s", "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
			b.Start()
			o := newOracle(t, b.url)
			ctx, stop := context.WithCancel(context.Background())
			var sending sync.WaitGroup
			sending.Go(func() { o.post(ctx, 500) })
			time.Sleep(500 * time.Millisecond)
			fault(t, n, p)
			time.Sleep(500 * time.Millisecond)
			stop()
			sending.Wait()
			b.drained()
			o.judge(readStream(t, strings.Replace(n.URL, "nats://", "nats://reader:reader@", 1)))
			if o.repeats > 0 {
				t.Errorf("%d posts were not answered 2xx at once, want none: %v", o.repeats, o.refused)
			}
			if dead := b.metric("persat_bridge_dead_events"); dead != 0 {
				t.Errorf("got %v dead letters, want none", dead)
			}
		})
	}
}

const natsUsers = `authorization: {users: [{user: bridge, password: "open sesame"}, {user: reader, password: reader}]}`

// TestOraclePowerLossOfNATS is a NATS host that loses what it had acknowledged and
// not synced.
func TestOraclePowerLossOfNATS(t *testing.T) {
	t.Parallel()
	half := 2_000
	if *long {
		half = 10_000
	}
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL)
	b.Start()
	o := newOracle(t, b.url)
	o.padding = 200
	o.postCount(half)
	testwait.Eventually(t, "the first half is published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
	kept := n.CopyStore()
	o.postCount(half)
	testwait.Eventually(t, "the second half is published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
	n.Kill()
	n.PutStore(kept)
	n.Run()
	testwait.Eventually(t, "healed", func() bool { return b.metric("persat_bridge_healed_events_total") == float64(half) })
	b.drained()
	messages := readStream(t, n.URL)
	o.judge(messages)
	if len(messages) != 2*half {
		t.Errorf("got %d messages, want %d", len(messages), 2*half)
	}
}

// postCount posts n events and returns when each has its 2xx.
func (o *oracle) postCount(n int) {
	var group sync.WaitGroup
	for connection := range oracleConnections {
		group.Go(func() {
			s := newSender(o.url, o.secret, 1)
			defer s.close()
			// An entity belongs to one connection, so that its order is known.
			for i := connection; i < n; i += oracleConnections {
				o.deliver(s, fmt.Sprintf("WO-%d", connection+oracleConnections*(i/oracleConnections%3)), i)
			}
		})
	}
	group.Wait()
}

// TestOracleCluster loses servers of a cluster of three.
func TestOracleCluster(t *testing.T) {
	t.Parallel()
	nodes := natstest.ChildCluster(t, "")
	all := natstest.URLs(nodes)
	b := newBridgeProcess(t, "NATS_URL="+all, "PERSAT_BRIDGE_NATS_STREAM_REPLICAS=3", "PERSAT_BRIDGE_PUBLISH_ACK_TIMEOUT=2s", "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
	b.Start()
	o := newOracle(t, b.url)
	ctx, stop := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { o.post(ctx, 300) })
	testwait.Eventually(t, "the cluster stores", func() bool { return b.metric("persat_bridge_published_total") > 100 })

	leader := nodes[streamLeader(t, all)]
	leader.Kill()
	time.Sleep(faultTime())
	leader.Run()
	testwait.Eventually(t, "a leader again", func() bool { return b.metric("persat_bridge_pending_events") < 100 })

	leader = nodes[streamLeader(t, all)]
	leader.Pause()
	time.Sleep(faultTime())
	leader.Resume()

	nodes[0].Kill()
	nodes[1].Kill()
	time.Sleep(faultTime())
	nodes[0].Run()
	nodes[1].Run()
	stop()
	sending.Wait()
	b.drained()
	o.judge(readStream(t, all))
	if o.repeats > 0 {
		t.Errorf("%d posts were not answered 2xx at once, want none: %v", o.repeats, o.refused)
	}
}

// streamLeader is the number of the node that leads the stream.
func streamLeader(t *testing.T, urls string) int {
	t.Helper()
	leader := -1
	testwait.Eventually(t, "the stream has a leader", func() bool {
		info := streamInfo(t, urls)
		if info == nil || info.Cluster == nil {
			return false
		}
		_, err := fmt.Sscanf(info.Cluster.Leader, "n%d", &leader)
		return err == nil
	})
	return leader
}

// streamInfo is what a server says of the stream; nil when it says nothing.
func streamInfo(t *testing.T, urls string) *jetstream.StreamInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	nc, err := publisher.Dial(ctx, publisher.ConnectOptions{URL: urls})
	if err != nil {
		return nil
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil
	}
	stream, err := js.Stream(ctx, "PERSAT")
	if err != nil {
		return nil
	}
	return stream.CachedInfo()
}
