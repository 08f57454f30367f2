package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// A token in the URL of a server stands where a user's name does, and was shown like one:
// by check, tail and the API.
func TestTokenInAURLIsNotShown(t *testing.T) {
	t.Parallel()
	const token = "sEcReT-t0ken"
	n := natstest.StartChild(t, "authorization: {token: "+token+"}")
	url := strings.Replace(n.URL, "nats://", "nats://"+token+"@", 1)
	b := newBridgeProcess(t, "NATS_URL="+url)
	b.Start()
	b.post("a", eventBody("workorder.created", "1", ""))
	b.drained()

	shown := map[string]string{}
	for _, path := range []string{"/api/status", "/api/stream", "/api/events", "/api/history", "/metrics"} {
		response, err := http.Get(b.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v", path, response.StatusCode, err)
		}
		shown[path] = string(text)
	}
	g := startTail(t, url, "--since", "1h")
	g.waitFor(1)
	g.stop()
	shown["tail"] = g.stderr.String()
	code, stdout, stderr := b.tool("check", "--connect")
	if !strings.Contains(stdout, "ok: connected to nats://<secret>@") {
		t.Errorf("check --connect: exit code %d, %s%s", code, stdout, stderr)
	}
	shown["check"] = stdout + stderr
	n.Kill()
	testwait.Eventually(t, "NATS away", func() bool { return b.metric("persat_bridge_nats_connected") == 0 })
	_, stdout, stderr = b.tool("status")
	shown["status"] = stdout + stderr
	_, stdout, stderr = b.tool("check", "--connect")
	shown["check without a server"] = stdout + stderr
	shown["the log"] = b.Output.String()
	for what, text := range shown {
		if strings.Contains(text, token) {
			t.Errorf("%s shows the token: %s", what, text)
		}
	}
}
