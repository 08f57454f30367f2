package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readOnly mounts dir a second time, for reading alone.
func readOnly(t *testing.T, dir, at string) {
	t.Helper()
	need(t, "root, to mount a directory for reading", os.Getuid() == 0)
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(dir, at, "", syscall.MS_BIND, ""); err != nil {
		need(t, "the right to mount", false)
	}
	unmountLater(t, at)
	if err := syscall.Mount("", at, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
}

// The tools could not read a backup of the journal where it cannot be written: on a
// snapshot, or in a container's read-only volume.
func TestJournalToolsOnASnapshot(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t)
	b.Start()
	for _, id := range []string{"a", "b", "c"} {
		b.post(id, eventBody("workorder.created", id, ""))
	}
	journal := filepath.Join(b.dir, "journal")
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	readOnly(t, journal, snapshot)

	// A bridge that runs is in the way, also behind the other mount.
	if code, _, stderr := b.tool("journal", "stat", "--dir", snapshot); code != exitFailed || !strings.Contains(stderr, "the bridge is running on "+snapshot) {
		t.Errorf("while the bridge runs: exit code %d, %s", code, stderr)
	}
	b.Kill()
	before := modified(t, journal)
	for _, c := range []struct{ args, want string }{
		{"stat", "next       record 4"},
		{"verify", "3 records, all whole"},
		{"dump", `"id":"c"`},
		{"repair --to " + filepath.Join(b.dir, "saved"), "nothing was lost"},
	} {
		args := append(append([]string{"journal"}, strings.Fields(c.args)...), "--dir", snapshot)
		if code, stdout, stderr := b.tool(args...); code != exitDone || !strings.Contains(stdout, c.want) {
			t.Errorf("journal %s: exit code %d, %s%s", c.args, code, stdout, stderr)
		}
	}
	if after := modified(t, journal); after != before {
		t.Errorf("the journal was changed: %v, then %v", before, after)
	}
}

// modified is when a directory or a file in it has changed last.
func modified(t *testing.T, dir string) (last time.Time) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}
