package main

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// long runs the oracles in full (make soak) instead of their short form.
var long = flag.Bool("long", false, "run the oracles in full")

// childVariable makes this test binary be persat-bridge, so that a test can kill it.
const childVariable = "PERSAT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
	}
	testscript.Main(tests{m}, map[string]func(){"persat-bridge": main})
}

// tests are all tests of this package. In full they may wait longer.
type tests struct{ *testing.M }

func (m tests) Run() int {
	flag.Parse()
	if *long {
		testwait.Patience = 15 * time.Minute
	}
	return m.M.Run()
}

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// bridgeProcess is 'persat-bridge serve' with the reference configuration, on
// free ports and temporary data.
type bridgeProcess struct {
	*testproc.Process
	t     testing.TB
	dir   string
	url   string // of the webhook
	admin string
	nats  string // of the embedded server
}

func newBridgeProcess(t testing.TB, env ...string) *bridgeProcess {
	t.Helper()
	dir := t.TempDir()
	public, admin, nats := testwait.FreeAddress(t), testwait.FreeAddress(t), testwait.FreeAddress(t)
	b := &bridgeProcess{
		t:     t,
		dir:   dir,
		url:   "http://" + public + "/webhooks/persat",
		admin: "http://" + admin,
		nats:  "nats://" + nats,
	}
	reference, err := filepath.Abs("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b.Process = &testproc.Process{
		TB: t, Name: "persat-bridge", Args: []string{"serve", "-c", reference},
		Env: append([]string{
			"PATH=" + os.Getenv("PATH"),
			childVariable + "=persat-bridge",
			"PERSAT_WEBHOOK_SECRET=" + testSecret,
			"PERSAT_BRIDGE_SERVER_LISTEN=" + public,
			"PERSAT_BRIDGE_ADMIN_LISTEN=" + admin,
			"PERSAT_BRIDGE_NATS_EMBEDDED_LISTEN=" + nats,
			"PERSAT_BRIDGE_JOURNAL_DIR=" + filepath.Join(dir, "journal"),
			"PERSAT_BRIDGE_NATS_EMBEDDED_STORE_DIR=" + filepath.Join(dir, "nats"),
		}, env...),
		Ready: func() bool { return ready(context.Background(), b.admin+"/readyz") == nil },
	}
	return b
}

func tailOf(s string, n int) string { return s[max(0, len(s)-n):] }

// metric is the sum of a metric's values over its labels.
func (b *bridgeProcess) metric(name string) float64 {
	b.t.Helper()
	response, err := http.Get(b.admin + "/metrics")
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		b.t.Fatal(err)
	}
	sum, found := 0.0, false
	for line := range strings.Lines(text.String()) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndex(rest, " ")+1:], 64)
		if err != nil {
			b.t.Fatalf("metric %q: %v", line, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		b.t.Fatalf("no metric %s", name)
	}
	return sum
}
