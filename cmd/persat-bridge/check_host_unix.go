//go:build unix

package main

import "syscall"

// writable asks whether this user may make files in dir.
func writable(dir string) error {
	const write, enter = 2, 1
	return syscall.Access(dir, write|enter)
}

// onOneDisk says whether two directories are on the same disk.
func onOneDisk(a, b string) bool {
	var x, y syscall.Stat_t
	return syscall.Stat(a, &x) == nil && syscall.Stat(b, &y) == nil && x.Dev == y.Dev
}
