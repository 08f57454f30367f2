package journal

import (
	"path/filepath"
	"testing"
)

func TestPullPosition(t *testing.T) {
	dir := t.TempDir()
	j := open(t, filepath.Join(dir, "a"))
	check := func(j *Journal, source, want string) {
		t.Helper()
		got, err := j.PullPosition(source)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("source %s: got %q, want %q", source, got, want)
		}
	}
	if got, err := j.PullPosition("persat"); got != nil || err != nil {
		t.Errorf("of a source never pulled: got %q, %v", got, err)
	}
	for source, position := range map[string]string{"persat": "1", "persat-2": "x"} {
		if err := j.SetPullPosition(source, []byte(position)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.SetPullPosition("persat", []byte("2")); err != nil {
		t.Fatal(err)
	}
	appendOne(t, j, record(1))
	closeJournal(t, j)

	j = open(t, filepath.Join(dir, "a"))
	check(j, "persat", "2")
	check(j, "persat-2", "x")
	closeJournal(t, j)
	if _, err := Repair(filepath.Join(dir, "a"), filepath.Join(dir, "b"), nil); err != nil {
		t.Fatal(err)
	}
	j = open(t, filepath.Join(dir, "b"))
	check(j, "persat", "2")
	check(j, "persat-2", "x")
}
