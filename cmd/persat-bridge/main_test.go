package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/persat-bridge/persat-bridge/publisher"
)

// long runs the oracles in full (make soak) instead of their short form.
var long = flag.Bool("long", false, "run the oracles in full")

// childVariable makes this test binary be one of the real programs, so that a
// test can kill it: persat-bridge itself, or a nats-server.
const childVariable = "PERSAT_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "persat-bridge":
		main()
	case "nats-server":
		serveNATS(os.Args[1])
	}
	testscript.Main(m, map[string]func(){"persat-bridge": main})
}

// serveNATS is a nats-server of its own process, from a configuration file.
func serveNATS(file string) {
	o, err := server.ProcessConfigFile(file)
	if err == nil {
		o.NoSigs = true
		var s *server.Server
		if s, err = server.NewServer(o); err == nil {
			s.Start()
			stop := make(chan os.Signal, 1)
			signal.Notify(stop, syscall.SIGTERM)
			<-stop
			s.Shutdown()
			s.WaitForShutdown()
			os.Exit(0)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// process is a child that can be killed and started again.
type process struct {
	t    testing.TB
	kind string
	args []string
	env  []string
	// ready says whether it works.
	ready func() bool
	// stderr takes its log in place of output.
	stderr *os.File

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan error
	output bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

// said is all that the process wrote, in all its lives.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// start starts it and waits until it is ready.
func (p *process) start() {
	p.t.Helper()
	p.launch()
	for deadline := time.Now().Add(60 * time.Second); !p.ready(); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-p.exited:
			p.t.Fatalf("%s ended before it was ready: %v\n%s", p.kind, err, p.said())
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not get ready:\n%s", p.kind, p.said())
		}
	}
}

func (p *process) launch() {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(self, p.args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), childVariable + "=" + p.kind}, p.env...)
	cmd.Stdout, cmd.Stderr = p, p
	if p.stderr != nil {
		cmd.Stderr = p.stderr
	}
	// The child must not outlive a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	p.cmd, p.exited = cmd, exited
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("%v to %s: %v", s, p.kind, err)
	}
}

// kill ends it without a chance to do anything.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// stop asks it to end, and returns its exit code.
func (p *process) stop() int {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	return p.wait()
}

// wait waits for its end, and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(60 * time.Second):
		p.t.Errorf("%s does not end:\n%s", p.kind, p.said())
		p.kill()
	}
	return p.cmd.ProcessState.ExitCode()
}

// freePort is a port that was free a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// bridgeProcess is 'persat-bridge serve' with the reference configuration, on
// free ports and temporary data.
type bridgeProcess struct {
	*process
	dir   string
	url   string // of the webhook
	admin string
	nats  string // of the embedded server
}

func newBridgeProcess(t testing.TB, env ...string) *bridgeProcess {
	t.Helper()
	dir := t.TempDir()
	public, admin, nats := freePort(t), freePort(t), freePort(t)
	b := &bridgeProcess{
		dir:   dir,
		url:   fmt.Sprintf("http://127.0.0.1:%d/webhooks/persat", public),
		admin: fmt.Sprintf("http://127.0.0.1:%d", admin),
		nats:  fmt.Sprintf("nats://127.0.0.1:%d", nats),
	}
	reference, err := filepath.Abs("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b.process = &process{
		t: t, kind: "persat-bridge", args: []string{"serve", "-c", reference},
		env: append([]string{
			"PERSAT_WEBHOOK_SECRET=" + testSecret,
			"PERSAT_BRIDGE_SERVER_LISTEN=127.0.0.1:" + strconv.Itoa(public),
			"PERSAT_BRIDGE_ADMIN_LISTEN=127.0.0.1:" + strconv.Itoa(admin),
			"PERSAT_BRIDGE_NATS_EMBEDDED_LISTEN=127.0.0.1:" + strconv.Itoa(nats),
			"PERSAT_BRIDGE_JOURNAL_DIR=" + filepath.Join(dir, "journal"),
			"PERSAT_BRIDGE_NATS_EMBEDDED_STORE_DIR=" + filepath.Join(dir, "nats"),
		}, env...),
		ready: func() bool { return ready(context.Background(), b.admin+"/readyz") == nil },
	}
	t.Cleanup(b.cleanup)
	return b
}

func (p *process) cleanup() {
	if p.cmd != nil && p.cmd.ProcessState == nil {
		p.kill()
	}
	if p.t.Failed() {
		p.t.Logf("%s said:\n%s", p.kind, tailOf(p.said(), 8000))
	}
}

func tailOf(s string, n int) string { return s[max(0, len(s)-n):] }

// natsProcess is a nats-server with JetStream.
type natsProcess struct {
	*process
	dir  string
	port int
	url  string
}

func newNATSProcess(t testing.TB, extra string) *natsProcess {
	t.Helper()
	dir := t.TempDir()
	n := &natsProcess{dir: dir, port: freePort(t)}
	n.url = fmt.Sprintf("nats://127.0.0.1:%d", n.port)
	file := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream: {store_dir: %q}\n%s\n", n.port, filepath.Join(dir, "store"), extra)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.process = &process{t: t, kind: "nats-server", args: []string{file}, ready: func() bool {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(n.url, "nats://"), time.Second)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}}
	t.Cleanup(n.cleanup)
	return n
}

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

// dialJetStream connects to the NATS of a test; who asks closes the connection.
func dialJetStream(ctx context.Context, t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := publisher.Dial(ctx, publisher.ConnectOptions{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// eventually waits for a state that has to come.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	patience := 2 * time.Minute
	if *long {
		patience = 15 * time.Minute
	}
	for deadline := time.Now().Add(patience); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
