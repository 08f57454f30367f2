package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// A deleted stream that had somebody else's messages too is not created again until an
// operator says so.
func TestStreamRecreate(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	b := newBridgeProcess(t, "NATS_URL="+n.URL)
	b.Start()
	testwait.Eventually(t, "the stream is created", func() bool { _, err := js.Stream(t.Context(), "PERSAT"); return err == nil })
	if _, err := js.Publish(t.Context(), "persat.stranger", nil); err != nil {
		t.Fatal(err)
	}
	o := newOracle(t, b.url)
	o.postCount(1)
	testwait.Eventually(t, "published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
	command := func(args ...string) (code int, said string) {
		var out bytes.Buffer
		code = run(t.Context(), args, []string{"PERSAT_BRIDGE_ADMIN_LISTEN=" + strings.TrimPrefix(b.admin, "http://")}, strings.NewReader(""), &out, &out)
		return code, out.String()
	}
	if code, said := command("stream", "recreate", "--yes"); code != exitFailed || !strings.Contains(said, "not known to be missing") {
		t.Errorf("while it is there: got %d %s", code, said)
	}
	if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
		t.Fatal(err)
	}
	o.deliver(newSender(b.url, o.secret, 1), "WO-held", 1)
	testwait.Eventually(t, "the log says that it is missing", func() bool { return strings.Contains(b.Output.String(), "though events were published to it") })
	if code, said := command("stream", "recreate"); code != exitUsage || !strings.Contains(said, "--yes") {
		t.Errorf("asked, and nobody answered: got %d %s", code, said)
	}
	if code, said := command("stream", "recreate", "--yes"); code != exitDone || !strings.Contains(said, "stream PERSAT was created at") {
		t.Errorf("got %d %s", code, said)
	}
	testwait.Eventually(t, "the held event is published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
	if code, _ := command("stream"); code != exitUsage {
		t.Errorf("without a word what to do: got %d", code)
	}
}
