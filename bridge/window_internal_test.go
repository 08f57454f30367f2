package bridge

import (
	"testing"
	"time"
)

// The window is as large as what the server does in a part of an attempt's timeout: a disk
// that syncs 200 messages a second would let most of a thousand time out.
func TestWindow(t *testing.T) {
	for _, c := range []struct {
		name      string
		perSecond int
		max, want int
	}{
		{"a fast server", 40_000, 1024, 1024},
		{"a server far away, with enough in flight", 5_000, 1024, 1024},
		{"a slow disk", 200, 1024, 256},
		{"a configured small window", 200, 16, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWindow(c.max, 5*time.Second)
			for range 100 { // each turn the server answers all that is in flight
				w.acknowledged(w.now, time.Duration(w.now)*time.Second/time.Duration(c.perSecond))
			}
			if w.now != c.want {
				t.Errorf("got a window of %d, want %d", w.now, c.want)
			}
		})
	}
	t.Run("a server that becomes slow", func(t *testing.T) {
		w := newWindow(1024, 5*time.Second)
		w.acknowledged(1024, time.Millisecond)
		w.acknowledged(1, 2*time.Second)
		if w.now != steadyWindow {
			t.Errorf("got a window of %d, want %d", w.now, steadyWindow)
		}
	})
}
