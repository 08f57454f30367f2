package config

import (
	"os"
	"testing"
)

// A store in the journal by a symbolic link: each deletes what it does not know.
func TestWithin(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("journal/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "journal/sub", "beside": "."} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"journal", "journal", true}, {"journal/new/dir", "./journal/", true}, {"journal-2", "journal", false}, {".", "journal", false},
		{"link", "journal", true}, {"link/new", "journal", true}, {"beside/journal/x", "journal", true}, {"beside/other", "journal", false}, {"journal", "link", false},
	} {
		if got := Within(c.path, c.dir); got != c.want {
			t.Errorf("Within(%q, %q): got %v, want %v", c.path, c.dir, got, c.want)
		}
	}
}
