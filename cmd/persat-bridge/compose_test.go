package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// composeTest runs TestCompose (make compose-test), which takes minutes and
// changes what the Docker engine holds; it puts back what it changed.
var composeTest = flag.Bool("compose", false, "run docker-compose.yml in the Docker engine of this machine")

// mostImage is what the image may take.
const mostImage = 60 << 20

// TestCompose builds the Dockerfile and runs docker-compose.yml as it is: events
// come from outside, and are read as a downstream service reads them.
func TestCompose(t *testing.T) {
	if !*composeTest {
		t.Skip("make compose-test runs it")
	}
	e := newEngine(t)
	begin := time.Now()
	e.findOlder()
	e.golang(e.baseImage("Dockerfile", `(?m)^FROM (golang:\S+)`))
	e.nats(e.baseImage("docker-compose.yml", `(?m)image: (nats:\S+)`))
	t.Cleanup(func() { e.docker("rmi", "-f", "persat-bridge:"+testTag, "persat-bridge:"+olderTag) })
	e.olderImage()
	t.Logf("base images: %v", time.Since(begin).Round(time.Second))

	t.Run("needs the secret", func(t *testing.T) {
		c := e.project(t, "PERSAT_WEBHOOK_SECRET=")
		out, err := c.try("config")
		if err == nil || !strings.Contains(out, "PERSAT_WEBHOOK_SECRET") || !strings.Contains(out, ".env") {
			t.Errorf("without PERSAT_WEBHOOK_SECRET: got %v %q, want an error that names it and .env", err, out)
		}
	})
	t.Run("config is clean", func(t *testing.T) {
		for _, profiles := range []string{"", "cluster,consumers,observability,tls"} {
			c := e.project(t, "PERSAT_WEBHOOK_SECRET="+testSecret, "COMPOSE_PROFILES="+profiles)
			if out, err := c.try("config", "-q"); err != nil || strings.TrimSpace(out) != "" {
				t.Errorf("profiles %q: got %v %q, want silence", profiles, err, out)
			}
		}
	})
	t.Run("one server", e.oneServer)
	t.Run("cluster", e.cluster)
}

// cluster kills the server that leads the stream.
func (e *engine) cluster(t *testing.T) {
	c := e.project(t, "PERSAT_WEBHOOK_SECRET="+testSecret, "COMPOSE_PROFILES=cluster,consumers", "NATS_REPLICAS=3",
		"NATS_SERVERS=nats://nats-1:4222,nats://nats-2:4222,nats://nats-3:4222", "NATS_HOSTS=nats.example.com", "NATS_CONSUMERS=billing")
	c.up()
	o := newOracle(t, c.url)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var sending sync.WaitGroup
	sending.Go(func() { o.post(ctx, 300) })
	one, two := c.natsURL("nats-1"), c.natsURL("nats-2")
	var leader string
	testwait.Eventually(t, "the stream has a leader and two followers", func() bool {
		info := c.stream(one)
		if info == nil || len(followers(info)) != 2 {
			return false
		}
		leader = info.Cluster.Leader
		return leader != ""
	})
	time.Sleep(time.Second)
	c.run("kill", "-s", "SIGKILL", leader)
	begin := time.Now()
	survivor := one
	if leader == "nats-1" {
		survivor = two
	}
	next := ""
	testwait.Eventually(t, "another leader", func() bool {
		if info := c.stream(survivor); info != nil {
			next = info.Cluster.Leader
		}
		return next != "" && next != leader
	})
	t.Logf("killed the leader %s; %s leads after %v", leader, next, time.Since(begin).Round(100*time.Millisecond))
	c.run("rm", "-f", leader)
	stop()
	sending.Wait()
	c.drained()
	o.judge(readStream(t, survivor))
	// A consumer on another host reads the same, whichever server it was connected to.
	out := c.outside("billing")
	o.judge(readStream(t, out.url, out.ca))
	c.up() // the killed one is recreated, on its volume
	testwait.Eventually(t, "the killed server catches up", func() bool {
		info := c.stream(survivor)
		return info != nil && len(followers(info)) == 2
	})
}

// followers are the servers that have all of the stream, without its leader.
func followers(info *jetstream.StreamInfo) []string {
	var names []string
	if info.Cluster != nil {
		for _, replica := range info.Cluster.Replicas {
			if replica.Current && !replica.Offline {
				names = append(names, replica.Name)
			}
		}
	}
	return names
}

