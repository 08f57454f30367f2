package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// TestOperatorCommands are the command lines of an operator, against a running bridge.
func TestOperatorCommands(t *testing.T) {
	n := natstest.Start(t, "max_payload: 4096")
	b := newBridgeProcess(t, "NATS_URL="+n.URL)
	b.Start()
	for i := range 3 {
		b.post(fmt.Sprintf("msg_%d", i), eventBody("workorder.created", fmt.Sprint(i), ""))
	}
	b.post("msg_large", eventBody("workorder.closed", "48", strings.Repeat("x", 5000)))
	s := newSender(b.url, testSecret, 1)
	defer s.close()
	if a, err := s.post(t.Context(), "msg_odd", []byte("hola")); err != nil || !a.ok() {
		t.Fatalf("%+v %v", a, err)
	}
	b.drained()
	file := filepath.Join(t.TempDir(), "body")
	for _, c := range []struct {
		args        string
		code        int
		out, stderr string
	}{
		{"dead list", 0, "2 dead letters, 1 of which can be published: persat-bridge dead replay --all", ""},
		{"dead list --type workorder.*", 0, "1 dead letter: persat-bridge dead replay --all", ""},
		{"dead list --source nobody", 2, "", `--source: "nobody" is no source: there are persat`},
		{"dead show msg_large --output " + file, 0, "workorder.closed", "bytes in " + file},
		{"dead show --all --output " + file, 2, "", "--output: 2 dead letters fit: name one"},
		{"dead replay --all", 2, "", "1 of 2 dead letters can be published: replay it? [y/N]"},
		{"dead replay msg_odd", 1, "", "1 dead letter has no usable event type and cannot be published"},
		{"dead replay msg_large --yes", 1, "1 replayed: 0 published, 1 dead again, 0 still waiting", "is dead again: larger than"},
		{"replay --since 1h --dry-run", 0, "3 events would be published again", ""},
		{"replay --type *.created --dry-run", 0, "3 events would be published again", ""},
		{"replay --type client.updated --yes", 1, "", "no retained event of type client.updated"},
		{"replay --source nobody --yes", 2, "", `--source: "nobody" is no source`},
		{"replay --since 1h --until 2h --yes", 2, "", "is not before --until"},
		{"replay --id msg_1 --yes", 0, "1 published", ""},
		{"dead replay msg_odd --yes --json", 1, `"refused":1`, "1 dead letter has no usable event type and cannot be published"},
		{"tail --no-follow", 0, "persat.workorder.created", "from the beginning; then ends"},
		{"tail --no-follow --entity 77", 0, "", "then ends"},
		{"tail --no-follow --limit 0", 2, "", "--limit"},
		{"journal stat", 1, "", "'persat-bridge status' says how it is"},
		{"staus now", 2, "", "did you mean 'persat-bridge status'?"},
		{"dead lst", 2, "", "did you mean 'persat-bridge dead list'?"},
	} {
		args := strings.Fields(c.args)
		code, out, stderr := b.tool(args...)
		if args[0] == "staus" || args[1] == "lst" { // they take no -c
			var outBuf, errBuf strings.Builder
			code = run(t.Context(), args, b.Env, strings.NewReader(""), &outBuf, &errBuf)
			out, stderr = outBuf.String(), errBuf.String()
		}
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: got %d\n%s\n%s\nwant %d, %q, %q", c.args, code, out, stderr, c.code, c.out, c.stderr)
		}
	}
	if body, err := os.ReadFile(file); err != nil || string(body) != eventBody("workorder.closed", "48", strings.Repeat("x", 5000)) {
		t.Errorf("--output: got %d bytes (%v), want the body", len(body), err)
	}
	// A replay is marked, and a limit holds.
	_, out, _ := b.tool("tail", "--no-follow")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 || !strings.HasSuffix(lines[3], " r2") || strings.HasSuffix(lines[2], " r2") {
		t.Errorf("tail --no-follow: got %q, want four events, the last one replayed", lines)
	}
	if _, out, _ = b.tool("tail", "--no-follow", "--limit", "2", "--json"); strings.Count(out, "\n") != 2 {
		t.Errorf("tail --limit 2: got %q", out)
	}
}

func TestCheckSaysWhere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("config.yaml", []byte("admin:\n  listen: 127.0.0.1:8081\njournal:\n  retenton: 1h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, stderr strings.Builder
	if code := run(t.Context(), []string{"check", "--json"}, []string{"PERSAT_WEBHOOK_SECRET=" + testSecret}, strings.NewReader(""), &out, &stderr); code != exitUsage {
		t.Errorf("got %d, want 2", code)
	}
	var findings []publisher.Finding
	if err := json.Unmarshal([]byte(out.String()), &findings); err != nil || len(findings) == 0 {
		t.Fatalf("got %s (%v)", out.String(), err)
	}
	if f := findings[len(findings)-1]; f.File != "config.yaml" || f.Line != 4 || f.Key != "journal.retenton" {
		t.Errorf("got %+v, want file, line and key", f)
	}
}

func TestCompletions(t *testing.T) {
	for args, want := range map[string]string{
		"tail --type work":       "workorder.closed",
		"replay --source ":       "persat",
		"journal dump --state p": "pending",
	} {
		var out, stderr strings.Builder
		words := append([]string{"__complete"}, strings.Split(args, " ")...)
		if code := run(t.Context(), words, nil, strings.NewReader(""), &out, &stderr); code != 0 || !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%s: got %d %q %q, want %s among them", args, code, out.String(), stderr.String(), want)
		}
	}
}
