package publisher

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// names answers every question for an A record with these addresses, in this order.
func names(t *testing.T, addresses ...[4]byte) *net.Resolver {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 1500); ; {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if q.Type == dnsmessage.TypeA {
				for _, a := range addresses {
					m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: a}})
				}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = c.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

// One DNS name has all servers of the cluster (doc.go). The first address is that of a server that
// is paused: its kernel takes connections and nothing answers. The others are never tried.
func TestPausedServerBehindOneName(t *testing.T) {
	paused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer paused.Close()
	port := paused.Addr().(*net.TCPAddr).Port
	natstest.Start(t, "", func(o *server.Options) { o.Host, o.Port = "127.0.0.2", port })
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	net.DefaultResolver = names(t, [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 2})
	for range 2 {
		begin := time.Now()
		nc, err := Dial(context.Background(), ConnectOptions{URL: fmt.Sprintf("nats://nats.example.test:%d", port)})
		if err == nil {
			nc.Close()
			return
		}
		t.Log(time.Since(begin).Round(time.Second), err)
	}
	t.Error("two attempts, and none was at the second address of the name, where a server is well")
}

// The resolver refuses. The reason has the local port of the question in it, so each is a new kind of
// failure: one line of the log each, and they are all remembered.
func TestSameFailureSameWords(t *testing.T) {
	before := net.DefaultResolver
	defer func() { net.DefaultResolver = before }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", "127.0.0.1:9")
	}}
	words := make(map[string]bool)
	for range 5 {
		_, err := Dial(context.Background(), ConnectOptions{URL: "nats://nats.example.test:4222"})
		if err == nil {
			t.Fatal("connected")
		}
		words[err.Error()] = true
		t.Log(err)
	}
	if len(words) > 1 {
		t.Errorf("5 attempts failed in %d ways", len(words))
	}
}

// Of two servers one refuses our password and the other is down: what is wrong is the password.
func TestTheRefusalIsTold(t *testing.T) {
	n := natstest.Start(t, `authorization: {user: bridge, password: pa55}`)
	silent := 0
	for range 10 {
		_, err := Dial(context.Background(), ConnectOptions{URL: n.URL + ",nats://" + testwait.FreeAddress(t), User: "bridge", Password: "wr0ng"})
		if err == nil {
			t.Fatal("connected")
		}
		if !strings.Contains(strings.ToLower(err.Error()), "authorization") {
			silent++
			t.Log(err)
		}
	}
	if silent > 0 {
		t.Errorf("%d of 10 errors do not say that the server refused us", silent)
	}
}
