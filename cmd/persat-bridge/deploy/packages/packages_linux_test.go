// Package packages has what .goreleaser.yaml puts into the .deb and the .rpm beside the
// program, and the test that installs both.
package packages

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// nfpm runs TestPackages (make package-test), which needs root.
var nfpm = flag.String("nfpm", "", "build the packages with this nfpm, and install them over a copy of this system's root")

const (
	repository = "../../../.."
	testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	configFile = "/etc/persat-bridge/config.yaml"
	secretFile = "/etc/persat-bridge/webhook"
	data       = "/var/lib/persat-bridge"
)

// format is how a system's tool is told to do the same.
type format struct {
	name                     string
	install, upgrade, remove string
	// kept is where the configuration is after a removal, and aside where an upgrade puts
	// the new version's.
	kept, aside string
}

var formats = []format{
	// An administrator says so when dpkg asks, and it is dpkg's own answer to a bare Enter.
	{"deb", "dpkg --install", "dpkg --force-confold --install", "dpkg --remove", configFile, configFile + ".dpkg-dist"},
	// Without dependencies: the packages of this system are dpkg's.
	{"rpm", "rpm --install --nodeps", "rpm --upgrade --nodeps", "rpm --erase", configFile + ".rpmsave", configFile + ".rpmnew"},
}

// A package in its whole life: installed, given its secret, started as its unit says,
// upgraded below a changed configuration, removed, and purged. No step loses an event.
func TestPackages(t *testing.T) {
	if *nfpm == "" {
		t.Skip("make package-test runs it")
	}
	if os.Getuid() != 0 {
		t.Fatal("only root may mount a root of its own")
	}
	dir := t.TempDir()
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			if tool, _, _ := strings.Cut(f.install, " "); lacks(tool) {
				if os.Getenv("CI") != "" {
					t.Fatalf("no %s here: make tools installs it", tool)
				}
				t.Skipf("SKIPPED, NOT TESTED: no %s here", tool)
			}
			b := builder{t: t, dir: dir}
			old, fresh := b.build(f.name, "0.1.0"), b.build(f.name, "0.1.1")
			begin := time.Now()
			f.live(t, old, fresh)
			t.Logf("%s: installed, upgraded and removed in %v", f.name, time.Since(begin).Round(100*time.Millisecond))
		})
	}
}

func lacks(tool string) bool {
	_, err := exec.LookPath(tool)
	return err != nil
}

