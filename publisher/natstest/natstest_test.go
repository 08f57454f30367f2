package natstest

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// store makes a stream when there is none and stores a message.
func store(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	testwait.Eventually(t, "a message is stored", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: replicas}); err != nil {
			return false
		}
		_, err := js.Publish(ctx, "s", []byte("m"))
		return err == nil
	})
}

func messages(t *testing.T, s *Server) uint64 {
	t.Helper()
	stream, err := s.JetStream().Stream(t.Context(), "S")
	if err != nil {
		return 0
	}
	return stream.CachedInfo().State.Msgs
}

// A server has the same address and the same store after whatever ended it.
func TestServerComesBack(t *testing.T) {
	for name, start := range map[string]func() *Server{
		"in this process": func() *Server { return Start(t, "") },
		"child":           func() *Server { return StartChild(t, "") },
	} {
		t.Run(name, func(t *testing.T) {
			s := start()
			url, empty := s.URL, s.CopyStore()
			store(t, s.JetStream(), 1)
			s.Restart()
			if s.URL != url || messages(t, s) != 1 {
				t.Errorf("restarted: got %s with %d messages, want %s with 1", s.URL, messages(t, s), url)
			}
			kept := s.CopyStore()
			s.Stop()
			s.PutStore(empty)
			s.Run()
			if n := messages(t, s); n != 0 {
				t.Errorf("with the empty store: got %d messages, want none", n)
			}
			s.Stop()
			s.PutStore(kept)
			s.Run()
			if n := messages(t, s); n != 1 {
				t.Errorf("with the kept store: got %d messages, want 1", n)
			}
			s.Stop()
			s.WipeStore()
			s.Configure(`jetstream: {store_dir: $STORE, domain: hub}`)
			s.Run()
			if info, err := s.JetStream().AccountInfo(t.Context()); err != nil || info.Domain != "hub" {
				t.Errorf("with a jetstream block of its own: got %+v %v, want domain hub", info, err)
			}
		})
	}
}

func TestChildIsKilledAndPaused(t *testing.T) {
	s := StartChild(t, "")
	nc, err := nats.Connect(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s.Pause()
	if err := nc.FlushTimeout(100 * time.Millisecond); err == nil {
		t.Error("a paused server answers")
	}
	s.Resume()
	if err := nc.FlushTimeout(30 * time.Second); err != nil {
		t.Error(err)
	}
	s.Kill()
	s.Kill()
	if c, err := net.Dial("tcp", s.Host); err == nil {
		c.Close()
		t.Error("a killed server takes connections")
	}
	s.Run()
	s.JetStream()
}

func TestCluster(t *testing.T) {
	nodes := Cluster(t, "max_payload: 2MB")
	store(t, nodes[0].JetStream(), 3)
	if n := messages(t, nodes[2]); n != 1 {
		t.Errorf("got %d messages by way of another node, want 1", n)
	}
}

func TestServerIsReloaded(t *testing.T) {
	var logged atomic.Bool
	s := Start(t, "max_payload: 1MB", func(o *server.Options) { logged.Store(true) })
	s.Reload("max_payload: 2MB")
	if got := s.JetStream().Conn().MaxPayload(); got != 2_000_000 && got != 2<<20 || !logged.Load() {
		t.Errorf("got max_payload %d, want 2 MB", got)
	}
}

func TestProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // an echo
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	p := NewProxy(t, l.Addr().String())
	c, err := net.Dial("tcp", p.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echoed := func(wait time.Duration) bool {
		t.Helper()
		if _, err := c.Write([]byte("x")); err != nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(wait))
		_, err := io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	if !echoed(30 * time.Second) {
		t.Fatal("nothing passes")
	}
	p.HoldDown.Store(true)
	if echoed(50 * time.Millisecond) {
		t.Error("HoldDown: it passes")
	}
	p.HoldDown.Store(false)
	if !echoed(30 * time.Second) {
		t.Error("after HoldDown: what was held does not come")
	}
	p.Cut()
	if _, err := c.Read(make([]byte, 8)); err == nil {
		_, err = c.Read(make([]byte, 8))
		if err == nil {
			t.Error("Cut: the connection lives")
		}
	}
	p.Refuse.Store(true)
	if c, err = net.Dial("tcp", p.Host); err == nil {
		if echoed(30 * time.Second) {
			t.Error("Refuse: it passes")
		}
		c.Close()
	}
}
