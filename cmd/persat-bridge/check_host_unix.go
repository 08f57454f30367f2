//go:build unix

package main

import "syscall"

// writable asks whether this user may make files in dir.
func writable(dir string) error {
	const write, enter = 2, 1
	return syscall.Access(dir, write|enter)
}
