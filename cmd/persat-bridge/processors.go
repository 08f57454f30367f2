package main

import (
	"os"
	"runtime"
)

// spareProcessors is how many goroutines run Go code at once beyond one for each processor.
// One that waits for the disk still counts as running until the runtime has noticed, and
// two wait for it nearly always: the one that syncs the journal's log, and the one that
// writes its tables or the embedded NATS's stream. On two processors the others would
// have to wait for them. Four more were no better than two at a steady rate.
const spareProcessors = 2

// useProcessors gives the runtime spareProcessors more than it would take, unless somebody
// has decided on that: GOMAXPROCS in the environment stays as it is. The limit of a
// container counts as it is now; the runtime follows none that changes later.
func useProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareProcessors)
	}
}
