package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A journal that was repaired has the damaged body as a dead letter: 'verify' advised another
// repair, which left the same behind, for ever.
func TestVerifyAfterRepair(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL=nats://127.0.0.1:1") // nobody listens there
	b.Start()
	for _, id := range []string{"a", "b", "c"} {
		b.post("msg_"+id, eventBody("workorder.created", id, "mark of "+id))
	}
	b.Kill()
	dir, repaired := filepath.Join(b.dir, "journal"), filepath.Join(b.dir, "repaired")
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	flipped := false
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(text, []byte("mark of b")); i >= 0 {
			text[i] = 'M'
			flipped = os.WriteFile(name, text, 0o600) == nil
		}
	}
	if !flipped {
		t.Fatal("the body is in no log")
	}
	for _, c := range []struct {
		args        string
		code        int
		out, stderr string
	}{
		{"repair --to " + repaired + " --dir " + dir, exitFailed, "it is a dead letter now", "1 record could not be saved"},
		{"verify --dir " + repaired, exitDone, "msg_b", ""},
		{"verify --dir " + repaired, exitDone, "\n  persat-bridge dead discard --record 2\n", ""},
		{"verify --dir " + repaired, exitDone, "3 records: all whole but 1 dead letter; there is nothing to repair\n", ""},
	} {
		code, out, stderr := b.tool(append([]string{"journal"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("journal %s: got %d\n%s\n%s\nwant %d, %q, %q", c.args, code, out, stderr, c.code, c.out, c.stderr)
		}
	}
}
