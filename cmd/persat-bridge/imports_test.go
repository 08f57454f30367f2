package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/persat-bridge/persat-bridge/"

// core are the packages below bridge, and outside the roots of other modules: what
// must not depend on them is held to the standard library.
var (
	core    = []string{"bridge/journal", "bridge/schedule", "bridge/integrity"}
	outside = []string{"go.uber.org/", "github.com/", "google.golang.org/", "golang.org/x/", "go.opentelemetry.io/", "go.yaml.in/"}
)

// TestImportRules keeps the layers apart: cmd → webhook | pull | admin | publisher →
// bridge → journal | schedule | integrity, and webhook and pull → persat.
func TestImportRules(t *testing.T) {
	for _, test := range []struct {
		pkg string
		// ours are the packages of this module that it may import.
		ours []string
		// never are paths that must not be in its dependencies.
		never []string
	}{
		{"bridge/persat", nil, outside},
		{"bridge/persat/schema", nil, outside},
		{"bridge/schedule", nil, outside},
		{"bridge/integrity", nil, outside},
		{"bridge/autoconfig", nil, outside},
		{"bridge/journal", nil, []string{"github.com/nats-io/", "github.com/labstack/", "go.opentelemetry.io/"}},
		{"bridge", core, []string{"github.com/nats-io/", "github.com/labstack/", "go.opentelemetry.io/otel/sdk"}},
		{"bridge/webhook", append(core, "bridge", "bridge/autoconfig", "bridge/persat"), []string{"github.com/nats-io/", "go.opentelemetry.io/otel/sdk"}},
		{"bridge/pull", append(core, "bridge", "bridge/persat"), []string{"github.com/nats-io/", "github.com/labstack/", "go.opentelemetry.io/otel/sdk"}},
		{"bridge/reason", nil, outside},
		{"bridge/alert", append(core, "bridge", "bridge/reason"), []string{"github.com/nats-io/", "github.com/labstack/", "github.com/nicholas-fedor/", "go.opentelemetry.io/otel/sdk"}},
		{"bridge/admin", append(core, "bridge", "bridge/reason"), []string{"github.com/nats-io/", "go.opentelemetry.io/otel/sdk"}},
		{"publisher", append(core, "bridge"), []string{"github.com/labstack/"}},
	} {
		t.Run(test.pkg, func(t *testing.T) {
			out, err := exec.Command("go", "list", "-deps", module+test.pkg).Output()
			if err != nil {
				t.Fatal(err)
			}
			for dep := range strings.Lines(string(out)) {
				dep = strings.TrimSpace(dep)
				if own, ok := strings.CutPrefix(dep, module); ok {
					if own != test.pkg && !slices.Contains(test.ours, own) {
						t.Errorf("%s depends on %s", test.pkg, own)
					}
					continue
				}
				for _, never := range test.never {
					if strings.HasPrefix(dep, never) {
						t.Errorf("%s depends on %s", test.pkg, dep)
					}
				}
			}
		})
	}
}

// TestImportChain holds the longest chain of imports below the command to three:
// webhook → bridge → journal, say, and no link more.
func TestImportChain(t *testing.T) {
	imports := make(map[string][]string)
	for _, line := range list(t, "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...") {
		words := strings.Fields(line)
		if strings.HasPrefix(words[0], module+"cmd/") {
			continue
		}
		imports[words[0]] = words[1:]
	}
	chains := make(map[string][]string)
	var chain func(pkg string) []string
	chain = func(pkg string) []string {
		if known := chains[pkg]; known != nil {
			return known
		}
		var longest []string
		for _, dep := range imports[pkg] {
			if _, own := imports[dep]; !own {
				continue
			}
			if below := chain(dep); len(below) > len(longest) {
				longest = below
			}
		}
		chains[pkg] = append([]string{strings.TrimPrefix(pkg, module)}, longest...)
		return chains[pkg]
	}
	for pkg := range imports {
		if c := chain(pkg); len(c) > 3 {
			t.Errorf("the chain %s has %d links, want at most 3", strings.Join(c, " → "), len(c))
		}
	}
}

// list runs go list and returns its lines that are not empty.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool { return line == "" })
}