// engine is the Docker engine of this machine.
type engine struct {
	t       *testing.T
	root    string   // of the repository
	older   string   // of what is upgraded from; the same where there is no older one
	compose []string // the command
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, root: root}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", "info").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, nothing was tested: no Docker engine answers here: %v\n%s", err, out)
	}
	switch {
	case exec.CommandContext(ctx, "docker", "compose", "version").Run() == nil:
		e.compose = []string{"docker", "compose"}
	case exec.CommandContext(ctx, "docker-compose", "version").Run() == nil:
		e.compose = []string{"docker-compose"}
	default:
		t.Skip("SKIPPED, nothing was tested: neither 'docker compose' nor docker-compose is here")
	}
	t.Logf("engine %s, %s", e.output("docker", "version", "--format", "{{.Server.Version}}"), e.output(append(e.compose, "version", "--short")...))
	return e
}

func (e *engine) output(command ...string) string {
	e.t.Helper()
	cmd := exec.CommandContext(e.t.Context(), command[0], command[1:]...)
	cmd.Dir = e.root
	out, err := cmd.Output()
	if err != nil {
		e.t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// docker runs a command whose failure is told and not more: it cleans up.
func (e *engine) docker(args ...string) {
	if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
		e.t.Logf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// baseImage is the image that a file of the repository names.
func (e *engine) baseImage(file, pattern string) string {
	e.t.Helper()
	text, err := os.ReadFile(filepath.Join(e.root, file))
	if err != nil {
		e.t.Fatal(err)
	}
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		e.t.Fatalf("%s names no image like %s", file, pattern)
	}
	return string(m[1])
}

// project is docker-compose.yml, up, with containers and volumes of its own.
type project struct {
	*bridgeProcess // for what it asks the admin listener
	e              *engine
	t, life        *testing.T // the one that fails, and the one with whose end it goes down
	root           string     // of the docker-compose.yml that is used
	name, env      string
	port           int // of nats-outside
	begun          bool
}

// testTag is the version of the image, and olderTag that of what is upgraded from.
const testTag, olderTag = "compose-test", "compose-test-older"

func (e *engine) project(t *testing.T, env ...string) *project {
	t.Helper()
	public, admin := testwait.FreePort(t), testwait.FreePort(t)
	c := &project{
		e: e, t: t, life: t, root: e.root, port: testwait.FreePort(t),
		name: fmt.Sprintf("persat-bridge-test-%d-%d", os.Getpid(), public),
		env:  filepath.Join(t.TempDir(), "env"),
		bridgeProcess: &bridgeProcess{
			t:     t,
			url:   fmt.Sprintf("http://127.0.0.1:%d/webhooks/persat", public),
			admin: fmt.Sprintf("http://127.0.0.1:%d", admin),
		},
	}
	env = append(env, fmt.Sprintf("WEBHOOK_PORT=127.0.0.1:%d", public), fmt.Sprintf("ADMIN_PORT=%d", admin), fmt.Sprintf("NATS_PORT=127.0.0.1:%d", c.port), "TAG="+testTag)
	if err := os.WriteFile(c.env, []byte(strings.Join(env, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// set changes variables of .env.
func (c *project) set(variables ...string) {
	c.t.Helper()
	text, err := os.ReadFile(c.env)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, v := range variables {
		name, _, _ := strings.Cut(v, "=")
		text = append(regexp.MustCompile(`(?m)^`+name+`=.*\n`).ReplaceAll(text, nil), v+"\n"...)
	}
	if err := os.WriteFile(c.env, text, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// during makes t the test that c's failures are of, until it ends.
func (c *project) during(t *testing.T) {
	before := c.t
	c.t, c.bridgeProcess.t = t, t
	t.Cleanup(func() { c.t, c.bridgeProcess.t = before, before })
}

// command is docker-compose.
func (c *project) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--env-file", c.env, "-p", c.name}, args...)
	cmd := exec.CommandContext(ctx, c.e.compose[0], append(c.e.compose[1:], args...)...)
	cmd.Dir = c.root
	return cmd
}

// try runs docker-compose.
func (c *project) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	out, err := c.command(ctx, args...).CombinedOutput()
	return string(out), err
}

func (c *project) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, tailOf(out, 8000))
	}
	return out
}

// up makes what is missing, and waits for the bridge.
func (c *project) up() {
	c.t.Helper()
	begin := time.Now()
	if !c.begun {
		c.begun = true
		c.life.Cleanup(c.down)
	}
	c.run("up", "-d")
	testwait.Eventually(c.t, "the bridge is ready", func() bool { return ready(c.t.Context(), c.admin+"/readyz") == nil })
	c.t.Logf("up in %v", time.Since(begin).Round(100*time.Millisecond))
}

func (c *project) down() {
	if c.t.Failed() {
		out, _ := c.try("logs", "--no-color", "--tail", "40")
		c.t.Logf("%s", tailOf(out, 12000))
	}
	if out, err := c.try("down", "-v", "--remove-orphans", "-t", "1"); err != nil {
		c.t.Errorf("down: %v\n%s", err, out)
	}
}

// inspect asks for a property of a service's container.
func (c *project) inspect(service, format string) string {
	c.t.Helper()
	id := strings.TrimSpace(c.run("ps", "-q", service))
	return c.e.output("docker", "inspect", "--format", format, id)
}

func (c *project) checkImage() {
	c.t.Helper()
	var image struct {
		Size   int64
		Config struct{ User string }
	}
	if err := json.Unmarshal([]byte(c.e.output("docker", "image", "inspect", "--format", "{{json .}}", "persat-bridge:"+testTag)), &image); err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("image: %.1f MB", float64(image.Size)/1e6)
	if image.Size > mostImage {
		c.t.Errorf("image: %d bytes, want at most %d", image.Size, mostImage)
	}
	if image.Config.User != "65532:65532" {
		c.t.Errorf("image: user %q, want 65532:65532", image.Config.User)
	}
	testwait.Eventually(c.t, "healthy", func() bool { return c.inspect("persat-bridge", "{{.State.Health.Status}}") == "healthy" })
}

// checkHardening looks at the process itself, from outside of its container.
func (c *project) checkHardening(service string) {
	c.t.Helper()
	if state := c.inspect(service, "{{.State.Status}} {{.RestartCount}}"); state != "running 0" {
		c.t.Errorf("%s: is %s, want it running since it was made", service, state)
	}
	proc := filepath.Join("/proc", c.inspect(service, "{{.State.Pid}}"))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		c.t.Logf("%s: not looked at, its process is in another machine or another's: %v", service, err)
		return
	}
	for _, want := range []string{`Uid:\s+65532\s+65532\s+65532\s+65532`, `Gid:\s+65532\s+65532\s+65532\s+65532`, `CapBnd:\s+0+`, `CapEff:\s+0+`, `NoNewPrivs:\s+1`, `Seccomp:\s+2`} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).Match(status) {
			c.t.Errorf("%s: its process is not %s:\n%s", service, want, status)
		}
	}
	mounts, err := os.ReadFile(filepath.Join(proc, "mountinfo"))
	if err != nil {
		c.t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\S+ \S+ \S+ \S+ / ro[, ]`).Match(mounts) {
		c.t.Errorf("%s: its root can be written:\n%s", service, mounts)
	}
	if env := c.inspect(service, "{{.Config.Env}}"); strings.Contains(env, testSecret) {
		c.t.Errorf("%s: the webhook's secret is in its environment", service)
	}
	if limit := c.inspect(service, "{{.HostConfig.Memory}}"); limit == "0" {
		c.t.Errorf("%s: no memory limit", service)
	}
	if ports := c.inspect(service, "{{json .HostConfig.PortBindings}}"); service == "nats" && ports != "{}" {
		c.t.Errorf("nats: publishes %s, want nothing", ports)
	}
}

// checkRotation gives the running bridge another secret, as docs/deploying.md says.
func (c *project) checkRotation() {
	c.t.Helper()
	fresh := newSecret()
	c.set("PERSAT_WEBHOOK_SECRET=" + fresh + "," + testSecret)
	c.run("run", "--rm", "setup")
	c.run("kill", "-s", "HUP", "persat-bridge")
	for _, secret := range []string{fresh, testSecret} {
		s := newSender(c.url, secret, 1)
		defer s.close()
		testwait.Eventually(c.t, "both secrets are taken", func() bool {
			a, err := s.post(c.t.Context(), newDeliveryID(), []byte(`{"eventType":"client.created","payload":{"_id":"C-1"}}`))
			return err == nil && a.code == 202
		})
	}
	if restarts := c.inspect("persat-bridge", "{{.RestartCount}}"); restarts != "0" {
		c.t.Errorf("the bridge was restarted %s times", restarts)
	}
}

func (c *project) drained() {
	c.t.Helper()
	testwait.Eventually(c.t, "nothing pending", func() bool { return c.metric("persat_bridge_pending_events") == 0 })
	if dead := c.metric("persat_bridge_dead_events"); dead != 0 {
		c.t.Errorf("got %v dead letters, want none", dead)
	}
}

// show is a secret, without what compose says beside it.
func (c *project) show(name string) string {
	c.t.Helper()
	out, err := c.command(c.t.Context(), "run", "--rm", "-T", "setup", "show", name).Output()
	if err != nil {
		c.t.Fatalf("show %s: %v", name, err)
	}
	return string(out)
}

// natsURL is where a downstream service finds NATS, and as whom.
func (c *project) natsURL(service string) string {
	c.t.Helper()
	password := strings.TrimSpace(c.show("consumer/nats-password"))
	address := c.inspect(service, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
	return fmt.Sprintf("nats://consumer:%s@%s:4222", password, address)
}

// stream asks a server about the stream, as a consumer.
func (c *project) stream(url string) *jetstream.StreamInfo {
	c.t.Helper()
	return streamInfo(c.t, url)
}
