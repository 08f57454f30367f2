package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// TestOracleRemoteStreamLosesItsTail: the bridge is connected to a server of a cluster
// (or a leaf node) that does not hold the stream. The server that does loses power, and
// the bridge's connection stays up.
func TestOracleRemoteStreamLosesItsTail(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"another publisher is first", "this bridge is first"} {
		t.Run(what, func(t *testing.T) {
			nodes := natstest.ChildCluster(t, "")
			testwait.Eventually(t, "a stream of one replica", func() bool {
				nc, err := nats.Connect(nodes[0].URL)
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
			leader := streamLeader(t, nodes[0].URL)
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
				testwait.Eventually(t, "the stream answers", func() bool { _, err := stream(near.URL); return err == nil })
			}
			b := newBridgeProcess(t, "NATS_URL="+near.URL)
			b.Start()
			o := newOracle(t, b.url)
			o.padding = 200
			s := newSender(o.url, o.secret, 1)
			defer s.close()
			for n := range 9 {
				o.deliver(s, "WO-1", n)
			}
			testwait.Eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			kept := hub.CopyStore()
			o.deliver(s, "WO-1", 9)
			testwait.Eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			if last, err := stream(near.URL); last != 10 || err != nil {
				t.Fatal(last, err)
			}
			hub.Kill()
			hub.PutStore(kept)
			time.Sleep(300 * time.Millisecond) // a moment, and longer than the shortest that integrity.Monitor sees
			hub.Run()
			linked()
			// The bridge may have seen it by now, and have published the tenth again.
			if last, err := stream(near.URL); err != nil || last != 9 && b.metric("persat_bridge_healed_events_total") == 0 {
				t.Fatal(last, err)
			}
			if what == "another publisher is first" {
				nc, err := nats.Connect(near.URL)
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
			testwait.Eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			b.Stop()
			b.Start() // not found at the next session either
			o.deliver(s, "WO-1", 30)
			time.Sleep(time.Second)
			testwait.Eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			o.judge(readStream(t, near.URL))
		})
	}
}
