//go:build !unix

package main

// writable is not asked here: the start finds out.
func writable(string) error { return nil }

// onOneDisk is not asked here.
func onOneDisk(string, string) bool { return false }
