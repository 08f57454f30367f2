// Package testproc runs a program as a process of its own for a test, which can pause it,
// kill it and start it again.
package testproc

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// EndAtOnce, in a program's environment, spares it the second that one with the race
// detector waits before it ends.
const EndAtOnce = "GORACE=atexit_sleep_ms=0"

// Process is a program in a process of its own that ends with the test: the test binary
// once more, which has to find in Env that it is another program now, or the one at Path.
type Process struct {
	TB   testing.TB
	Name string // of the program, in errors
	Path string // "" is the test binary
	Args []string
	Env  []string
	// Ready says whether it works.
	Ready func() bool
	// Stderr takes its log in place of Output.
	Stderr *os.File
	// Output has everything that the process wrote, in all its lives.
	Output Output

	cleanup sync.Once
	cmd     *exec.Cmd
	exited  chan struct{}
}

// Start launches the process and waits until it is ready.
func (p *Process) Start() {
	p.TB.Helper()
	p.Launch()
	testwait.Eventually(p.TB, p.Name+" is ready", func() bool {
		select {
		case <-p.exited:
			p.TB.Fatalf("%s ended before it was ready: %v\n%s", p.Name, p.cmd.ProcessState, p.Output.String())
		default:
		}
		return p.Ready()
	})
}

// Launch is Start without the wait.
func (p *Process) Launch() {
	p.TB.Helper()
	path := p.Path
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			p.TB.Fatal(err)
		}
	}
	cmd := exec.Command(path, p.Args...)
	cmd.Env = p.Env
	cmd.Env = append(cmd.Environ(), EndAtOnce)
	cmd.Stdout, cmd.Stderr = &p.Output, &p.Output
	if p.Stderr != nil {
		cmd.Stderr = p.Stderr
	}
	// The child must not outlive a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.TB.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }() // "signal: killed"
	p.cmd, p.exited = cmd, exited
	p.cleanup.Do(func() { p.TB.Cleanup(p.end) })
}

// end is the process's end with its test.
func (p *Process) end() {
	p.Kill()
	if said := p.Output.String(); p.TB.Failed() && said != "" {
		p.TB.Logf("%s wrote:\n%s", p.Name, said[max(0, len(said)-8000):])
	}
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Running reports whether there is a process.
func (p *Process) Running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Signal sends any signal.
func (p *Process) Signal(s os.Signal) {
	p.TB.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.TB.Errorf("%v to %s: %v", s, p.Name, err)
	}
}

// Kill ends the process without a chance to do anything. One that has ended stays so.
func (p *Process) Kill() {
	p.TB.Helper()
	if p.Running() {
		_ = p.cmd.Process.Kill() // it may have ended meanwhile
		<-p.exited
	}
}

// Terminate asks the process to end. It may be ending already.
func (p *Process) Terminate() {
	p.TB.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.TB.Errorf("terminate %s: %v", p.Name, err)
	}
}

// Stop asks the process to end, and returns its exit code.
func (p *Process) Stop() int {
	p.TB.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait()
}

// Wait waits for the process's end, and returns its exit code.
func (p *Process) Wait() int {
	p.TB.Helper()
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		p.TB.Errorf("%s does not end:\n%s", p.Name, p.Output.String())
		p.Kill()
	}
	return p.cmd.ProcessState.ExitCode()
}
