package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// contender is a process under measurement.
type contender struct {
	name    string
	address string // of its webhook
	admin   string // of a bridge
	cmd     *exec.Cmd
	out     bytes.Buffer
	gone    chan struct{}
}

// start starts a process and waits until ready says that it works.
func (b *bench) start(c *contender, args, env []string, ready func() bool) error {
	c.cmd, c.gone = exec.Command(args[0], args[1:]...), make(chan struct{})
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.gone)
	}()
	b.contenders = append(b.contenders, c)
	for deadline := time.Now().Add(2 * time.Minute); !ready(); time.Sleep(2 * time.Millisecond) {
		select {
		case <-c.gone:
			return fmt.Errorf("%s ended: %s", c.name, c.out.String())
		default:
		}
		if time.Now().After(deadline) {
			_ = c.cmd.Process.Kill()
			<-c.gone // its output is complete then
			return fmt.Errorf("%s does not get ready: %s", c.name, c.out.String())
		}
	}
	return nil
}

// startChild starts one of the programs of child.go that take requests.
func (b *bench) startChild(name string, args ...string) (*contender, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c := &contender{name: name, address: address}
	return c, b.start(c, append([]string{b.self, "child", args[0], address}, args[1:]...), nil, listens(address))
}

// startNATS starts a nats-server on an empty store. With an address it is started
// there, else on a free one.
func (b *bench) startNATS(name, address, sync string) (*contender, error) {
	if address == "" {
		var err error
		if address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(b.dir, "nats-")
	if err != nil {
		return nil, err
	}
	c := &contender{name: name, address: address}
	return c, b.start(c, []string{b.self, "child", "nats", address, dir, sync}, nil, listens(address))
}

// before is how the names of another build's contenders begin.
const before = "before"

// startBridge starts the bridge on a journal in dir, an empty one when that is "".
func (b *bench) startBridge(name, dir, natsURL string, env ...string) (*contender, error) {
	return b.startBridgeOf(os.DevNull, name, dir, natsURL, env...)
}

// startBridgeOf starts it with a configuration file.
func (b *bench) startBridgeOf(config, name, dir, natsURL string, env ...string) (*contender, error) {
	public, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp(b.dir, "bridge-"); err != nil {
			return nil, err
		}
	}
	env = append([]string{
		"PERSAT_WEBHOOK_SECRET=" + secret,
		"PERSAT_BRIDGE_SERVER_LISTEN=" + public, "PERSAT_BRIDGE_ADMIN_LISTEN=" + admin,
		"PERSAT_BRIDGE_JOURNAL_DIR=" + filepath.Join(dir, "journal"), "PERSAT_BRIDGE_NATS_EMBEDDED_STORE_DIR=" + filepath.Join(dir, "nats"),
		"PERSAT_BRIDGE_LOG_LEVEL=error", "NATS_URL=" + natsURL,
	}, env...)
	c := &contender{name: name, address: public, admin: "http://" + admin}
	binary := b.bridge
	if strings.HasPrefix(name, before) {
		binary = b.before
	}
	return c, b.start(c, []string{binary, "serve", "-c", config}, env, answersOK(c.admin+"/readyz"))
}

// nowhere is where nobody listens.
const nowhere = "nats://127.0.0.1:1"

// stop ends the process and waits for that.
func (b *bench) stop(c *contender) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.gone:
	case <-time.After(40 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.gone
	}
	for i, other := range b.contenders {
		if other == c {
			b.contenders = append(b.contenders[:i], b.contenders[i+1:]...)
			return
		}
	}
}

// stopAll ends what still runs, the last first.
func (b *bench) stopAll() {
	for len(b.contenders) > 0 {
		b.stop(b.contenders[len(b.contenders)-1])
	}
}

// cpu is the processor time that the process has had.
func (c *contender) cpu() time.Duration {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid), "stat"))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may have spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * (time.Second / 100) // USER_HZ
}

// memory is what the process has in memory, in bytes.
func (c *contender) memory() int64 {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid), "status"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// settle waits until the processes have nothing left to do, for a while at most: what a
// server does afterwards is part of its cost, and must not burden the next. Nor must what
// the system has not written to the disk yet: a sync of the next would wait for it.
func settle(ctx context.Context, contenders ...*contender) {
	defer syscall.Sync()
	const step = 100 * time.Millisecond
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		before := make([]time.Duration, len(contenders))
		for i, c := range contenders {
			before[i] = c.cpu()
		}
		time.Sleep(step)
		quiet := true
		for i, c := range contenders {
			quiet = quiet && c.cpu()-before[i] <= step/10
		}
		if quiet {
			return
		}
	}
}

// metric is the sum of a bridge's series whose names with labels begin so.
func (c *contender) metric(series string) (float64, error) {
	request, err := http.NewRequest(http.MethodGet, c.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Accept-Encoding", "identity") // to compress costs the bridge half of its answer
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, series) {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			sum, found = sum+v, true
		}
	}
	if !found {
		return 0, fmt.Errorf("%s/metrics has no %s", c.admin, series)
	}
	return sum, nil
}

// pending is how many events a bridge has not published.
func (c *contender) pending() (int, error) {
	n, err := c.metric("persat_bridge_pending_events{")
	return int(n), err
}

// drained waits until nothing is pending. It looks often only at the end: each look costs
// the bridge a millisecond, and looking every 2 ms took an eighth of its time.
func (c *contender) drained(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := c.pending()
		if err != nil || n == 0 {
			return err
		}
		time.Sleep(min(max(time.Duration(n)*10*time.Microsecond, 2*time.Millisecond), 100*time.Millisecond))
	}
	return context.Cause(ctx)
}

// freeAddress is one that nobody listens on at this moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func listens(address string) func() bool {
	return func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		return err == nil && conn.Close() == nil
	}
}

func answersOK(url string) func() bool {
	client := &http.Client{Timeout: time.Second}
	return func() bool {
		response, err := client.Get(url)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
}
