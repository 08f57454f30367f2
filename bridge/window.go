package bridge

import "time"

const (
	// steadyWindow is the size of the window for a server that is slow, whatever MaxInFlight
	// is.
	steadyWindow = 256
	// smallWindow is its size when single events follow batches: what is known of the
	// server's speed was of batches, and the next batch waits for the last of them.
	smallWindow = 64
)

// window says how many attempts may be in flight. A server that syncs each message to a
// slow disk answers a few hundred a second: of a full window of a thousand the last ones
// would be given up before it comes to them. So the window begins small, grows with each
// acknowledgement that comes soon, and goes back when one comes late.
type window struct {
	max     int
	timeout time.Duration // of an attempt
	now     int
}

func newWindow(max int, timeout time.Duration) *window {
	w := &window{max: max, timeout: timeout}
	w.restart(steadyWindow)
	return w
}

func (w *window) restart(size int) { w.now = min(size, w.max) }

// acknowledged notes n acknowledgements, the slowest of which came after so long.
func (w *window) acknowledged(n int, slowest time.Duration) {
	switch {
	case slowest > w.timeout/4:
		w.now = min(w.now, steadyWindow)
	case slowest < w.timeout/10:
		w.now = min(w.now+n, w.max)
	}
}
