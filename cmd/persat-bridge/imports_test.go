package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/persat-bridge/persat-bridge/"

// TestImportRules keeps the layers apart: cmd → webhook | pull | admin | publisher →
// bridge → journal, and webhook and pull → persat.
func TestImportRules(t *testing.T) {
	for _, test := range []struct {
		pkg string
		// ours are the packages of this module that it may import.
		ours []string
		// never are paths that must not be in its dependencies.
		never []string
	}{
		{"bridge/persat", nil, []string{"go.uber.org/", "github.com/", "google.golang.org/", "golang.org/"}},
		{"bridge/persat/schema", nil, []string{"go.uber.org/", "github.com/", "google.golang.org/", "golang.org/"}},
		{"bridge/schedule", nil, []string{"go.uber.org/", "github.com/", "google.golang.org/", "golang.org/"}},
		{"bridge/journal", nil, []string{"github.com/nats-io/", "github.com/labstack/", "go.opentelemetry.io/"}},
		{"bridge", []string{"bridge/journal"}, []string{"github.com/nats-io/", "github.com/labstack/", "go.opentelemetry.io/otel/sdk"}},
		{"bridge/webhook", []string{"bridge", "bridge/journal", "bridge/persat"}, []string{"github.com/nats-io/", "go.opentelemetry.io/otel/sdk"}},
		{"bridge/pull", []string{"bridge", "bridge/journal", "bridge/persat"}, []string{"github.com/nats-io/", "github.com/labstack/", "go.opentelemetry.io/otel/sdk"}},
		{"bridge/admin", []string{"bridge", "bridge/journal"}, []string{"github.com/nats-io/", "go.opentelemetry.io/otel/sdk"}},
		{"publisher", []string{"bridge", "bridge/journal"}, []string{"github.com/labstack/"}},
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
