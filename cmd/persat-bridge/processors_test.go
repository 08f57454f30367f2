package main

import (
	"runtime"
	"testing"
)

// TestProcessors: goroutines that wait for the disk take nobody's place, and an operator's
// GOMAXPROCS is obeyed.
func TestProcessors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  []string
		want int
	}{
		{nil, runtime.GOMAXPROCS(0) + spareProcessors},
		{[]string{"GOMAXPROCS=1"}, 1},
	} {
		b := newBridgeProcess(t, c.env...)
		b.Start()
		if got := b.metric("go_sched_gomaxprocs_threads"); got != float64(c.want) {
			t.Errorf("with %q the bridge runs %v goroutines at once, want %d", c.env, got, c.want)
		}
	}
}
