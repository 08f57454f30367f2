package bridge_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// The way to NATS was slow (1 Mbit/s), and one of the newest events had 900 KB: to read it
// whole took longer than a request may, and no session ever began.
func TestLargeEventBehindASlowLink(t *testing.T) {
	proxy := natstest.NewProxy(t, natstest.Start(t, "").Host)
	p, err := publisher.New(publisher.Options{
		Connect:  publisher.ConnectOptions{URL: proxy.URL},
		Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: 2 * time.Hour},
		Prefixes: map[string]string{"persat": "persat"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: t.TempDir()}
	with := func(o *bridge.Options) { o.Publisher = p }
	r.open(true, with)
	d := delivery("large", "1")
	d.Body = make([]byte, 900<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(d.Body)
	r.accept(d, bridge.Accepted)
	r.drained()
	r.stop()
	proxy.Rate.Store(1_000_000 / 8)
	r.open(true, with)
	r.accept(delivery("small", "1"), bridge.Accepted)
	r.drained()
}
