package natstest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// Server is a nats-server with JetStream. It keeps its address and its store over a
// restart.
type Server struct {
	testing.TB
	// URL is where clients reach it, and Host the same as host:port.
	URL, Host string
	// Store is JetStream's directory.
	Store string
	// Inside is the server of this process that runs now; nil for a child.
	Inside *server.Server

	file   string // the configuration
	change []func(*server.Options)
	child  *testproc.Process
}

// Start runs a server in this process until the test ends. Its configuration is
// JetStream and extra; change has the last word. An extra that names the store's directory,
// $STORE, has its own jetstream block.
func Start(t testing.TB, extra string, change ...func(*server.Options)) *Server {
	t.Helper()
	s := newServer(t, extra)
	s.change = change
	t.Cleanup(s.Stop)
	s.Run()
	return s
}

func newServer(t testing.TB, extra string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{TB: t, Store: filepath.Join(dir, "store"), file: filepath.Join(dir, "nats.conf")}
	s.Configure(extra)
	return s
}

// Configure writes the configuration that holds from the next Run or Reload on.
func (s *Server) Configure(extra string) {
	s.Helper()
	listen, jetStream := s.Host, ""
	if listen == "" {
		listen = "127.0.0.1:-1"
	}
	if !strings.Contains(extra, "$STORE") {
		jetStream = "jetstream: {store_dir: $STORE}\n"
	}
	text := strings.ReplaceAll(fmt.Sprintf("listen: %q\n%s%s\n", listen, jetStream, extra), "$STORE", fmt.Sprintf("%q", s.Store))
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *Server) options() *server.Options {
	s.Helper()
	o, err := server.ProcessConfigFile(s.file)
	if err != nil {
		s.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	for _, f := range s.change {
		f(o)
	}
	return o
}

// Run starts a server that has stopped, and waits until it takes clients.
func (s *Server) Run() {
	s.Helper()
	if s.child != nil {
		s.child.Start()
		return
	}
	o := s.options()
	if s.Host != "" {
		host, port, err := net.SplitHostPort(s.Host)
		if err != nil {
			s.Fatal(err)
		}
		o.Host = host
		if _, err := fmt.Sscan(port, &o.Port); err != nil {
			s.Fatal(err)
		}
	}
	inside, err := server.NewServer(o)
	if err != nil {
		s.Fatal(err)
	}
	inside.Start()
	s.Inside = inside
	if !inside.ReadyForConnections(30 * time.Second) {
		s.Fatal("nats-server does not get ready")
	}
	s.Host = inside.Addr().String()
	s.URL = "nats://" + s.Host
}

// Stop ends the server in good order. One that has ended stays so.
func (s *Server) Stop() {
	s.Helper()
	if s.child != nil {
		if s.child.Running() {
			if code := s.child.Stop(); code != 0 {
				s.Errorf("nats-server ended with %d", code)
			}
		}
		return
	}
	if s.Inside != nil {
		s.Inside.Shutdown()
		s.Inside.WaitForShutdown()
		s.Inside = nil
	}
}

// Restart stops the server and runs it again.
func (s *Server) Restart() {
	s.Helper()
	s.Stop()
	s.Run()
}

// Reload makes a server of this process take over another configuration as it runs.
func (s *Server) Reload(extra string) {
	s.Helper()
	s.Configure(extra)
	if err := s.Inside.ReloadOptions(s.options()); err != nil {
		s.Fatal(err)
	}
}

// CopyStore copies what the server has on disk now.
func (s *Server) CopyStore() (kept string) {
	s.Helper()
	kept = filepath.Join(s.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(s.Store)); err != nil {
		s.Fatal(err)
	}
	return kept
}

// PutStore puts such a copy in the place of the store, which is what a power loss leaves
// of it. The server must not run.
func (s *Server) PutStore(kept string) {
	s.Helper()
	s.WipeStore()
	if err := os.CopyFS(s.Store, os.DirFS(kept)); err != nil {
		s.Fatal(err)
	}
}

// WipeStore removes all that the server has on disk. The server must not run.
func (s *Server) WipeStore() {
	s.Helper()
	if err := os.RemoveAll(s.Store); err != nil {
		s.Fatal(err)
	}
}

// JetStream is a client of the server beside the product; it ends with the test.
func (s *Server) JetStream(options ...nats.Option) jetstream.JetStream {
	s.Helper()
	return JetStream(s.TB, s.URL, options...)
}

// JetStream is a client of a server that somebody else runs; it ends with the test.
func JetStream(t testing.TB, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// CreateStream creates a stream that may have been deleted a moment ago: nats-server removes
// the directory of a deleted stream after its answer, and a create that comes meanwhile fails
// with storeFailed.
func CreateStream(t testing.TB, js jetstream.JetStream, config jetstream.StreamConfig) (created jetstream.Stream) {
	t.Helper()
	const storeFailed = 10049
	testwait.Eventually(t, "stream "+config.Name+" is created", func() bool {
		var err error
		created, err = js.CreateStream(t.Context(), config)
		var refused *jetstream.APIError
		if errors.As(err, &refused) && refused.ErrorCode == storeFailed {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	})
	return created
}
