package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// natsCLI is the nats command of this version, as a tool of this test. It is not
// in go.mod: it would bring more modules than all of the bridge has.
const natsCLI = "github.com/nats-io/natscli/nats@v0.5.1"

var installing sync.Mutex

// installNATSCLI builds the nats command, the first time in about a minute, and
// returns the directory it is in.
func installNATSCLI(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	_, release, _ := strings.Cut(natsCLI, "@")
	bin := filepath.Join(cache, "persat-bridge-test", "nats-"+release)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	installing.Lock()
	defer installing.Unlock()
	if exec.CommandContext(ctx, filepath.Join(bin, "nats"), "--version").Run() == nil {
		return bin
	}
	install := exec.CommandContext(ctx, "go", "install", natsCLI)
	install.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=")
	if output, err := install.CombinedOutput(); err != nil {
		skipOutsideCI(t, "the nats command cannot be built: %v\n%s", err, output)
	}
	return bin
}

// The commands of docs/consuming.md read the stream of a bridge.
func TestNATSCLI(t *testing.T) {
	t.Parallel()
	block := between(t, readDocument(t, consumingFile), "nats-cli")
	bin := installNATSCLI(t)
	b := newBridgeProcess(t)
	b.Start()
	s := newSender(b.url, testSecret, 1)
	defer s.close()
	post := func(id, eventType string) {
		t.Helper()
		body, err := persat.Sample(eventType, "")
		if err != nil {
			t.Fatal(err)
		}
		if a, err := s.post(t.Context(), id, body); err != nil || !a.ok() {
			t.Fatalf("post: %d %v", a.code, err)
		}
	}
	for _, eventType := range persat.Types() {
		post("cli-"+eventType, eventType)
	}
	testwait.Eventually(t, "the samples published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })

	commands := natsCommands{t: t, env: natsEnvironment(bin, b.dir, b.nats), live: func() { post("cli-live", "workorder.closed") }}
	commands.run(block, []documented{
		{"nats stream subjects PERSAT", "persat.deliveryRoute.assigned"},
		{"nats stream get PERSAT", "Nats-Msg-Id: persat:cli-workorder.closed"},
		{"nats sub ", "ce-id: cli-live"},
		{"nats consumer add PERSAT", "Max Ack Pending: 1"},
		{"nats consumer next PERSAT", `{"eventType":"workorder.created"`},
		{"nats consumer info PERSAT", "Unprocessed Messages: 3"}, // 4 samples and the live one less 2
	})
}

// The command of docs/deploying.md that limits the stream has all permissions that it needs
// as the user of the bridge.
func TestNATSCLIStreamEdit(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile("`(nats stream edit PERSAT [^`]+)`").FindStringSubmatch(readDocument(t, "../../docs/deploying.md"))
	if line == nil {
		t.Fatal("docs/deploying.md has no such command")
	}
	bin := installNATSCLI(t)
	n := newSecuredNATS(t, "bridge", "nothing")
	if _, err := n.admin.CreateStream(t.Context(), jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line[1]+" --force --inbox-prefix _INBOX.persat-bridge")
	cmd.Env = append(natsEnvironment(bin, t.TempDir(), n.URL), "NATS_USER=bridge", "NATS_PASSWORD="+testPassword)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	stream, err := n.admin.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stream.CachedInfo().Config.MaxAge, 90*24*time.Hour; got != want {
		t.Errorf("max_age is %v, want %v", got, want)
	}
}

// documented is what a documented command must show.
type documented struct{ begins, shows string }

// natsCommands runs the nats commands of a document.
type natsCommands struct {
	t   *testing.T
	env []string
	// live makes the event that a command which follows waits for.
	live func()
}

func natsEnvironment(bin, home, url string) []string {
	return []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + home, "NATS_URL=" + url}
}

// run runs the lines of a block that begin with nats. Each has to be known, and each that
// is known has to be there.
func (n natsCommands) run(block string, known []documented) {
	n.t.Helper()
	seen := make(map[string]bool)
	for line := range strings.Lines(block) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "nats ") {
			continue
		}
		c := &shell{t: n.t, line: line, env: n.env}
		output := c.run(strings.HasPrefix(line, "nats sub "), n.live)
		i := slices.IndexFunc(known, func(k documented) bool { return strings.HasPrefix(line, k.begins) })
		if i < 0 {
			n.t.Errorf("%s\nis documented, and this test does not know what it shows", line)
			continue
		}
		seen[known[i].begins] = true
		if !strings.Contains(output, known[i].shows) {
			n.t.Errorf("%s\nshows no %q:\n%s", line, known[i].shows, output)
		}
	}
	for _, k := range known {
		if !seen[k.begins] {
			n.t.Errorf("the document has no command %q", k.begins)
		}
	}
}

// shell runs one line as a reader of the document would.
type shell struct {
	t    *testing.T
	line string
	env  []string
	testproc.Output
}

// run returns what the line wrote. One that follows hears of an event, by what
// the function live does, and is interrupted.
func (s *shell) run(follows bool, live func()) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+s.line)
	cmd.Dir = "../.." // the paths in the commands are from the module's root
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, s, s
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	if follows {
		testwait.Eventually(s.t, "a subscription: "+s.line, func() bool { return strings.Contains(s.String(), "Subscribing") })
		time.Sleep(300 * time.Millisecond) // it says so before it is
		live()
		testwait.Eventually(s.t, "an event at "+s.line, func() bool { return strings.Contains(s.String(), "eventType") })
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			s.t.Error(err)
		}
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !(follows && errors.As(err, &exit)) {
		s.t.Errorf("%s: %v\n%s", s.line, err, s.String())
	}
	return s.String()
}
