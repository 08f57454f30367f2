package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// oneServer is the life of a deployment: it is upgraded, killed, read from another host,
// backed up, lost and restored, and after each of that the oracle judges everything that
// was answered 2xx since its beginning.
func (e *engine) oneServer(t *testing.T) {
	c := e.project(t, "PERSAT_WEBHOOK_SECRET="+testSecret)
	o := newOracle(t, c.url)
	for _, part := range []struct {
		name string
		test func(c *project, o *oracle)
	}{
		{"upgrade", (*project).upgraded},
		{"killed", (*project).killed},
		{"another secret", func(c *project, _ *oracle) { c.checkRotation() }},
		{"alerts", func(c *project, _ *oracle) { c.checkAlerts() }},
		{"consumer on another host", (*project).consumedOutside},
		{"backup, loss and restore", (*project).lostAndRestored},
		{"stop", func(c *project, _ *oracle) {
			c.run("stop", "persat-bridge")
			if got := c.inspect("persat-bridge", "{{.State.ExitCode}}"); got != "0" {
				c.t.Errorf("stopped bridge: exit code %s, want 0", got)
			}
		}},
	} {
		if !t.Run(part.name, func(t *testing.T) {
			c.during(t)
			o.t = t
			part.test(c, o)
		}) {
			return
		}
	}
}

// posting posts events while do runs, and waits until all are published.
func (c *project) posting(o *oracle, do func()) {
	c.t.Helper()
	ctx, stop := context.WithCancel(c.t.Context())
	defer stop()
	var sending sync.WaitGroup
	sending.Go(func() { o.post(ctx, 300) })
	time.Sleep(time.Second)
	do()
	time.Sleep(time.Second)
	stop()
	sending.Wait()
	c.drained()
}

// upgraded begins with an older version, and goes on with this one.
func (c *project) upgraded(o *oracle) {
	c.run("build", "persat-bridge") // not while events are posted
	c.root = c.e.older
	c.set("TAG=" + olderTag)
	c.up()
	c.posting(o, func() {
		c.root = c.e.root
		c.set("TAG=" + testTag)
		c.up()
	})
	if got, want := c.inspect("persat-bridge", "{{.Config.Image}}"), "persat-bridge:"+testTag; got != want {
		c.t.Errorf("after the upgrade %s runs, want %s", got, want)
	}
	o.judge(readStream(c.t, c.natsURL("nats")))
	c.checkImage()
	c.checkHardening("persat-bridge")
	c.checkHardening("nats")
}

func (c *project) killed(o *oracle) {
	c.posting(o, func() {
		for _, killed := range [][]string{{"persat-bridge"}, {"nats"}, {"persat-bridge", "nats"}} {
			time.Sleep(time.Second)
			c.run(append([]string{"kill", "-s", "SIGKILL"}, killed...)...)
			c.run(append([]string{"rm", "-f"}, killed...)...)
			c.up()
			c.t.Logf("killed and recreated: %s", strings.Join(killed, ", "))
		}
	})
	o.judge(readStream(c.t, c.natsURL("nats")))
}

// checkAlerts has the bridge tell a service, which its network lets it reach, of a test.
func (c *project) checkAlerts() {
	var told atomic.Int32
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && strings.Contains(string(body), "persat-bridge") {
			told.Add(1)
		}
	}))
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		c.t.Fatal(err)
	}
	_ = service.Listener.Close()
	service.Listener = l
	service.Start()
	defer service.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	gateway := c.e.output("docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", c.name+"_default")
	c.set(fmt.Sprintf("ALERTS_URLS='generic+http://%[1]s:%[2]s/one generic+http://%[1]s:%[2]s/two?token=hidden-here'", gateway, port), "ALERTS_LANGUAGE=es", "ADMIN_URL=https://bridge.example.com")
	c.up()
	c.run("restart", "persat-bridge")
	testwait.Eventually(c.t, "the bridge is ready", func() bool { return ready(c.t.Context(), c.admin+"/readyz") == nil })
	out := c.run("exec", "-T", "persat-bridge", "/persat-bridge", "alerts", "test")
	if n := told.Load(); n != 2 || strings.Count(out, "sent") != 2 {
		c.t.Errorf("%d messages arrived, want 2:\n%s", n, out)
	}
	if env := c.inspect("persat-bridge", "{{.Config.Env}}"); strings.Contains(env, "hidden-here") || !strings.Contains(env, "ALERTS_LANGUAGE=es") || !strings.Contains(env, "ADMIN_URL=https://bridge.example.com") {
		c.t.Errorf("the bridge has the environment %s, want language and URL, and no address", env)
	}
}

