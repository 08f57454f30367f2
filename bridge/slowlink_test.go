package bridge_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// behindProxy is a publisher with a proxy on its way to a nats-server.
func behindProxy(t *testing.T) (bridge.Publisher, *natstest.Proxy) {
	t.Helper()
	proxy := natstest.NewProxy(t, natstest.Start(t, "").Host)
	p, err := publisher.New(publisher.Options{
		Connect:  publisher.ConnectOptions{URL: proxy.URL},
		Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: 2 * time.Hour},
		Prefixes: map[string]string{"persat": "persat"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, proxy
}

// The way to NATS was slow (1 Mbit/s), and one of the newest events had 900 KB: to read it
// whole took longer than a request may, and no session ever began.
func TestLargeEventBehindASlowLink(t *testing.T) {
	t.Parallel()
	p, proxy := behindProxy(t)
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

// A look at the stream fetches the newest places whole, bodies and all, sixteen at a time: on a link
// that is fast enough for the events, but not for that, no session ever begins.
func TestLargeEventsOverASlowLink(t *testing.T) {
	t.Parallel()
	p, proxy := behindProxy(t)
	r := &rig{t: t, dir: t.TempDir()}
	with := func(o *bridge.Options) { o.Publisher, o.Log, o.AckTimeout = p, zap.NewNop(), 5*time.Second }
	r.open(true, with)
	random := rand.NewChaCha8([32]byte{})
	for i := range 40 {
		d := delivery(fmt.Sprint("a", i), fmt.Sprint(i))
		d.Body = make([]byte, 900<<10)
		random.Read(d.Body)
		r.accept(d, bridge.Accepted)
	}
	r.drained()
	r.stop()
	proxy.Rate.Store(20_000_000 / 8) // 20 Mbit/s
	r.open(true, with)
	r.accept(delivery("b", "1"), bridge.Accepted)
	up := false
	for begin := time.Now(); !up && time.Since(begin) < 45*time.Second; time.Sleep(500 * time.Millisecond) {
		up = r.bridge.Status(context.Background()).NATS.Up
	}
	status := r.bridge.Status(context.Background())
	if !up {
		t.Errorf("45 s over 20 Mbit/s, and no session has begun; %d pending: %s", status.Pending, strings.TrimSpace(status.NATS.Reason))
	}
	proxy.Rate.Store(0)
	r.drained()
}
