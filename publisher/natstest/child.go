package natstest

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// childVariable makes a test binary be a nats-server with the configuration file that
// it names.
const childVariable = "PERSAT_TEST_NATS_SERVER"

// A child is the test binary itself. It must not run the tests again, and a TestMain
// could forget to look: so it never gets that far.
func init() {
	if file := os.Getenv(childVariable); file != "" {
		if err := serve(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// serve runs a server until SIGTERM.
func serve(file string) error {
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		return err
	}
	o.NoSigs = true
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	s.ConfigureLogger()
	s.Start()
	<-stop
	s.Shutdown()
	s.WaitForShutdown()
	return nil
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
		TB: t, Name: "nats-server", Env: append(os.Environ(), childVariable+"="+s.file),
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
