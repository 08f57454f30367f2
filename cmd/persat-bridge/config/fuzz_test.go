package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// FuzzLoad: whatever the file says, Load ends, in a Config whose
// sources have what their auth asks for, or in mistakes of one line each, and the
// secret never shows.
func FuzzLoad(f *testing.F) {
	text, err := os.ReadFile(reference)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	incidents, err := filepath.Glob("testdata/mistakes/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range incidents {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		_, file, _ := strings.Cut(string(text), "-- config.yaml --\n")
		file, _, _ = strings.Cut(file, "-- ")
		f.Add([]byte(file))
	}
	path := filepath.Join(f.TempDir(), "config.yaml")
	environ := []string{"PERSAT_WEBHOOK_SECRET=" + secret}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, warnings, err := Load(path, environ)
		if err == nil {
			for name, s := range cfg.Sources {
				if (s.Auth == "none") != (len(s.Secrets) == 0) {
					t.Errorf("source %s has auth %s and %d secrets", name, s.Auth, len(s.Secrets))
				}
			}
			return
		}
		mistakes, ok := errors.AsType[Mistakes](err)
		if !ok || len(mistakes) == 0 || cfg != nil {
			t.Fatalf("got Config %v and error %v, want mistakes alone", cfg, err)
		}
		for _, m := range mistakes {
			line := m.String()
			if strings.ContainsFunc(line, unicode.IsControl) || m.Text == "" || m.File == "" && m.Variable == "" && m.Key == "" {
				t.Errorf("a mistake is not one line that says where: %q", line)
			}
		}
		all := err.Error()
		for _, w := range warnings {
			all += w.String()
		}
		if strings.Contains(all, secret[6:]) && !strings.Contains(string(text), secret[6:]) {
			t.Errorf("the secret shows: %s", all)
		}
	})
}
