package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// TestAlertsAreSent is an outage of NATS, told by the real binary to a webhook in Spanish,
// and "alerts test".
func TestAlertsAreSent(t *testing.T) {
	var mu sync.Mutex
	var got []string
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(text))
	}))
	defer receiver.Close()
	has := func(n int, part string) bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == n && strings.Contains(got[n-1], part)
	}
	n := natstest.StartChild(t, "")
	secret := "generic+" + receiver.URL + "/s3cr3t-path"
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL, "PERSAT_BRIDGE_ALERTS_URLS="+secret, "PERSAT_BRIDGE_ALERTS_LANGUAGE=es",
		"PERSAT_BRIDGE_ALERTS_AFTER=1s", "PERSAT_BRIDGE_ADMIN_URL=https://ops.example.com/bridge/")
	b.Start()
	code, out, errors := b.tool("alerts", "test")
	if code != 0 || out != "alerts.urls[0] (generic): sent\n" || !has(1, "esta es una prueba") || !has(1, "https://ops.example.com/bridge/") {
		t.Errorf("alerts test: got %d %q %q, and the receiver %q", code, out, errors, got)
	}
	testwait.Eventually(t, "connected", func() bool { return b.metric("persat_bridge_nats_connected") == 1 })
	n.Stop()
	testwait.Eventually(t, "the begin", func() bool {
		return has(2, "sin conexión con NATS desde") && has(2, "https://ops.example.com/bridge/")
	})
	n.Run()
	testwait.Eventually(t, "the end", func() bool { return has(3, "terminó: otra vez conectado con NATS") })
	receiver.Close()
	code, out, errors = b.tool("alerts", "test")
	if code != 1 || out != "" || !strings.Contains(errors, "alerts.urls[0] (generic): ") || strings.Contains(errors, "s3cr3t") {
		t.Errorf("alerts test without a receiver: got %d %q %q", code, out, errors)
	}
	if text := b.Output.String(); strings.Contains(text, "s3cr3t") {
		t.Errorf("the log has the secret of alerts.urls: %s", text)
	}
}

// TestAlertsOverAKill: what was told before a kill is not told again after it, what had not
// been delivered is, and so is the end.
func TestAlertsOverAKill(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	away := true
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got = append(got, string(text))
	}))
	defer receiver.Close()
	count := func(part string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, text := range got {
			if strings.Contains(text, part) {
				n++
			}
		}
		return n
	}
	n := natstest.StartChild(t, "")
	n.Stop()
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL, "PERSAT_BRIDGE_ALERTS_URLS=generic+"+receiver.URL, "PERSAT_BRIDGE_ALERTS_AFTER=1s")
	b.Start()
	testwait.Eventually(t, "the alert is refused", func() bool { return strings.Contains(b.Output.String(), "an alert cannot be delivered") })
	b.Kill()
	mu.Lock()
	away = false
	mu.Unlock()
	b.Start()
	testwait.Eventually(t, "the begin, after a kill", func() bool { return count("no connection to NATS since") == 1 })
	b.quarantine("msg_text", "not JSON") // another condition, by which one sees that the first is not told again
	testwait.Eventually(t, "another condition", func() bool { return count("1 dead letter of persat") > 0 })
	b.Kill() // the second one may be doubled by it: it was delivered a moment ago
	b.Start()
	n.Run()
	testwait.Eventually(t, "the end, after a kill", func() bool { return count("over: connected to NATS again") == 1 })
	if n := count("no connection to NATS since"); n != 1 {
		t.Errorf("the outage was told %d times, want once: %q", n, got)
	}
}
