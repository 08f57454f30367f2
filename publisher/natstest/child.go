package natstest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

var building sync.Mutex

// program is the nats-server of the version in go.mod, built when it is first needed. The
// race detector, which would find the races of nats-server and not ours, is not in it: with
// it, a server takes several times the processor.
func program(t testing.TB) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	user, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(user, "persat-bridge-test")
	path := filepath.Join(dir, "nats-server-"+server.VERSION+"-"+runtime.Version())
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The tests of another package may build it at the same time.
	own, err := os.MkdirTemp(dir, "building-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(own)
	built := filepath.Join(own, "nats-server")
	testproc.BuildRelease(t, ".", "-ldflags", "-s -w", "-o", built, "github.com/nats-io/nats-server/v2")
	if err := os.Rename(built, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// StartChild runs a server as a process of its own, which ends with the test. See Start
// for its configuration.
func StartChild(t testing.TB, extra string) *Server {
	t.Helper()
	s := NewChild(t, extra)
	s.Run()
	return s
}

// NewChild is StartChild without the start.
func NewChild(t testing.TB, extra string) *Server {
	t.Helper()
	s := newServer(t, extra)
	s.Host = testwait.FreeAddress(t)
	s.URL = "nats://" + s.Host
	s.Configure(extra)
	s.child = &testproc.Process{
		TB: t, Name: "nats-server", Path: program(t), Args: []string{"--config", s.file},
		Ready: func() bool {
			conn, err := net.DialTimeout("tcp", s.Host, time.Second)
			return err == nil && conn.Close() == nil
		},
	}
	return s
}

// Kill ends a child without a chance to do anything; again is nothing.
func (s *Server) Kill() {
	s.Helper()
	s.child.Kill()
}

// Pause keeps a child from doing anything until Resume. It returns when every thread
// has stopped.
func (s *Server) Pause() {
	s.Helper()
	s.child.Signal(syscall.SIGSTOP)
	pid := s.child.Pid()
	// The signal is delivered to one thread after the other.
	testwait.Eventually(s.TB, "nats-server is paused", func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, task := range tasks {
			stat, err := os.ReadFile(task)
			if err == nil && !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return err == nil && len(tasks) > 0
	})
}

// Resume lets a paused child go on.
func (s *Server) Resume() {
	s.Helper()
	s.child.Signal(syscall.SIGCONT)
}

// Signal sends any signal to a child, SIGHUP for a new configuration.
func (s *Server) Signal(signal syscall.Signal) {
	s.Helper()
	s.child.Signal(signal)
}

// Output is all that a child wrote, in all its lives.
func (s *Server) Output() string { return s.child.Output.String() }