func (f format) live(t *testing.T, old, fresh string) {
	r := newRoot(t)
	r.put(old, "/tmp/old."+f.name)
	r.put(fresh, "/tmp/new."+f.name)

	before := r.files()

	// Installed: not started, and it says what is to be done.
	said := r.run(f.install + " /tmp/old." + f.name)
	for _, want := range []string{"no signing secret", "install -m 0640 -g persat-bridge /dev/stdin " + secretFile, "systemctl enable --now persat-bridge"} {
		if !strings.Contains(said, want) {
			t.Errorf("the installation does not say %q", want)
		}
	}
	r.wantVersion("0.1.0")
	r.wantStat("/etc/persat-bridge", "750 root:persat-bridge")
	r.wantStat(configFile, "640 root:persat-bridge")
	r.wantStat(data, "700 persat-bridge:persat-bridge")
	unit := r.run("systemctl cat persat-bridge")
	source, err := os.ReadFile("../systemd/persat-bridge.service")
	if err != nil {
		t.Fatal(err)
	}
	if want := "# /lib/systemd/system/persat-bridge.service\n" + strings.TrimSpace(string(source)); strings.Replace(unit, "# /usr/lib/", "# /lib/", 1) != want {
		t.Errorf("systemctl cat: got\n%s\nwant\n%s", unit, want)
	}
	r.run("systemd-analyze verify persat-bridge.service")

	// Without a secret it ends, and one line says what to do.
	out, err := r.try(asUnit(t, unit))
	if code, ok := err.(*exec.ExitError); !ok || code.ExitCode() != 2 || strings.Contains(out, "\n") || !strings.Contains(out, secretFile) || !strings.Contains(out, "write the secret into it") {
		t.Errorf("started without a secret: %v\n%s\nwant exit 2 and a line that names %s", err, out, secretFile)
	}

	r.run("echo " + testSecret + " | install -m 0640 -g persat-bridge /dev/stdin " + secretFile)
	r.wantStat(secretFile, "640 root:persat-bridge")
	r.run("systemctl enable --now persat-bridge")
	first := r.ready()
	r.send("evt_before")

	// The administrator changes the configuration, and the new package has another one.
	r.run("sed -i 's/^journal:/server: {shutdown_timeout: 15s}\\n&/' " + configFile)
	changed := r.run("cat " + configFile)
	if said := r.run(f.upgrade + " /tmp/new." + f.name); strings.Contains(said, "systemctl enable") {
		t.Error("the upgrade of an enabled service says that it is not started")
	}
	if second := r.ready(); second == first {
		t.Errorf("process %s: the upgrade did not restart the service", first)
	}
	r.wantVersion("0.1.1")
	if got := r.run("curl -sS http://127.0.0.1:8081/metrics | grep ^persat_bridge_build_info"); !strings.Contains(got, `version="0.1.1"`) {
		t.Errorf("not the new version runs: %s", got)
	}
	if got := r.run("cat " + configFile); got != changed {
		t.Errorf("the upgrade changed the configuration: got\n%s\nwant\n%s", got, changed)
	}
	if got := r.run("cat " + f.aside); !strings.HasSuffix(got, newLine) {
		t.Errorf("%s is not the new version's configuration:\n%s", f.aside, got)
	}
	r.wantStat(configFile, "640 root:persat-bridge")
	r.wantStat(secretFile, "640 root:persat-bridge")
	r.wantEvent("tail -c "+configFile+" --no-follow --json", "evt_before")
	r.send("evt_after")

	// Removed: stopped. Configuration, secret, user and events stay.
	r.run("cp /usr/bin/persat-bridge /usr/local/bin/") // to read the journal
	r.run(f.remove + " persat-bridge")
	if out, err := r.try("pgrep -x persat-bridge || systemctl cat persat-bridge || test -e /usr/bin/persat-bridge || test -L /etc/systemd/system/multi-user.target.wants/persat-bridge.service"); err == nil {
		t.Errorf("the service, the program or its link is still there: %s", out)
	}
	r.run("persat-bridge journal stat --dir " + data + "/journal")
	for _, id := range []string{"evt_before", "evt_after"} {
		r.wantEvent("journal dump --dir "+data+"/journal", id)
	}
	if got := r.run("cat " + f.kept); got != changed {
		t.Errorf("the removal changed the configuration:\n%s", got)
	}
	r.run("id persat-bridge; test -s " + secretFile + "; test -d " + data + "/journal")
	if f.name != "deb" {
		return
	}

	// Purged: nothing but the events stays, and who installs again has them.
	if said := r.run("dpkg --purge persat-bridge"); !strings.Contains(said, "kept in "+data) {
		t.Error("the purge does not say where the journal is")
	}
	r.wantStat(data, "700 root:root")
	if got := r.leftovers(before); len(got) == 0 || !strings.HasPrefix(got[0], data) || strings.Contains(strings.Join(got, "\n"), "/etc/") {
		t.Errorf("after the purge there are\n%s\nwant %s alone", strings.Join(got, "\n"), data)
	}
	if out, err := r.try("getent passwd persat-bridge || getent group persat-bridge"); err == nil {
		t.Errorf("the user is still there: %s", out)
	}
	// Another user has the number meanwhile.
	r.run("useradd --system --shell /usr/sbin/nologin somebody")
	r.run("dpkg --install /tmp/new.deb")
	if got := r.run("find " + data + " -not -user persat-bridge"); got != "" {
		t.Errorf("the new installation does not own its data:\n%s", got)
	}
	r.run("echo " + testSecret + " | install -m 0640 -g persat-bridge /dev/stdin " + secretFile)
	r.run("systemctl enable --now persat-bridge")
	r.ready()
	r.wantEvent("tail -c "+configFile+" --no-follow --json", "evt_before")

	r.run("rm /usr/local/bin/persat-bridge")
	r.run("dpkg --purge persat-bridge", "PERSAT_BRIDGE_PURGE_DATA=1")
	if got := r.leftovers(before); len(got) > 0 {
		t.Errorf("after the purge with its data there are\n%s", strings.Join(got, "\n"))
	}
}

// asUnit is the command line that does by hand what systemd does of the unit.
func asUnit(t *testing.T, unit string) string {
	t.Helper()
	value := func(key string) []string {
		var all []string
		for _, m := range regexp.MustCompile(`(?m)^`+key+`=(.*)$`).FindAllStringSubmatch(unit, -1) {
			all = append(all, strings.ReplaceAll(m[1], "%S", "/var/lib"))
		}
		if len(all) == 0 {
			t.Fatalf("the unit has no %s", key)
		}
		return all
	}
	return fmt.Sprintf("cd %s && exec env %s setpriv --reuid=%s --regid=%s --init-groups --no-new-privs %s",
		value("WorkingDirectory")[0], strings.Join(value("Environment"), " "), value("User")[0], value("Group")[0], value("ExecStart")[0])
}

