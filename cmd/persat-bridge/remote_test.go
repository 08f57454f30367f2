package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestOracleRemoteStreamLosesItsTail: the bridge is connected to a server of a cluster
// (or a leaf node) that does not hold the stream. The server that does loses power, and
// the bridge's connection stays up.
func TestOracleRemoteStreamLosesItsTail(t *testing.T) {
	for _, what := range []string{"another publisher is first", "this bridge is first"} {
		t.Run(what, func(t *testing.T) {
			var nodes []*natsProcess
			var routes []string
			ports := make([]int, 3)
			for i := range ports {
				ports[i] = freePort(t)
				routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
			}
			for i := range 3 {
				nodes = append(nodes, newNATSProcess(t, fmt.Sprintf("server_name: n%d\ncluster: {name: c, no_advertise: true, listen: \"127.0.0.1:%d\", routes: [%s]}", i, ports[i], strings.Join(routes, ", "))))
			}
			for _, n := range nodes {
				n.start()
			}
			eventually(t, "a stream of one replica", func() bool {
				nc, err := nats.Connect(nodes[0].url)
				if err != nil {
					return false
				}
				defer nc.Close()
				js, _ := jetstream.New(nc)
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}, Duplicates: 2 * time.Hour})
				return err == nil
			})
			leader := streamLeader(t, nodes[0].url)
			hub := nodes[leader]
			near := nodes[(leader+1)%3] // where the bridge is connected: it has no part in the stream
			stream := func(url string) (uint64, error) {
				nc, err := nats.Connect(url)
				if err != nil {
					return 0, err
				}
				defer nc.Close()
				js, _ := jetstream.New(nc)
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				s, err := js.Stream(ctx, "PERSAT")
				if err != nil {
					return 0, err
				}
				return s.CachedInfo().State.LastSeq, nil
			}
			linked := func() {
				eventually(t, "the stream answers", func() bool { _, err := stream(near.url); return err == nil })
			}
			b := newBridgeProcess(t, "NATS_URL="+near.url)
			b.start()
			o := newOracle(t, b.url)
			o.padding = 200
			s := newSender(o.url, o.secret, 1)
			defer s.close()
			for n := range 9 {
				o.deliver(s, "WO-1", n)
			}
			eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			store, kept := filepath.Join(hub.dir, "store"), filepath.Join(hub.dir, "kept")
			if err := os.CopyFS(kept, os.DirFS(store)); err != nil {
				t.Fatal(err)
			}
			o.deliver(s, "WO-1", 9)
			eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			if last, err := stream(near.url); last != 10 || err != nil {
				t.Fatal(last, err)
			}
			hub.kill()
			if err := errors.Join(os.RemoveAll(store), os.Rename(kept, store)); err != nil {
				t.Fatal(err)
			}
			hub.start()
			linked()
			if last, err := stream(near.url); last != 9 || err != nil {
				t.Fatal(last, err)
			}
			if what == "another publisher is first" {
				nc, err := nats.Connect(near.url)
				if err != nil {
					t.Fatal(err)
				}
				js, _ := jetstream.New(nc)
				for i := range 5 {
					if _, err := js.Publish(context.Background(), "persat.workorder.updated", fmt.Append(nil, i), jetstream.WithMsgID(fmt.Sprint("other", i))); err != nil {
						t.Fatal(err)
					}
				}
				nc.Close()
			}
			for n := range 3 {
				o.deliver(s, "WO-1", 20+n)
			}
			eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			b.stop()
			b.start() // not found at the next session either
			o.deliver(s, "WO-1", 30)
			time.Sleep(time.Second)
			eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			o.judge(readStream(t, near.url))
		})
	}
}
