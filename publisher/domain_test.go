package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// stored is how many messages the stream has; -1 without a stream.
func stored(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrNoResponders) { // no JetStream there
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	return int(stream.CachedInfo().State.Msgs)
}

// writeContext makes a context of the nats CLI, and returns its name.
func writeContext(t *testing.T, settings map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "nats", "context")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "prod.json"), text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return "prod"
}

// A leaf node has a JetStream of its own, and the stream is its hub's. A context that says
// so was used without its domain: events landed in a second PERSAT of the leaf, or nothing
// was published at all.
func TestDomain(t *testing.T) {
	for name, test := range map[string]struct {
		leafDomain string
		options    func(*Options, string)
		inHub      bool
	}{
		"configured":                       {"leaf", func(o *Options, url string) { o.Connect.Domain = "hub" }, true},
		"configured as a prefix":           {"leaf", func(o *Options, url string) { o.Connect.APIPrefix = "$JS.hub.API" }, true},
		"configured, leaf without its own": {"", func(o *Options, url string) { o.Connect.Domain = "hub" }, true},
		"the leaf's own":                   {"leaf", func(o *Options, url string) {}, false},
		"of a context": {"leaf", func(o *Options, url string) {
			o.Connect = ConnectOptions{Context: writeContext(t, map[string]any{"url": url, "jetstream_domain": "hub"})}
		}, true},
		"of a context, leaf without its own": {"", func(o *Options, url string) {
			o.Connect = ConnectOptions{Context: writeContext(t, map[string]any{"url": url, "jetstream_domain": "hub"})}
		}, true},
		"of a context, as a prefix": {"leaf", func(o *Options, url string) {
			o.Connect = ConnectOptions{Context: writeContext(t, map[string]any{"url": url, "jetstream_api_prefix": "$JS.hub.API"})}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			hub, leaf := natstest.HubAndLeaf(t, test.leafDomain)
			o := optionsFor(leaf.URL)
			test.options(&o, leaf.URL)
			s := connect(t, o)
			first := mustPublish(t, s, "msg_1")
			if again := mustPublish(t, s, "msg_1"); !again.Duplicate {
				t.Errorf("the same once more: got %+v, want a duplicate", again)
			}
			if m, err := s.Message(t.Context(), first.Sequence); err != nil || m.ID != "persat:msg_1" {
				t.Errorf("read it: got %+v, %v", m, err)
			}
			if _, err := s.Stream(t.Context()); err != nil {
				t.Error(err)
			}
			wantHub, wantLeaf := 1, -1
			if !test.inHub {
				wantHub, wantLeaf = -1, 1
			}
			if got := stored(t, hub.JetStream()); got != wantHub {
				t.Errorf("the hub: got %d messages, want %d (-1: no stream)", got, wantHub)
			}
			if got := stored(t, leaf.JetStream()); got != wantLeaf {
				t.Errorf("the leaf: got %d messages, want %d (-1: no stream)", got, wantLeaf)
			}
			for _, f := range Check(t.Context(), o, 1000) {
				if f.Level == Error {
					t.Errorf("check: %s", f.Text)
				}
			}
		})
	}
}

// Hub and leaf both have the stream: each event is acknowledged by both. What only the other
// one has counts for nothing, and its sequences were taken for ours.
func TestAcknowledgementOfAnotherDomain(t *testing.T) {
	for name, domain := range map[string]string{"configured": "leaf", "learned from the stream": ""} {
		t.Run(name, func(t *testing.T) {
			hub, leaf := natstest.HubAndLeaf(t, "leaf")
			inHub, inLeaf := hub.JetStream(), leaf.JetStream()
			makeStream(t, inHub, plain())
			// Through the leaf, which is told a moment later what the hub's streams want.
			testwait.Eventually(t, "the hub gets what is published in the leaf", func() bool {
				if err := inLeaf.Conn().Publish("persat.other", nil); err != nil {
					t.Fatal(err)
				}
				return stored(t, inHub) >= 5
			})
			o := optionsFor(leaf.URL)
			o.Connect.Domain = domain
			s := connect(t, o)
			// The leaf's stream does not take the event: only the hub's acknowledges.
			updateStream(func(c *jetstream.StreamConfig) { c.NoAck = true })(t, leaf, inLeaf)
			_, f := publish(t, s, event("msg_1"))
			if f == nil || f.Class != bridge.Held || !strings.Contains(f.Reason, "domain hub acknowledged") || !strings.Contains(f.Reason, "that of domain leaf did not") {
				t.Errorf("got %v, want held for the acknowledgement of the hub", f)
			}
			updateStream(func(c *jetstream.StreamConfig) { c.NoAck = false })(t, leaf, inLeaf)
			if receipt := mustPublish(t, s, "msg_1"); receipt.Sequence != 1 {
				t.Errorf("got %+v, want the sequence in the leaf", receipt)
			}
			for i := range 50 { // whichever acknowledgement comes first
				if receipt := mustPublish(t, s, fmt.Sprint("msg_1", i)); receipt.Sequence != uint64(i+2) {
					t.Fatalf("got %+v, want sequence %d of the leaf", receipt, i+2)
				}
			}
		})
	}
}

