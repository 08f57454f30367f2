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
)

// restoring is a restore under way. It has three steps: stage puts everything into a
// directory of each volume and syncs it, and the archive has to be whole by then; before
// that a volume is what it was. place moves it to where it belongs, under a mark without
// which no server and no backup begins: who is interrupted there runs restore again.
type restoring struct {
	root    string
	roots   []string // the volumes that the archive has
	mounted []string // those that are here
	replace bool
	sums    map[string]string // of each file that was read
	files   int
	bytes   int64
}

// restore puts a backup into the volumes.
func restore(root string, archive io.Reader, replace bool, stderr io.Writer) error {
	mounted, err := roots(root)
	if err != nil {
		return err
	}
	dirs := below(root, mounted)
	if err := unlocked(dirs...); err != nil {
		return err
	}
	// What an interrupted restore has left may be replaced.
	r := &restoring{root: root, mounted: mounted, replace: replace || whole(dirs...) != nil, sums: make(map[string]string)}
	if err := r.stage(archive); err != nil {
		if clean := r.discard(); clean != nil {
			err = fmt.Errorf("%w; and %w", err, clean)
		}
		return fmt.Errorf("restore: %w: nothing was restored", err)
	}
	if err := r.place(); err != nil {
		return fmt.Errorf("restore: %w: the volumes are not whole, run the restore again", err)
	}
	fmt.Fprintf(stderr, "setup: restored %s: %d files, %d bytes\n", strings.Join(r.roots, ", "), r.files, r.bytes)
	return nil
}

// stage reads the archive to its end.
func (r *restoring) stage(archive io.Reader) error {
	in := tar.NewReader(archive)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("the archive ends too early, or is no backup of setup: its list of files is missing")
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if header.Name == sumsName {
			if err := r.compare(in); err != nil {
				return err
			}
			break
		}
		if err := r.entry(header, in); err != nil {
			return err
		}
	}
	// What comes behind the list would be restored unseen, or is a sign of damage.
	if header, err := in.Next(); err == nil {
		return fmt.Errorf("the archive has %s behind its list of files: it is no backup of setup", header.Name)
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the archive: %w", err)
	}
	if len(r.roots) == 0 {
		return errors.New("the archive has no volume")
	}
	for _, name := range r.roots {
		if err := syncDirs(r.staged(name, ".")); err != nil {
			return err
		}
	}
	return nil
}

// entry puts a file or directory of the archive beside what is there.
func (r *restoring) entry(header *tar.Header, in io.Reader) error {
	name := strings.TrimSuffix(header.Name, "/")
	parts := strings.SplitN(name, "/", 3)
	if !filepath.IsLocal(name) || filepath.Clean(name) != name || len(parts) < 2 {
		return fmt.Errorf("the archive has %q, which is in no volume: it is no backup of setup", header.Name)
	}
	volume, rel := parts[0]+"/"+parts[1], "."
	if len(parts) == 3 {
		rel = parts[2]
	}
	if err := r.begin(volume); err != nil {
		return err
	}
	to := r.staged(volume, rel)
	mode := fs.FileMode(header.Mode).Perm()
	switch header.Typeflag {
	case tar.TypeDir:
		if rel == "." {
			return nil
		}
		// The mode is that of the backup also where the umask would take something away.
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		return os.Chmod(to, mode|0o700)
	case tar.TypeReg:
		return r.file(name, to, mode, in)
	}
	return fmt.Errorf("the archive has %q of the type %q: it is no backup of setup", header.Name, header.Typeflag)
}

// begin looks at a volume before the first file is put into it.
func (r *restoring) begin(volume string) error {
	if slices.Contains(r.roots, volume) {
		return nil
	}
	dir := filepath.Join(r.root, volume)
	if !slices.Contains(r.mounted, volume) {
		return fmt.Errorf("the archive has %s, which is not mounted here: restore it with the service of docker-compose.yml that wrote it", volume)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !notOurs(e.Name()) && !r.replace {
			return fmt.Errorf("%s is not empty, it has %s: to remove what is there, and put the backup in its place, run restore -replace", volume, e.Name())
		}
	}
	r.roots = append(r.roots, volume)
	if err := os.RemoveAll(filepath.Join(dir, stageName)); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(dir, stageName), 0o700)
}

func (r *restoring) staged(volume, rel string) string {
	return filepath.Join(r.root, volume, stageName, rel)
}

func (r *restoring) file(name, to string, mode fs.FileMode, in io.Reader) error {
	if _, ok := r.sums[name]; ok {
		return fmt.Errorf("the archive has %s twice: it is no backup of setup", name)
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), in)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the archive ends too early, in %s", name)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	r.sums[name] = hex.EncodeToString(sum.Sum(nil))
	r.files++
	r.bytes += n
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// compare reads the list of the files, and compares it with what came before it.
func (r *restoring) compare(in io.Reader) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	listed := 0
	for line := range strings.Lines(string(text)) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		got, ok := r.sums[name]
		switch {
		case !ok:
			return fmt.Errorf("the archive lacks %s, which its list has", name)
		case got != sum:
			return fmt.Errorf("the archive is damaged: %s is not what was backed up", name)
		}
		listed++
	}
	if listed != len(r.sums) {
		return errors.New("the archive has files that its list does not have: it is no backup of setup")
	}
	return nil
}

// place moves what was staged to where it belongs. The marks are on disk in every volume
// before anything is removed from any, and go when everything is in its place.
func (r *restoring) place() error {
	for _, name := range r.roots {
		mark, err := os.OpenFile(filepath.Join(r.root, name, restoringName), os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(mark.Sync(), mark.Close(), syncDir(filepath.Join(r.root, name))); err != nil {
			return err
		}
	}
	for _, name := range r.roots {
		if err := r.placeVolume(filepath.Join(r.root, name)); err != nil {
			return err
		}
	}
	for _, name := range r.roots {
		dir := filepath.Join(r.root, name)
		if err := os.Remove(filepath.Join(dir, restoringName)); err != nil {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (r *restoring) placeVolume(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !notOurs(e.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	stage := filepath.Join(dir, stageName)
	if entries, err = os.ReadDir(stage); err != nil {
		return err
	}
	if err := give(stage); err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(stage, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(stage); err != nil {
		return err
	}
	if err := os.Lchown(dir, owner, owner); err != nil {
		return err
	}
	return syncDir(dir)
}

// discard removes what was staged.
func (r *restoring) discard() (err error) {
	for _, name := range r.roots {
		err = errors.Join(err, os.RemoveAll(filepath.Join(r.root, name, stageName)))
	}
	return err
}

// syncDirs syncs dir and the directories below it; the files have been.
func syncDirs(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(name)
	})
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
