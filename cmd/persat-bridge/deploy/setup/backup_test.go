package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// needRoot: files are given to the user of the servers.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not tested: only root may give files to another user")
	}
}

// newVolumes has files in two volumes, and an empty third one.
func newVolumes(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"volumes/journal/journal/000001.log": strings.Repeat("journal ", 10000),
		"volumes/journal/journal/LOCK":       "",
		"volumes/journal/history":            "x",
		"secrets/bridge/webhook":             "whsec_a\n",
	} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(text), 0o400)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "volumes/nats/jetstream/empty"), 0o750); err != nil {
		t.Fatal(err)
	}
	return root
}

// emptyVolumes are those of newVolumes on another host.
func emptyVolumes(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"volumes/journal", "volumes/nats", "secrets/bridge"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// contents are the files and directories below root, with their modes.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, name)
		if err != nil || strings.Count(rel, "/") < 2 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var text []byte
		if !d.IsDir() {
			text, err = os.ReadFile(name)
		}
		all[rel] = info.Mode().String() + " " + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func newBackup(t *testing.T, root string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := run([]string{"backup"}, env(), root, nil, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBackupAndRestore(t *testing.T) {
	needRoot(t)
	from, to := newVolumes(t), emptyVolumes(t)
	saved := newBackup(t, from)
	if err := run([]string{"restore"}, env(), to, bytes.NewReader(saved), nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, to), contents(t, from); !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	// A second time it is not done unless it is asked for, and then nothing stays of before.
	stray := filepath.Join(to, "volumes/journal/journal/stray")
	if err := os.WriteFile(stray, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := contents(t, to)
	err := run([]string{"restore"}, env(), to, bytes.NewReader(saved), nil, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "not empty") || !strings.Contains(err.Error(), "-replace") {
		t.Errorf("over files: got %v, want an error that says how to", err)
	}
	if !maps.Equal(contents(t, to), before) {
		t.Error("what was refused has changed something")
	}
	if err := run([]string{"restore", "-replace"}, env(), to, bytes.NewReader(saved), nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, to), contents(t, from); !maps.Equal(got, want) {
		t.Errorf("replaced: got %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// rewrite makes another archive of one, entry by entry.
func rewrite(t *testing.T, archive []byte, change func(h *tar.Header, text []byte, w *tar.Writer) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	r, w := tar.NewReader(bytes.NewReader(archive)), tar.NewWriter(&out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if text = change(h, text, w); text == nil && h.Typeflag == tar.TypeReg && h.Size > 0 {
			continue // left out
		}
		h.Size = int64(len(text))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Of an archive that is not whole nothing is restored.
func TestRestoreOfADamagedBackup(t *testing.T) {
	saved := newBackup(t, newVolumes(t))
	other := func(match string, f func(h *tar.Header, text []byte, w *tar.Writer) []byte) []byte {
		return rewrite(t, saved, func(h *tar.Header, text []byte, w *tar.Writer) []byte {
			if strings.HasSuffix(h.Name, match) {
				return f(h, text, w)
			}
			return text
		})
	}
	flipped := bytes.Clone(saved)
	flipped[bytes.Index(flipped, []byte("journal journal"))] ^= 1
	extra := func(name string, kind byte) []byte {
		return other("webhook", func(h *tar.Header, text []byte, w *tar.Writer) []byte {
			if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Linkname: "/etc/passwd", Mode: 0o600}); err != nil {
				t.Fatal(err)
			}
			return text
		})
	}
	for _, test := range []struct {
		what    string
		archive []byte
		want    string
	}{
		{"nothing", nil, "too early"},
		{"no tar", []byte(strings.Repeat("this is no archive ", 100)), "read the archive"},
		{"cut in a file", saved[:len(saved)/2], "too early, in"},
		{"cut between files", saved[:bytes.Index(saved, []byte(sumsName))], "too early"},
		{"cut in its list", saved[:bytes.Index(saved, []byte(sumsName))+600], "read the archive"},
		{"one bit of a file", flipped, "damaged"},
		{"a file less", other("webhook", func(*tar.Header, []byte, *tar.Writer) []byte { return nil }), "lacks secrets/bridge/webhook"},
		{"a file more", extra("volumes/journal/more", tar.TypeReg), "its list does not have"},
		{"a link", extra("volumes/journal/link", tar.TypeSymlink), "no backup of setup"},
		{"a way out", extra("volumes/journal/../../../out", tar.TypeReg), "in no volume"},
		{"an absolute path", extra("/volumes/journal/x", tar.TypeReg), "in no volume"},
		{"another volume", extra("volumes/nats-1/x", tar.TypeReg), "nats-1, which is not mounted"},
		{"a file twice", extra("secrets/bridge/webhook", tar.TypeReg), "twice"},
	} {
		t.Run(test.what, func(t *testing.T) {
			to := emptyVolumes(t)
			err := run([]string{"restore"}, env(), to, bytes.NewReader(test.archive), nil, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "nothing was restored") {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if left := contents(t, to); len(left) != 0 {
				t.Errorf("%q is left", slices.Collect(maps.Keys(left)))
			}
		})
	}
}

// Who was interrupted in the middle of a restore is not served what is there.
func TestInterruptedRestore(t *testing.T) {
	needRoot(t)
	from, to := newVolumes(t), emptyVolumes(t)
	saved := newBackup(t, from)
	if err := run([]string{"restore"}, env(), to, bytes.NewReader(saved), nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	// As it is when one volume is done, and another is not.
	mark := filepath.Join(to, "volumes/journal", restoringName)
	if err := errors.Join(os.WriteFile(mark, nil, 0o600), os.Remove(filepath.Join(to, "volumes/journal/history"))); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"backup"}, {filepath.Join(to, "volumes/journal")}} {
		err := run(args, env("PERSAT_WEBHOOK_SECRET=whsec_a"), to, nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "run the restore again") {
			t.Errorf("%q: got %v, want an error that says what to do", args, err)
		}
	}
	if err := run([]string{"restore"}, env(), to, bytes.NewReader(saved), nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, to), contents(t, from); !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// writerFunc is a function as a Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A backup of servers that run says so, and is none.
func TestBackupOfAChangingVolume(t *testing.T) {
	for what, change := range map[string]func(dir string) error{
		"a file grows":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "history"), []byte("longer"), 0o600) },
		"a file is made":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "journal/000002.log"), nil, 0o600) },
		"a file goes":     func(dir string) error { return os.Remove(filepath.Join(dir, "journal/000001.log")) },
		"a file is moved": func(dir string) error { return os.Rename(filepath.Join(dir, "history"), filepath.Join(dir, "old")) },
	} {
		root := newVolumes(t)
		if err := os.Chmod(filepath.Join(root, "volumes/journal/history"), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		done := false
		err := backup(root, writerFunc(func(p []byte) (int, error) {
			if !done && bytes.Contains(p, []byte("volumes/journal/journal/LOCK")) {
				done = true
				if err := change(filepath.Join(root, "volumes/journal")); err != nil {
					t.Error(err)
				}
			}
			return out.Write(p)
		}), io.Discard)
		if !done || err == nil || !strings.Contains(err.Error(), "changed while") || !strings.Contains(err.Error(), "stop") {
			t.Errorf("%s: got %v, want an error that says to stop the servers", what, err)
		}
		if bytes.Contains(out.Bytes(), []byte(sumsName)) {
			t.Errorf("%s: the archive looks whole", what)
		}
	}
}

// lockVariable names the file that TestHoldLock locks, in a process of its own.
const lockVariable = "SETUP_TEST_LOCK"

func TestHoldLock(t *testing.T) {
	name := os.Getenv(lockVariable)
	if name == "" {
		t.Skip("TestJournalInUse runs it")
	}
	closer, err := vfs.Default.Lock(name) // as the journal does
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	_, _ = os.Stdout.WriteString("locked\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// The journal of a running bridge is neither copied nor replaced.
func TestJournalInUse(t *testing.T) {
	root := newVolumes(t)
	lock := filepath.Join(root, "volumes/journal/journal/LOCK")
	if err := os.Chmod(lock, 0o600); err != nil {
		t.Fatal(err)
	}
	// Such a lock is between processes.
	holder := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestHoldLock$")
	holder.Env = append(os.Environ(), lockVariable+"="+lock)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = holder.Wait() }()
	if _, err := io.ReadFull(out, make([]byte, len("locked\n"))); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"backup"}, {"restore", "-replace"}} {
		err := run(args, env(), root, strings.NewReader(""), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%q: got %v, want an error that says that the journal is in use", args, err)
		}
	}
}