// outsider is how a consumer on another host connects.
type outsider struct {
	url     string
	ca      nats.Option
	address string // the address alone
}

func (c *project) outside(user string) outsider {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(c.show("outside/ca.pem")), 0o600); err != nil {
		c.t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", c.port)
	return outsider{fmt.Sprintf("tls://%s:%s@%s", user, strings.TrimSpace(c.show("outside/"+user)), address), nats.RootCAs(file), address}
}

// billing is the durable consumer of a service on another host.
func (c *project) billing(o outsider) jetstream.Consumer {
	c.t.Helper()
	js := natstest.JetStream(c.t, o.url, o.ca)
	var consumer jetstream.Consumer
	testwait.Eventually(c.t, "nats-outside has its connection to the stream", func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		var err error
		consumer, err = js.CreateOrUpdateConsumer(ctx, "PERSAT", jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy})
		return err == nil
	})
	return consumer
}

// consumedOutside has a consumer connect through the published port.
func (c *project) consumedOutside(o *oracle) {
	c.set("COMPOSE_PROFILES=consumers", "NATS_HOSTS=nats.example.com,10.0.0.5", "NATS_CONSUMERS=billing,reports")
	c.up()
	out := c.outside("billing")
	testwait.Eventually(c.t, "nats-outside listens", func() bool {
		conn, err := net.Dial("tcp", out.address)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		// The first line comes before a client has sent anything.
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			return false
		}
		var info struct {
			TLSRequired bool `json:"tls_required"`
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil || !info.TLSRequired {
			c.t.Errorf("the first line is %q (%v), want tls_required", line, err)
		}
		return true
	})
	for what, connect := range map[string]func() (*nats.Conn, error){
		"another password": func() (*nats.Conn, error) { return nats.Connect("tls://billing:x@"+out.address, out.ca) },
		"no CA":            func() (*nats.Conn, error) { return nats.Connect(out.url) },
		"the user of the network": func() (*nats.Conn, error) {
			return nats.Connect("tls://"+out.address, out.ca, nats.UserInfo("consumer", strings.TrimSpace(c.show("consumer/nats-password"))))
		},
	} {
		if nc, err := connect(); err == nil {
			nc.Close()
			c.t.Errorf("%s: it connects", what)
		}
	}
	consumer := c.billing(out)
	c.posting(o, func() {
		for range 20 {
			m, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
			if err != nil {
				c.t.Fatal(err)
			}
			if err := m.DoubleAck(c.t.Context()); err != nil {
				c.t.Fatal(err)
			}
		}
	})
	o.judge(readStream(c.t, out.url, out.ca))
	c.checkHardening("nats-outside")
	// A user more: setup makes it, and the server reads it without a restart.
	c.set("NATS_CONSUMERS=billing,reports,archive")
	c.run("up", "-d")
	c.run("kill", "-s", "HUP", "nats-outside")
	more := c.outside("archive")
	testwait.Eventually(c.t, "the new user is known", func() bool {
		nc, err := nats.Connect(more.url, more.ca)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
}

// lostAndRestored removes all volumes, and puts a backup in their place.
func (c *project) lostAndRestored(o *oracle) {
	file := filepath.Join(c.t.TempDir(), "backup.tar")
	archive := func() (string, error) {
		out, err := os.Create(file)
		if err != nil {
			c.t.Fatal(err)
		}
		defer out.Close()
		return c.piped(nil, out, "backup")
	}
	if said, err := archive(); err == nil || !strings.Contains(said, "in use") {
		c.t.Errorf("backup while the bridge runs: got %v %q, want it refused", err, said)
	}
	before := c.outside("billing")
	c.run("stop", "persat-bridge", "nats")
	if said, err := archive(); err != nil {
		c.t.Fatalf("backup: %v\n%s", err, said)
	}
	info, err := os.Stat(file)
	if err != nil {
		c.t.Fatal(err)
	}
	c.run("down", "-v", "-t", "1")
	c.t.Logf("a backup of %.1f MB; all volumes are gone", float64(info.Size())/1e6)

	restore := func() (string, error) {
		in, err := os.Open(file)
		if err != nil {
			c.t.Fatal(err)
		}
		defer in.Close()
		return c.piped(in, io.Discard, "restore")
	}
	if said, err := restore(); err != nil {
		c.t.Fatalf("restore: %v\n%s", err, said)
	}
	c.up()
	o.judge(readStream(c.t, c.natsURL("nats")))
	// Who had a password and the CA, has them still, and goes on where it was.
	consumer := c.billing(before)
	state, err := consumer.Info(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	if state.AckFloor.Stream != 20 {
		c.t.Errorf("the consumer goes on behind %d, want 20", state.AckFloor.Stream)
	}
	c.posting(o, func() {})
	o.judge(readStream(c.t, before.url, before.ca))

	// What is there is not written over.
	c.run("stop", "persat-bridge", "nats")
	if said, err := restore(); err == nil || !strings.Contains(said, "not empty") {
		c.t.Errorf("restore over what is there: got %v %q, want it refused", err, said)
	}
	c.up()
	o.judge(readStream(c.t, c.natsURL("nats")))
}

// piped runs setup as an operator's shell does, with files for its input and output.
func (c *project) piped(stdin io.Reader, stdout io.Writer, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := c.command(ctx, append([]string{"run", "--rm", "-T", "setup"}, args...)...)
	var said strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &said
	err := cmd.Run()
	return said.String(), err
}

// findOlder finds what is upgraded from: the newest release, or else the oldest of the last
// commits that has the dependencies of this one, which are here. A shallow clone, or none, has
// none: then it is this tree.
func (e *engine) findOlder() {
	e.t.Helper()
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", e.root}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	e.older = e.root
	sums := git("rev-parse", "HEAD:go.sum")
	var commit string
	candidates := append(strings.Fields(git("describe", "--tags", "--abbrev=0", "HEAD^")), strings.Fields(git("rev-list", "--first-parent", "--reverse", "-n", "60", "HEAD^"))...)
	for _, c := range candidates {
		if sums != "" && git("rev-parse", c+":go.sum") == sums {
			commit = c
			break
		}
	}
	if commit == "" {
		e.t.Log("there is no older commit with these dependencies here: the upgrade is of the same code under another version")
		return
	}
	dir := e.t.TempDir()
	archive, err := exec.Command("git", "-C", e.root, "archive", "--format=tar", "-o", filepath.Join(dir, "tree.tar"), commit).CombinedOutput()
	if err == nil {
		archive, err = exec.Command("tar", "-xf", filepath.Join(dir, "tree.tar"), "-C", dir).CombinedOutput()
	}
	if err != nil {
		e.t.Fatalf("archive %s: %v\n%s", commit, err, archive)
	}
	if err := os.Remove(filepath.Join(dir, "tree.tar")); err != nil {
		e.t.Fatal(err)
	}
	e.older = dir
	e.t.Logf("upgraded from %s", git("log", "-1", "--format=%h %cs %s", commit))
}

// olderImage makes the image of what is upgraded from as its Dockerfile says, but for where
// the programs are built: here, as the builder takes minutes for what is no part of an upgrade.
func (e *engine) olderImage() {
	e.t.Helper()
	dockerfile, err := os.ReadFile(filepath.Join(e.older, "Dockerfile"))
	if err != nil {
		e.t.Fatal(err)
	}
	const from = "\nFROM scratch\n"
	_, stage, found := strings.Cut(string(dockerfile), from)
	if !found {
		e.t.Fatalf("the Dockerfile of what is upgraded from has no %q", from)
	}
	dir := e.t.TempDir()
	write := func(name string, content []byte) {
		e.t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			e.t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			e.t.Fatal(err)
		}
	}
	write("Dockerfile", []byte(strings.TrimPrefix(from, "\n")+strings.ReplaceAll(stage, "--from=build ", "")))
	for to, name := range map[string]string{
		"etc/ssl/certs/ca-certificates.crt":  "/etc/ssl/certs/ca-certificates.crt",
		"usr/local/go/lib/time/zoneinfo.zip": filepath.Join(e.output("go", "env", "GOROOT"), "lib/time/zoneinfo.zip"),
	} {
		content, err := os.ReadFile(name)
		if err != nil {
			e.t.Fatal(err)
		}
		write(to, content)
	}
	image := filepath.Join(dir, "image")
	testproc.BuildRelease(e.t, e.older, "-ldflags", "-s -w -X main.version="+olderTag, "-o", filepath.Join(image, "persat-bridge"), "./cmd/persat-bridge")
	testproc.BuildRelease(e.t, e.older, "-ldflags", "-s -w", "-o", filepath.Join(image, "setup"), "./cmd/persat-bridge/deploy/setup")
	for volume, mode := range map[string]os.FileMode{"data": 0o700, "tmp": 0o777 | os.ModeSticky} {
		volume = filepath.Join(image, volume)
		if err := errors.Join(os.Mkdir(volume, 0o700), os.Chmod(volume, mode)); err != nil {
			e.t.Fatal(err)
		}
	}
	e.output("docker", "build", "-q", "-t", "persat-bridge:"+olderTag, dir)
}
