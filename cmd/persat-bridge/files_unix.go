//go:build unix

package main

import "syscall"

// openFiles is how many files the process may have open. Go has raised it to the hard
// limit when the process began.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur)
}
