package journal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// errIncomplete says that a directory has some files of a journal, but not the one that
// all begins with.
var errIncomplete = errors.New("files of a journal are there, but not the one that names its manifest: copy or restore the whole directory")

// look says whether there is a journal in dir, and touches nothing. It is errIncomplete of
// a directory that was copied or restored in part: the store would see no database there,
// make a new one, and remove the files of the old.
func look(fs vfs.FS, dir string) (exists bool, err error) {
	found, err := pebble.Peek(dir, fs)
	if err != nil || found.Exists {
		return true, nil // what is wrong with it, the store says better
	}
	names, err := fs.List(dir)
	if err != nil {
		return true, nil
	}
	if slices.ContainsFunc(names, ofJournal) {
		return false, errIncomplete
	}
	return false, nil
}

// ofJournal says whether a file of this name has records of a journal. A manifest alone
// has none: that may be a start that was cut short.
func ofJournal(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log")
}

// wholeTail is an error when the end of the last log is damaged and not only torn: the
// store cannot tell one from the other there, and drops what it cannot read.
func wholeTail(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return nil // Open says it better
	}
	last := ""
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			last = max(last, name) // their numbers have leading zeros
		}
	}
	if last == "" {
		return nil
	}
	number, err := logNumber(last)
	if err != nil {
		return err
	}
	f, err := fs.Open(fs.PathJoin(dir, last))
	if err != nil {
		return err
	}
	defer f.Close()
	file, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("%s: %w", last, err)
	}
	if at, damaged := provenDamage(file, number); damaged {
		return fmt.Errorf("%s is damaged at byte %d; 'persat-bridge journal repair' saves what can be read", last, at)
	}
	return nil
}

// makeDirs makes a directory and those above it that are missing, each with its name on
// disk: else a power failure could take the directory with all that was synced in it.
func makeDirs(fs vfs.FS, dir string) error {
	var missing []string
	for at := dir; ; at = fs.PathDir(at) {
		if _, err := fs.Stat(at); err == nil || at == fs.PathDir(at) {
			break
		}
		missing = append(missing, at)
	}
	for _, at := range slices.Backward(missing) {
		if err := fs.MkdirAll(at, 0o700); err != nil {
			return err
		}
		above, err := fs.OpenDir(fs.PathDir(at))
		if err != nil {
			return err
		}
		if err := errors.Join(above.Sync(), above.Close()); err != nil {
			return err
		}
	}
	return nil
}

func openError(fs vfs.FS, dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES) && lockHeld(fs, dir):
		return fmt.Errorf("open journal %s: %w: stop the other persat-bridge first, or set journal.dir", dir, ErrLocked)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("open journal %s: %w: it is damaged; 'persat-bridge journal repair' saves what can be read", dir, err)
	}
	return fmt.Errorf("open journal %s: %w", dir, advised(err, dir))
}

// lockHeld tells a lock that another process holds from a directory that may
// not be written: both can be EACCES.
func lockHeld(fs vfs.FS, dir string) bool {
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, "LOCK"), vfs.WriteCategoryUnspecified)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// Disk is what the disk under the journal has free for this process, and in all, in
// bytes; an error when it does not say.
func (j *Journal) Disk() (free, total int64, err error) {
	usage, err := j.o.FS.GetDiskUsage(j.o.Dir)
	return int64(usage.AvailBytes), int64(usage.TotalBytes), err
}

// DiskBytes is what the journal's files take; 0 once it is closed.
func (j *Journal) DiskBytes() uint64 {
	var bytes uint64
	if err := j.attempt(func() error { bytes = j.db.Metrics().DiskSpaceUsage(); return nil }); err != nil {
		return 0
	}
	return bytes
}
