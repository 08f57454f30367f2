package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A backup is a tar of the volumes: volumes/journal/…, secrets/bridge/…. Its last entry
// is the list of the files with their SHA-256, so that an archive that was cut off, or
// was damaged, is never taken for a whole one.
//
// The servers are stopped meanwhile. Pebble and NATS each survive a copy of a moment, but
// a tar is no copy of a moment: it would have the beginning of one file and, minutes
// later, the end of another. So backup refuses a journal that is locked, and says that
// files have changed when they have.

const (
	// sumsName is the last entry of a backup.
	sumsName = "SHA256SUMS"
	// stageName is where restore puts files until it has all of them, and restoringName
	// is there from the first file that it moves to its place until the last one is.
	stageName, restoringName = ".restore", ".restoring"
)

// roots are the volumes that are mounted here, relative to root.
func roots(root string) (found []string, err error) {
	for _, parent := range []string{"secrets", "volumes"} {
		entries, err := os.ReadDir(filepath.Join(root, parent))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				found = append(found, parent+"/"+e.Name())
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no volume is mounted here")
	}
	return found, nil
}

// whole says that a restore into one of dirs was interrupted.
func whole(dirs ...string) error {
	for _, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(dir, restoringName)); err == nil {
			return fmt.Errorf("a restore was interrupted, and %s has only a part of it: run the restore again", dir)
		}
	}
	return nil
}

// unlocked says that a bridge has its journal open below one of dirs.
func unlocked(dirs ...string) error {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != "LOCK" {
				return err
			}
			f, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
			if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if lock.Type != syscall.F_UNLCK {
				return fmt.Errorf("the journal in %s is in use: docker-compose stop persat-bridge nats", filepath.Dir(name))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// below is each of roots as a path.
func below(root string, names []string) (dirs []string) {
	for _, name := range names {
		dirs = append(dirs, filepath.Join(root, name))
	}
	return dirs
}

// copied is what a file was like when it was copied.
type copied struct {
	info fs.FileInfo
	sum  string
}

// backup writes the volumes to w.
func backup(root string, w io.Writer, stderr io.Writer) error {
	names, err := roots(root)
	if err != nil {
		return err
	}
	dirs := below(root, names)
	if err := errors.Join(whole(dirs...), unlocked(dirs...)); err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	done := make(map[string]copied)
	var order []string
	var bytes int64
	for _, name := range names {
		err := walk(root, name, func(name string, info fs.FileInfo) error {
			c := copied{info: info}
			if err := c.write(archive, root, name); err != nil {
				return err
			}
			done[name] = c
			if !info.IsDir() {
				order = append(order, name)
				bytes += info.Size()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	left := len(done)
	for _, name := range names {
		err := walk(root, name, func(name string, now fs.FileInfo) error {
			before, ok := done[name]
			if !ok || !now.IsDir() && (before.info.Size() != now.Size() || !before.info.ModTime().Equal(now.ModTime())) {
				return changed(name)
			}
			left--
			return nil
		})
		if err != nil {
			return err
		}
	}
	if left != 0 {
		return changed("a file")
	}
	var sums strings.Builder
	for _, name := range order {
		fmt.Fprintf(&sums, "%s  %s\n", done[name].sum, name)
	}
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: sumsName, Mode: 0o600, Size: int64(sums.Len())}); err != nil {
		return err
	}
	if _, err := io.WriteString(archive, sums.String()); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "setup: backup of %s: %d files, %d bytes\n", strings.Join(names, ", "), len(order), bytes)
	return nil
}

func changed(name string) error {
	return fmt.Errorf("%s has changed while it was copied: stop the servers (docker-compose stop persat-bridge nats) and run the backup again. What was written is no backup", name)
}

// walk calls f for each directory and file of a volume.
func walk(root, name string, f func(name string, info fs.FileInfo) error) error {
	return filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return changed(path)
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if filepath.Dir(rel) == name && notOurs(d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return changed(rel)
		}
		if err != nil {
			return err
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory: nothing here writes such things, remove it", rel)
		}
		return f(rel, info)
	})
}

// notOurs are the entries of a volume that are not its content: of its file system, and
// of a restore that ended before it had begun to move files.
func notOurs(name string) bool {
	return slices.Contains([]string{"lost+found", stageName, restoringName}, name)
}

// write adds the file or directory to the archive.
func (c *copied) write(archive *tar.Writer, root, name string) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(c.info.Mode().Perm()), ModTime: c.info.ModTime(), Size: c.info.Size()}
	if c.info.IsDir() {
		header.Typeflag, header.Name, header.Size = tar.TypeDir, name+"/", 0
	}
	if err := archive.WriteHeader(header); err != nil || c.info.IsDir() {
		return err
	}
	f, err := os.Open(filepath.Join(root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return changed(name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(archive, sum), io.LimitReader(f, c.info.Size()))
	if err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	if n < c.info.Size() {
		return changed(name)
	}
	c.sum = hex.EncodeToString(sum.Sum(nil))
	return nil
}
