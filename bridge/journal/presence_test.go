package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// TestRemovedJournal answers nothing from files whose names are gone. A cleaner of old
// files removed journal.dir under the running bridge, and it went on answering 202 into
// unlinked files, all of them lost at the stop.
func TestRemovedJournal(t *testing.T) {
	remove := func(t *testing.T, err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, away := range map[string]func(t *testing.T, dir string){
		"directory removed": func(t *testing.T, dir string) { remove(t, os.RemoveAll(dir)) },
		"directory moved":   func(t *testing.T, dir string) { remove(t, os.Rename(dir, dir+".old")) },
		"directory replaced": func(t *testing.T, dir string) {
			remove(t, os.Rename(dir, dir+".old"))
			remove(t, os.CopyFS(dir, os.DirFS(dir+".old")))
		},
		"directory above moved": func(t *testing.T, dir string) {
			remove(t, os.Rename(filepath.Dir(dir), filepath.Dir(dir)+".old"))
		},
		"files removed": func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			remove(t, err)
			for _, file := range files {
				remove(t, os.Remove(file))
			}
		},
		"newest log removed": func(t *testing.T, dir string) {
			logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
			remove(t, err)
			remove(t, os.Remove(logs[len(logs)-1]))
		},
		"files replaced by copies": func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			remove(t, err)
			for _, file := range files {
				b, err := os.ReadFile(file)
				remove(t, err)
				remove(t, os.Remove(file))
				remove(t, os.WriteFile(file, b, 0o600))
			}
		},
	} {
		for how, notice := range map[string]func(j *Journal) error{
			"append": func(j *Journal) error { _, err := j.Append(t.Context(), record(100)); return err },
			// A repeat is answered 2xx, too, for a record that is in the removed files.
			"repeat":    func(j *Journal) error { _, err := j.Append(t.Context(), record(1)); return err },
			"in a tick": func(j *Journal) error { return j.Sync() },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "data", "journal")
				j := open(t, dir)
				for n := range 10 {
					appendOne(t, j, record(n))
				}
				away(t, dir)
				err := notice(j)
				if !errors.Is(err, ErrFailed) || !errors.Is(err, ErrRemoved) || !strings.Contains(err.Error(), "put back") {
					t.Fatalf("got %v, want ErrFailed, ErrRemoved and what to do", err)
				}
				if _, err := j.Append(t.Context(), record(200)); !errors.Is(err, ErrFailed) {
					t.Errorf("append after it: got %v, want ErrFailed", err)
				}
			})
		}
	}
}

// What went into a log whose name is gone is given to nobody: a publisher would put it into
// the stream, and the next start would deny it.
func TestRemovedLogIsNotRead(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	appendOne(t, j, record(1))
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(logs[len(logs)-1]); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(t.Context(), record(2)); !errors.Is(err, ErrRemoved) {
		t.Fatalf("got %v, want ErrRemoved", err)
	}
	if items, next, err := j.Pending(2, 10); len(items) > 0 || next != 2 || j.Next() != 2 {
		t.Errorf("got %d records, next %d, %v; the journal's next is %d, want none and 2", len(items), next, err, j.Next())
	}
}

// A log may be gone when the next one begins, before all that was synced to it has been
// answered for.
func TestRemovedLogBehindANewOne(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "1.log"), filepath.Join(dir, "2.log")
	for _, log := range []string{first, second} {
		if err := os.WriteFile(log, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := newPresence(dir)
	p.newLog(first)
	if err := p.check(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	p.newLog(second)
	if err := p.check(); !errors.Is(err, ErrRemoved) {
		t.Errorf("got %v, want ErrRemoved", err)
	}
}

// A directory that does not answer is a stall like a sync that hangs.
func TestStallOfPresence(t *testing.T) {
	j := open(t, t.TempDir())
	appendOne(t, j, record(1))
	j.presence.mu.Lock() // as while a stat hangs
	appended := make(chan error, 1)
	go func() {
		_, err := j.Append(context.Background(), record(1)) // a repeat, which has no sync
		appended <- err
	}()
	testwait.Eventually(t, "the stall", func() bool { return j.Stalled() > 0 })
	j.presence.mu.Unlock()
	if err := <-appended; err != nil {
		t.Error(err)
	}
	if got := j.Stalled(); got != 0 {
		t.Errorf("stalled for %v afterwards", got)
	}
}

// A journal that writes through many logs, and uses them again, is where it was.
func TestJournalStaysInPlace(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), func(o *Options) { o.MaxBytes = 32 << 20 })
	for n := range 400 {
		appendOne(t, j, largeRecord(n))
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	appendOne(t, j, record(1000))
}
