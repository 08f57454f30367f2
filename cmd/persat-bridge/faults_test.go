package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/publisher"
)

// proxy stands between a bridge and a NATS server and does to the connection what
// networks do.
type proxy struct {
	l      net.Listener
	target string
	// held stops a direction: what comes waits. lost throws it away.
	heldUp, heldDown, lostDown atomic.Bool
	// refused closes every new connection.
	refused atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, target: target, conns: make(map[net.Conn]bool)}
	go p.serve()
	t.Cleanup(func() { l.Close(); p.cut() })
	return p
}

func (p *proxy) url() string { return "nats://" + p.l.Addr().String() }

func (p *proxy) serve() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil || p.refused.Load() {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		go p.copy(server, client, &p.heldUp, nil)
		go p.copy(client, server, &p.heldDown, &p.lostDown)
	}
}

func (p *proxy) copy(to, from net.Conn, held, lost *atomic.Bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		for held.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		if n > 0 && (lost == nil || !lost.Load()) {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

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
	for name, fault := range map[string]func(*testing.T, *natsProcess, *proxy){
		"server killed": func(_ *testing.T, n *natsProcess, _ *proxy) {
			n.kill()
			time.Sleep(faultTime())
			n.start()
		},
		"server paused": func(_ *testing.T, n *natsProcess, _ *proxy) {
			n.signal(syscall.SIGSTOP)
			time.Sleep(faultTime())
			n.signal(syscall.SIGCONT)
		},
		"connection cut again and again": func(_ *testing.T, _ *natsProcess, p *proxy) {
			for range 10 {
				p.cut()
				time.Sleep(faultTime() / 10)
			}
		},
		"nothing gets to the server": func(_ *testing.T, _ *natsProcess, p *proxy) {
			p.heldUp.Store(true)
			time.Sleep(faultTime())
			p.heldUp.Store(false)
		},
		"nothing comes from the server": func(_ *testing.T, _ *natsProcess, p *proxy) {
			p.heldDown.Store(true)
			time.Sleep(faultTime())
			p.heldDown.Store(false)
		},
		"acks lost": func(_ *testing.T, _ *natsProcess, p *proxy) {
			p.lostDown.Store(true)
			time.Sleep(faultTime())
			p.cut()
			p.lostDown.Store(false)
		},
		"connections refused": func(_ *testing.T, _ *natsProcess, p *proxy) {
			p.refused.Store(true)
			p.cut()
			time.Sleep(faultTime())
			p.refused.Store(false)
		},
		"credentials revoked and given back": func(t *testing.T, n *natsProcess, _ *proxy) {
			n.configure(t, strings.ReplaceAll(natsUsers, "open sesame", "another"))
			n.kill()
			n.start()
			time.Sleep(faultTime())
			n.configure(t, natsUsers)
			n.kill()
			n.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNATSProcess(t, natsUsers)
			n.start()
			p := newProxy(t, strings.TrimPrefix(n.url, "nats://"))
			b := newBridgeProcess(t, "NATS_URL="+p.url(), "NATS_USER=bridge", "NATS_PASSWORD=open sesame", "PERSAT_BRIDGE_PUBLISH_ACK_TIMEOUT=1s", "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
			b.start()
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
			o.judge(readStream(t, strings.Replace(n.url, "nats://", "nats://reader:reader@", 1)))
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

// configure writes the server's configuration anew, for its next start.
func (n *natsProcess) configure(t *testing.T, extra string) {
	t.Helper()
	text := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream: {store_dir: %q}\n%s\n", n.port, filepath.Join(n.dir, "store"), extra)
	if err := os.WriteFile(filepath.Join(n.dir, "nats.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOraclePowerLossOfNATS is a NATS host that loses what it had acknowledged and
// not synced.
func TestOraclePowerLossOfNATS(t *testing.T) {
	half := 2_000
	if *long {
		half = 10_000
	}
	n := newNATSProcess(t, "")
	n.start()
	b := newBridgeProcess(t, "NATS_URL="+n.url)
	b.start()
	o := newOracle(t, b.url)
	o.padding = 200
	o.postCount(half)
	eventually(t, "the first half is published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
	store, kept := filepath.Join(n.dir, "store"), filepath.Join(n.dir, "kept")
	if err := os.CopyFS(kept, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	o.postCount(half)
	eventually(t, "the second half is published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
	n.kill()
	if err := errors.Join(os.RemoveAll(store), os.Rename(kept, store)); err != nil {
		t.Fatal(err)
	}
	n.start()
	eventually(t, "healed", func() bool { return b.metric("persat_bridge_healed_events_total") == float64(half) })
	b.drained()
	messages := readStream(t, n.url)
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
	var nodes []*natsProcess
	var routes, urls []string
	ports := make([]int, 3)
	for i := range ports {
		ports[i] = freePort(t)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	for i := range 3 {
		n := newNATSProcess(t, fmt.Sprintf("server_name: n%d\ncluster: {name: c, listen: \"127.0.0.1:%d\", routes: [%s]}", i, ports[i], strings.Join(routes, ", ")))
		nodes = append(nodes, n)
		urls = append(urls, n.url)
	}
	for _, n := range nodes {
		n.start()
	}
	all := strings.Join(urls, ",")
	b := newBridgeProcess(t, "NATS_URL="+all, "PERSAT_BRIDGE_NATS_STREAM_REPLICAS=3", "PERSAT_BRIDGE_PUBLISH_ACK_TIMEOUT=2s", "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
	b.start()
	o := newOracle(t, b.url)
	ctx, stop := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { o.post(ctx, 300) })
	eventually(t, "the cluster stores", func() bool { return b.metric("persat_bridge_published_total") > 100 })

	leader := nodes[streamLeader(t, all)]
	leader.kill()
	time.Sleep(faultTime())
	leader.start()
	eventually(t, "a leader again", func() bool { return b.metric("persat_bridge_pending_events") < 100 })

	leader = nodes[streamLeader(t, all)]
	leader.signal(syscall.SIGSTOP)
	time.Sleep(faultTime())
	leader.signal(syscall.SIGCONT)

	nodes[0].kill()
	nodes[1].kill()
	time.Sleep(faultTime())
	nodes[0].start()
	nodes[1].start()
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
	eventually(t, "the stream has a leader", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		nc, err := publisher.Dial(ctx, publisher.ConnectOptions{URL: urls})
		if err != nil {
			return false
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return false
		}
		stream, err := js.Stream(ctx, "PERSAT")
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		_, err = fmt.Sscanf(stream.CachedInfo().Cluster.Leader, "n%d", &leader)
		return err == nil
	})
	return leader
}
