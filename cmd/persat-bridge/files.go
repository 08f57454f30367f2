package main

// connectionLimits divides the files that the process may have open, 0 for unknown. The
// rest is for the journal, NATS and what else a process opens: a journal that cannot make
// its next file fails, and a stranger's idle connections must not bring that about.
func connectionLimits(files uint64) (public, operators int) {
	if files == 0 {
		return 4096, 256
	}
	return int(min(files/2, 4096)), int(min(files/8, 256))
}
