package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A journal that was copied in part: the store would see no database, make a new one and
// remove the tables of the old.
func TestOpenRefusesPartOfAJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	for n := range 100 {
		appendOne(t, j, record(n))
	}
	if err := j.db.Flush(); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	markers, err := filepath.Glob(filepath.Join(dir, "marker.manifest.*"))
	if err != nil || len(markers) != 1 {
		t.Fatal(markers, err)
	}
	aside := filepath.Join(t.TempDir(), filepath.Base(markers[0]))
	if err := os.Rename(markers[0], aside); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, errIncomplete) {
		t.Errorf("open: got %v, want errIncomplete", err)
	}
	if _, err := Repair(dir, dir+"-r", nil); !errors.Is(err, errIncomplete) {
		t.Errorf("repair: got %v, want errIncomplete", err)
	}
	if err := os.Rename(aside, markers[0]); err != nil {
		t.Fatal(err)
	}
	if got := len(pending(t, open(t, dir))); got != 100 {
		t.Errorf("with the whole directory again: got %d pending, want 100", got)
	}
}

func TestRepairOfNoJournal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if report, err := Repair(dir, dir+"-r", nil); err == nil {
		t.Errorf("got %+v and no error", report)
	}
	if _, err := os.Stat(filepath.Join(dir, "LOCK")); err == nil {
		t.Error("it left a LOCK in a directory that is none of ours")
	}
	if _, err := Open(Options{Dir: dir, ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("read-only: got %v", err)
	}
}

// The last batch of the log, synced and answered, has a flipped byte. Nothing behind it in
// the log would say that it had been whole, but for what Close writes.
func TestDamagedLastBatch(t *testing.T) {
	for _, what := range []string{"header", "body"} {
		dir := filepath.Join(t.TempDir(), "journal")
		j := open(t, dir)
		for i := range 10 {
			appendOne(t, j, record(i))
		}
		closeJournal(t, j)
		name := bySize(t, dir, "*.log")[0].name
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(b, []byte(what+" 9"))
		if at < 0 {
			t.Fatal("not in the log")
		}
		b[at] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: open: got %v", what, err)
		}
		report, err := Repair(dir, dir+"-r", nil)
		if err != nil || report.Pending != 9 {
			t.Errorf("%s: repair: %+v, error %v", what, report, err)
		}
		if whole := len(report.Damaged) == 0 && report.Unread == 0; whole {
			t.Errorf("%s: repair says that nothing was lost", what)
		}
	}
}