// A context may set more than the bridge uses: that is named, and never dropped.
func TestContextIsUsedOrRefused(t *testing.T) {
	n := natstest.Start(t, `authorization: {user: bridge, password: pa55}`)
	for name, test := range map[string]struct {
		settings map[string]any
		want     string // in the refusal; empty when it connects
	}{
		"all that has no bearing": {map[string]any{"description": "d", "color_scheme": "light", "jetstream_event_prefix": "e", "user": "bridge", "password": "pa55", "token": ""}, ""},
		"an inbox of its own":     {map[string]any{"user": "bridge", "password": "pa55", "inbox_prefix": "_INBOX.other"}, ""},
		"domain and prefix":       {map[string]any{"jetstream_domain": "a", "jetstream_api_prefix": "b"}, "jetstream_domain and jetstream_api_prefix"},
		"password alone":          {map[string]any{"password": "pa55"}, "sets password without user"},
		"two identities":          {map[string]any{"user": "bridge", "password": "pa55", "creds": "/x"}, "too many types of credentials"},
		"seed alone":              {map[string]any{"user_seed": "S"}, "sets user_seed without user_jwt"},
		"certificate alone":       {map[string]any{"cert": "/x"}, "sets one of cert and key"},
		"of a newer nats command": {map[string]any{"user": "bridge", "password": "pa55", "quantum": "on"}, `sets "quantum"`},
		"the same, switched off":  {map[string]any{"user": "bridge", "password": "pa55", "quantum": false}, ""},
		"a proxy that is none":    {map[string]any{"user": "bridge", "password": "pa55", "socks_proxy": "socks5://127.0.0.1:1"}, "SOCKS proxy socks5://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			test.settings["url"] = n.URL
			o := optionsFor("")
			o.Connect = ConnectOptions{Context: writeContext(t, test.settings)}
			if test.want != "" {
				refused(t, o, test.want)
				return
			}
			mustPublish(t, connect(t, o), "msg_"+name)
		})
	}
}

// socks is a SOCKS5 proxy that asks nobody who they are.
func socks(t *testing.T, used *atomic.Int64) string {
	t.Helper()
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
			go func() {
				defer c.Close()
				b := make([]byte, 262)
				if _, err := io.ReadFull(c, b[:2]); err != nil { // version, number of methods
					return
				}
				_, _ = io.ReadFull(c, b[:b[1]])
				_, _ = c.Write([]byte{5, 0})
				_, _ = io.ReadFull(c, b[:4]) // connect to an IPv4 address
				if b[3] != 1 {
					return
				}
				_, _ = io.ReadFull(c, b[:6])
				address := (&net.TCPAddr{IP: net.IP(b[:4]), Port: int(b[4])<<8 | int(b[5])}).String()
				s, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer s.Close()
				_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
				used.Add(1)
				go func() { _, _ = io.Copy(s, c); s.Close() }()
				_, _ = io.Copy(c, s)
			}()
		}
	}()
	return "socks5://" + l.Addr().String()
}

// A context's proxy was dropped for the bridge's own dialer.
func TestProxyOfAContext(t *testing.T) {
	n := natstest.Start(t, "")
	var used atomic.Int64
	o := optionsFor("")
	o.Connect = ConnectOptions{Context: writeContext(t, map[string]any{"url": n.URL, "socks_proxy": socks(t, &used)})}
	mustPublish(t, connect(t, o), "msg_1")
	if used.Load() == 0 {
		t.Error("the proxy was not used")
	}
	// One that does not answer ends with the context.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	o.Connect = ConnectOptions{URL: n.URL, SOCKSProxy: "socks5://" + silent.Addr().String()}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s, err := p.Connect(ctx); err == nil {
		s.Close()
		t.Error("it connected")
	}
}
