//go:build unix

package journal

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// lockShared takes the lock of a file that is only read. It fails with EAGAIN while a
// writer has it.
func lockShared(name string) (io.Closer, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
		if errors.Is(err, syscall.EACCES) { // the other error that POSIX allows for a lock in use
			err = syscall.EAGAIN
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
