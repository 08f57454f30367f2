package publisher

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// childVariable makes this test binary be a nats-server with the configuration
// file that it names, so that a test can pause and kill it.
const childVariable = "PERSAT_TEST_NATS"

func TestMain(m *testing.M) {
	if file := os.Getenv(childVariable); file != "" {
		if err := serveNATS(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		select {} // until it is killed
	}
	// Most tests wait for answers that do not come: more of them may run at once
	// than there are processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func serveNATS(file string) error {
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		return err
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	return nil
}

// natsServer is a real nats-server.
type natsServer struct {
	*testing.T
	url  string
	host string // and port
	// inside is nil when it is a process of its own.
	inside *server.Server
	file   string
	child  *exec.Cmd
	killed sync.Once
}

// configure writes a configuration with JetStream and what extra has.
func configure(t *testing.T, listen, extra string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream: {store_dir: %q}\n%s\n", listen, filepath.Join(dir, "store"), extra)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startServer runs a server in this process. What extra sets wins.
func startServer(t *testing.T, extra string, change ...func(*server.Options)) *natsServer {
	t.Helper()
	n := &natsServer{T: t, file: configure(t, "127.0.0.1:-1", extra)}
	o, err := server.ProcessConfigFile(n.file)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	for _, f := range change {
		f(o)
	}
	if n.inside, err = server.NewServer(o); err != nil {
		t.Fatal(err)
	}
	n.inside.Start()
	t.Cleanup(func() { n.inside.Shutdown(); n.inside.WaitForShutdown() })
	if !n.inside.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats-server does not get ready")
	}
	n.host = n.inside.Addr().String()
	n.url = "nats://" + n.host
	return n
}

// freeAddress is one that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startChild runs a server as a process of its own.
func startChild(t *testing.T, extra string) *natsServer {
	t.Helper()
	n := &natsServer{T: t, host: freeAddress(t)}
	n.url, n.file = "nats://"+n.host, configure(t, n.host, extra)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n.child = exec.Command(self)
	n.child.Env = append(os.Environ(), childVariable+"="+n.file)
	n.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	eventually(t, "nats-server listens", func() bool {
		c, err := net.Dial("tcp", n.host)
		return err == nil && c.Close() == nil
	})
	return n
}

func (n *natsServer) signal(s syscall.Signal) {
	n.Helper()
	if err := n.child.Process.Signal(s); err != nil {
		n.Fatal(err)
	}
	if s != syscall.SIGSTOP {
		return
	}
	// The signal is delivered to one thread after the other.
	eventually(n.T, "nats-server is paused", func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", n.child.Process.Pid))
		for _, task := range tasks {
			stat, err := os.ReadFile(task)
			if err == nil && !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return err == nil && len(tasks) > 0
	})
}

// kill ends the child without a chance to do anything; again is nothing.
func (n *natsServer) kill() {
	n.killed.Do(func() {
		_ = n.child.Process.Kill()
		_ = n.child.Wait() // "signal: killed"
	})
}

// reload changes the configuration of a server in this process.
func (n *natsServer) reload(extra string) {
	n.Helper()
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream: {store_dir: %q}\n%s\n", filepath.Join(filepath.Dir(n.file), "store"), extra)
	if err := os.WriteFile(n.file, []byte(text), 0o600); err != nil {
		n.Fatal(err)
	}
	o, err := server.ProcessConfigFile(n.file)
	if err != nil {
		n.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	if err := n.inside.ReloadOptions(o); err != nil {
		n.Fatal(err)
	}
}

// admin is a client beside the bridge.
func (n *natsServer) admin(options ...nats.Option) jetstream.JetStream {
	n.Helper()
	nc, err := nats.Connect(n.url, options...)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		n.Fatal(err)
	}
	return js
}

// options are those of a bridge with one source, that manages its stream.
func (n *natsServer) options() Options {
	return Options{
		Connect:  ConnectOptions{URL: n.url},
		Stream:   StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: time.Minute},
		Prefixes: map[string]string{"persat": "persat"},
		// Attempts that must fail should do so soon.
		AckTimeout: time.Second,
	}
}

func connect(t *testing.T, o Options) bridge.Session {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, p)
}

func open(t *testing.T, p *JetStream) bridge.Session {
	t.Helper()
	s, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// event is one that can be published.
func event(id string) *bridge.Event {
	return &bridge.Event{Source: "persat", ID: id, Type: "client.created", Accepted: time.Now(), Body: []byte(`{"eventType":"client.created"}`)}
}

// publish makes one attempt and waits for its end.
func publish(t *testing.T, s bridge.Session, e *bridge.Event) (bridge.Receipt, *bridge.Failure) {
	t.Helper()
	var receipt bridge.Receipt
	var err error
	ended := make(chan struct{})
	s.Publish(e, func(r bridge.Receipt, e error) {
		receipt, err = r, e
		close(ended)
	})
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("publish %s: the attempt does not end", e.ID)
	}
	if err == nil {
		return receipt, nil
	}
	f, ok := errors.AsType[*bridge.Failure](err)
	if !ok {
		t.Fatalf("publish: got %v, which is no Failure", err)
	}
	return receipt, f
}

func mustPublish(t *testing.T, s bridge.Session, id string) bridge.Receipt {
	t.Helper()
	receipt, f := publish(t, s, event(id))
	if f != nil {
		t.Fatalf("publish %s: %v", id, f)
	}
	return receipt
}

// makeStream makes a stream as somebody else than the bridge.
func makeStream(t *testing.T, js jetstream.JetStream, c jetstream.StreamConfig) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a state that has to come.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// ended waits for the end of a session.
func ended(t *testing.T, s bridge.Session) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the session does not end")
	}
}
