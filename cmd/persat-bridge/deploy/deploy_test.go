// Package deploy tests that what is deployed is what is tested.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func find(t *testing.T, text, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("nothing like %s", pattern)
	}
	return m[1]
}

func TestVersions(t *testing.T) {
	module, compose := read(t, "go.mod"), read(t, "docker-compose.yml")
	if got, want := find(t, compose, `image: nats:(\S+)`), find(t, module, `nats-server/v2 v(\S+)`); got != want {
		t.Errorf("docker-compose.yml runs NATS %s, the tests run against %s", got, want)
	}
	if got, want := find(t, read(t, "Dockerfile"), `FROM golang:(\d+\.\d+)`), find(t, module, `(?m)^go (\d+\.\d+)`); got != want {
		t.Errorf("the Dockerfile builds with Go %s, go.mod says %s", got, want)
	}
	for _, image := range regexp.MustCompile(`(?m)^\s+image: (\S+)$`).FindAllStringSubmatch(compose, -1) {
		if !regexp.MustCompile(`:v?\d+\.\d+\.\d+$`).MatchString(image[1]) && !strings.HasPrefix(image[1], "persat-bridge:") {
			t.Errorf("docker-compose.yml: %s is not pinned to a version", image[1])
		}
	}
}

// .env.example documents every variable of docker-compose.yml, and no other.
func TestEnvExample(t *testing.T) {
	names := func(text, pattern string) map[string]bool {
		found := make(map[string]bool)
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found[m[1]] = true
		}
		return found
	}
	used := names(read(t, "docker-compose.yml"), `\$\{([A-Z_]+)`)
	used["COMPOSE_PROFILES"] = true // of Compose itself
	delete(used, "COMMIT")          // of the build, not of the operator
	documented := names(read(t, ".env.example"), `(?m)^#?([A-Z_]+)=`)
	for name := range used {
		if !documented[name] {
			t.Errorf("docker-compose.yml takes %s, which .env.example does not have", name)
		}
	}
	for name := range documented {
		if !used[name] {
			t.Errorf(".env.example has %s, which nothing takes", name)
		}
	}
}

// Nobody has to trust the unit: systemd rates it.
func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	// 10 is the exposure of a unit without any hardening, tenfold as an integer.
	out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", "systemd/persat-bridge.service").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
}
