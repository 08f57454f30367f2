package journal

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// snapshotFS is a file system for reading alone. The store takes its lock for writing
// also when it only reads, and so could not read a backup on a read-only mount, nor a
// directory that is somebody else's.
type snapshotFS struct{ vfs.FS }

// Lock takes the lock as a writer where that can be done, else as a reader. Both fail
// while a bridge has the journal open, also through another mount. A directory that
// cannot be written and has no lock file is nobody's.
func (s snapshotFS) Lock(name string) (io.Closer, error) {
	lock, err := s.FS.Lock(name)
	if err == nil || !unwritable(err) {
		return lock, err
	}
	shared, sharedErr := lockShared(name)
	switch {
	case errors.Is(sharedErr, fs.ErrNotExist):
		return io.NopCloser(nil), nil
	case errors.Is(sharedErr, syscall.EAGAIN):
		return nil, sharedErr
	case sharedErr != nil:
		return nil, err
	}
	return shared, nil
}

// Unwrap serves vfs.Root.
func (s snapshotFS) Unwrap() vfs.FS { return s.FS }

// unwritable says whether an error is of a file that may be read and not written.
func unwritable(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
}