// ready waits for the service, and returns its process.
func (r *root) ready() string {
	r.t.Helper()
	testwait.Eventually(r.t, "the bridge is ready", func() bool {
		return r.command("persat-bridge", "healthcheck", "-c", configFile).Run() == nil
	})
	return r.run("systemctl show --property MainPID --value persat-bridge")
}

// send posts a signed event and wants a 2xx.
func (r *root) send(id string) {
	r.t.Helper()
	if out := r.run("persat-bridge send client.created --id "+id, "PERSAT_WEBHOOK_SECRET="+testSecret); !strings.Contains(out, "202") {
		r.t.Errorf("the answer to %s is no 202:\n%s", id, out)
	}
}

func (r *root) wantEvent(command, id string) {
	r.t.Helper()
	if out := r.run("persat-bridge " + command); !strings.Contains(out, id) {
		r.t.Errorf("%s does not have the event %s", command, id)
	}
}

func (r *root) wantVersion(version string) {
	r.t.Helper()
	if got := r.run("persat-bridge version"); !strings.HasPrefix(got, "persat-bridge "+version+", ") {
		r.t.Errorf("got %s, want %s", got, version)
	}
}

func (r *root) wantStat(path, want string) {
	r.t.Helper()
	if got := r.run("stat -c '%a %U:%G' " + path); got != want {
		r.t.Errorf("%s is %s, want %s", path, got, want)
	}
}

// builder makes packages of .goreleaser.yaml, as a release does.
type builder struct {
	t   *testing.T
	dir string
}

// newLine is what the configuration of 0.1.1 ends with.
const newLine = "# Of 0.1.1."

// build is the package of a version.
func (b builder) build(packager, version string) string {
	b.t.Helper()
	begin := time.Now()
	program := filepath.Join(b.dir, "persat-bridge-"+version)
	if _, err := os.Stat(program); err != nil {
		testproc.BuildRelease(b.t, repository, "-ldflags", "-s -w -X main.version="+version, "-o", program, "./cmd/persat-bridge")
	}
	text, err := os.ReadFile(filepath.Join(repository, ".goreleaser.yaml"))
	if err != nil {
		b.t.Fatal(err)
	}
	var release struct {
		NFPMs []map[string]any `yaml:"nfpms"`
	}
	if err := yaml.Unmarshal(text, &release); err != nil || len(release.NFPMs) != 1 {
		b.t.Fatalf(".goreleaser.yaml has %d packages: %v", len(release.NFPMs), err)
	}
	// What goreleaser adds of its own, and the names that differ.
	p := release.NFPMs[0]
	p["name"], p["version"], p["arch"], p["platform"] = p["package_name"], version, runtime.GOARCH, "linux"
	contents := append(p["contents"].([]any), map[string]any{
		"src": program, "dst": p["bindir"].(string) + "/persat-bridge", "file_info": map[string]any{"mode": 0o755},
	})
	for _, own := range []string{"package_name", "formats", "file_name_template", "bindir"} {
		delete(p, own)
	}
	rpm := p["overrides"].(map[string]any)["rpm"].(map[string]any)
	rpm["depends"] = rpm["dependencies"]
	delete(rpm, "dependencies")
	if version != "0.1.0" {
		contents = b.newConfig(contents)
	}
	p["contents"] = contents
	config := filepath.Join(b.dir, version+".yaml")
	if text, err = yaml.Marshal(p); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
	target := filepath.Join(b.dir, version+"."+packager)
	b.command(*nfpm, "package", "--config", config, "--packager", packager, "--target", target)
	info, err := os.Stat(target)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("%s %s: %.1f MB, built in %v", packager, version, float64(info.Size())/1e6, time.Since(begin).Round(100*time.Millisecond))
	return target
}

// newConfig gives the package another configuration than the last version's.
func (b builder) newConfig(contents []any) []any {
	b.t.Helper()
	for _, c := range contents {
		c := c.(map[string]any)
		if c["dst"] != configFile {
			continue
		}
		text, err := os.ReadFile(filepath.Join(repository, c["src"].(string)))
		if err != nil {
			b.t.Fatal(err)
		}
		file := filepath.Join(b.dir, "config.yaml")
		if err := os.WriteFile(file, append(bytes.TrimSpace(text), "\n"+newLine+"\n"...), 0o600); err != nil {
			b.t.Fatal(err)
		}
		c["src"] = file
		return contents
	}
	b.t.Fatalf("the package has no %s", configFile)
	return nil
}

// command runs in the repository, where the paths of .goreleaser.yaml begin.
func (b builder) command(args ...string) {
	b.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
