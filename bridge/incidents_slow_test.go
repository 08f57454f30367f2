package bridge_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher"
)

// throttled passes connections on, and answers with so many bytes a second in all.
func throttled(t *testing.T, to string, rate *atomic.Int64) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				return
			}
			_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10)
			_ = s.(*net.TCPConn).SetReadBuffer(64 << 10)
			go func() { _, _ = io.Copy(s, c); s.Close() }()
			go func() {
				defer c.Close()
				for b := make([]byte, 16<<10); ; {
					n, err := s.Read(b)
					if err != nil {
						return
					}
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
					if per := rate.Load(); per > 0 {
						time.Sleep(time.Duration(n) * time.Second / time.Duration(per))
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// A look at the stream fetches the newest places whole, bodies and all, sixteen at a time: on a link
// that is fast enough for the events, but not for that, no session ever begins.
func TestLargeEventsOverASlowLink(t *testing.T) {
	dir := t.TempDir()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(dir, "nats"), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	var rate atomic.Int64
	address := throttled(t, s.Addr().String(), &rate)
	js, err := publisher.New(publisher.Options{
		Connect:  publisher.ConnectOptions{URL: "nats://" + address},
		Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: 2 * time.Hour},
		Prefixes: map[string]string{"persat": "persat"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir}
	with := func(o *bridge.Options) { o.Publisher, o.Log, o.AckTimeout = js, zap.NewNop(), 5*time.Second }
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
	rate.Store(20_000_000 / 8) // 20 Mbit/s
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
	rate.Store(0)
	r.drained()
}
