package bridge

import (
	"testing"
	"time"
)

// The longest wait was max and half as much again: the library adds its jitter to a wait
// that is bounded already.
func TestNoWaitIsLongerThanMax(t *testing.T) {
	for name, b := range map[string]Backoff{
		"as by default":    {Initial: 100 * time.Millisecond, Max: 30 * time.Second, Multiplier: 2, Jitter: 0.5},
		"begins at max":    {Initial: time.Second, Max: time.Second, Multiplier: 1, Jitter: 1},
		"without a jitter": {Initial: time.Second, Max: 30 * time.Second, Multiplier: 3},
	} {
		t.Run(name, func(t *testing.T) {
			longest := time.Duration(0)
			for range 100 {
				waits := b.newBackOff()
				for range 100 {
					longest = max(longest, waits.NextBackOff())
				}
			}
			if longest > b.Max || longest < b.Max*9/10 {
				t.Errorf("the longest of 10,000 waits is %v, want nearly %v and not more", longest, b.Max)
			}
		})
	}
}
