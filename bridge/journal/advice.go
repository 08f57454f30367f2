package journal

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// advised adds to an error of the disk under dir what an operator does about it.
func advised(err error, dir string) error {
	for _, known := range []struct {
		is     error
		advice string
	}{
		{ErrRemoved, "put back what was there before the next start, or what was accepted and not yet published is lost"},
		{syscall.ENOSPC, "make room on the disk under DIR; where 'df' shows room, 'df -i' shows that inodes are missing"},
		{syscall.EDQUOT, "raise the disk quota of this user, or make room under DIR"},
		{syscall.EMFILE, "raise the number of files that the process may open (LimitNOFILE=, 'ulimit -n')"},
		{syscall.ENFILE, "raise the number of files that this host may open (fs.file-max)"},
		{syscall.EROFS, "find out why the disk under DIR is read-only ('dmesg'), repair it and mount it to write"},
		{syscall.EIO, "the disk under DIR fails: look at 'dmesg', and at 'persat-bridge journal verify' before the next start"},
		{syscall.EACCES, "let this user write in DIR"},
		{syscall.EPERM, "let this user write in DIR"},
	} {
		if errors.Is(err, known.is) {
			return fmt.Errorf("%w: %s", storeError{err}, strings.ReplaceAll(known.advice, "DIR", dir))
		}
	}
	return storeError{err}
}
