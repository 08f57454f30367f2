package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what Load says into testdata/mistakes; read the diff")

// TestMistakes loads what an operator got wrong. Each file is one incident: its
// config.yaml, env and other files in txtar's form, and the exact lines wanted.
func TestMistakes(t *testing.T) {
	paths, err := filepath.Glob("testdata/mistakes/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			incident, want, _ := strings.Cut(read(t, path), "-- want --\n")
			t.Chdir(t.TempDir())
			var environ []string
			for _, file := range strings.Split("\n"+incident, "\n-- ")[1:] {
				switch name, text, _ := strings.Cut(file, " --\n"); name {
				case "env":
					environ = strings.Split(text, "\n")
				default:
					write(t, name, text+"\n")
				}
			}

			cfg, _, err := Load("", environ)
			if err == nil || cfg != nil {
				t.Fatalf("got Config %+v and error %v, want mistakes alone", cfg, err)
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "hunter") {
				t.Errorf("a secret shows:\n%s", got)
			}
			if *update {
				want = got
				write(t, path, incident+"-- want --\n"+got)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
