package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/admin"
	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

func TestStatusCommand(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL)

	if code, stdout, stderr := b.tool("status"); code != 2 || stdout != "" || !strings.Contains(stderr, "no bridge answers at ") {
		t.Errorf("without a bridge: exit code %d, %q, %q", code, stdout, stderr)
	}
	b.Start()
	testwait.Eventually(t, "connected", func() bool { return b.metric("persat_bridge_nats_connected") == 1 })
	code, stdout, stderr := b.tool("status")
	if code != 0 || !strings.HasPrefix(stdout, "Ready; no event has arrived yet\n") || stderr != "" {
		t.Errorf("all is well: exit code %d, %q, %q", code, stdout, stderr)
	}

	if !strings.Contains(stdout, "  published     one by one; atomic batches will be tried when events pile up\n") {
		t.Errorf("how events are published: %q", stdout)
	}

	unsigned, err := http.Post(b.url, "application/json", strings.NewReader("{}"))
	if err != nil || unsigned.Body.Close() != nil {
		t.Fatal(err)
	}
	code, stdout, _ = b.tool("status")
	for _, want := range []string{"Ready; no event has arrived yet, 1 request was refused\n", "Refused requests\n", "persat missing_signature: 1, the last at ", "from 127.0.0.1"} {
		if code != 1 || !strings.Contains(stdout, want) {
			t.Errorf("an unsigned request: exit code %d, %q, want 1 and %q", code, stdout, want)
		}
	}

	n.Kill()
	testwait.Eventually(t, "NATS away", func() bool { return b.metric("persat_bridge_nats_connected") == 0 })
	b.post("a", eventBody("workorder.created", "1", ""))
	code, stdout, _ = b.tool("status")
	for _, want := range []string{"Accepting; NATS away since ", "1 event waiting", "Bring NATS back.", "  waiting       1\n", "  NATS          away since "} {
		if code != 1 || !strings.Contains(stdout, want) {
			t.Errorf("NATS away: exit code %d, %q, want 1 and %q", code, stdout, want)
		}
	}
	code, stdout, _ = b.tool("status", "--json")
	var s admin.StatusAnswer
	if err := json.Unmarshal([]byte(stdout), &s); code != 1 || err != nil || s.Pending != 1 || s.Sentence.Level != admin.Warn || s.Sentence.Head.Code != "accepting" {
		t.Errorf("NATS away, as JSON: exit code %d, %v, %s", code, err, stdout)
	}

	// It is followed, and ends with the code of what it has shown last.
	ctx, cancel := context.WithCancel(t.Context())
	out := new(testproc.Output)
	end := make(chan int, 1)
	go func() {
		end <- run(ctx, []string{"status", "--watch", "-c", b.Args[2]}, b.Env, strings.NewReader(""), out, new(bytes.Buffer))
	}()
	testwait.Eventually(t, "the outage", func() bool { return strings.Contains(out.String(), "NATS away since") })
	n.Run()
	b.drained()
	testwait.Eventually(t, "its end", func() bool { return strings.Contains(out.String(), "Accepting and publishing; nothing waiting") })
	cancel()
	if code := <-end; code != 0 {
		t.Errorf("status --watch: exit code %d, %s", code, out.String())
	}
}

func TestReplayCancelCommand(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t)
	b.Start()
	b.post("a", eventBody("workorder.created", "1", ""))
	b.drained()
	if code, _, stderr := b.tool("replay", "cancel"); code != exitFailed || !strings.Contains(stderr, "there was no replay") {
		t.Errorf("before any: exit code %d, %q", code, stderr)
	}
	if code, stdout, stderr := b.tool("replay", "--all", "--yes"); code != exitDone {
		t.Fatalf("replay: exit code %d, %s%s", code, stdout, stderr)
	}
	if code, _, stderr := b.tool("replay", "cancel"); code != exitFailed || !strings.Contains(stderr, "no replay is running: replay 1 has ended at ") {
		t.Errorf("after one: exit code %d, %q", code, stderr)
	}
}
