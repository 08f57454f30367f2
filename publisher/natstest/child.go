package natstest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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
	s.Host = FreeAddress(t)
	s.URL = "nats://" + s.Host
	s.Configure(extra)
	s.child = &child{s: s}
	t.Cleanup(s.child.cleanup)
	return s
}

// Kill ends a child without a chance to do anything; again is nothing.
func (s *Server) Kill() {
	s.Helper()
	s.child.kill()
}

// Pause keeps a child from doing anything until Resume. It returns when every thread
// has stopped.
func (s *Server) Pause() {
	s.Helper()
	s.child.signal(syscall.SIGSTOP)
	pid := s.child.cmd.Process.Pid
	// The signal is delivered to one thread after the other.
	Eventually(s.TB, "nats-server is paused", func() bool {
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
	s.child.signal(syscall.SIGCONT)
}

// Signal sends any signal to a child, SIGHUP for a new configuration.
func (s *Server) Signal(signal syscall.Signal) {
	s.Helper()
	s.child.signal(signal)
}

// Output is all that a child wrote, in all its lives.
func (s *Server) Output() string { return s.child.said() }

// child is a nats-server in a process of its own.
type child struct {
	s      *Server
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

// Write implements io.Writer for the process's output.
func (c *child) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output.Write(b)
}

func (c *child) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output.String()
}

func (c *child) start() {
	c.s.Helper()
	self, err := os.Executable()
	if err != nil {
		c.s.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"="+c.s.file)
	cmd.Stdout, cmd.Stderr = c, c
	// The child must not outlive a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.s.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }() // "signal: killed"
	c.cmd, c.exited = cmd, exited
	Eventually(c.s.TB, "nats-server listens", func() bool {
		select {
		case <-exited:
			c.s.Fatalf("nats-server ended at its start:\n%s", c.said())
		default:
		}
		conn, err := net.DialTimeout("tcp", c.s.Host, time.Second)
		return err == nil && conn.Close() == nil
	})
}

// running says whether there is a process.
func (c *child) running() bool {
	if c.cmd == nil {
		return false
	}
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

func (c *child) signal(signal syscall.Signal) {
	c.s.Helper()
	if err := c.cmd.Process.Signal(signal); err != nil {
		c.s.Fatal(err)
	}
}

func (c *child) kill() {
	c.s.Helper()
	if c.running() {
		_ = c.cmd.Process.Kill() // it may have ended meanwhile
		<-c.exited
	}
}

func (c *child) stop() {
	c.s.Helper()
	if !c.running() {
		return
	}
	c.signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(time.Minute):
		c.kill()
		c.s.Errorf("nats-server does not end:\n%s", c.said())
	}
}

func (c *child) cleanup() {
	c.kill()
	if said := c.said(); c.s.Failed() && said != "" {
		c.s.Logf("nats-server said:\n%s", said[max(0, len(said)-8000):])
	}
}
