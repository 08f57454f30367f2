package bridge

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Backoff is how waits between attempts grow.
type Backoff struct {
	Initial time.Duration
	// Max is the longest wait, jitter included.
	Max        time.Duration
	Multiplier float64
	// Jitter spreads each wait by this share of it, up and down: 0.5 makes
	// 1 s anything from 0.5 s to 1.5 s.
	Jitter float64
}

// newBackOff makes a sequence of waits that never ends. One belongs to one goroutine.
func (b Backoff) newBackOff() backoff.BackOff {
	// The library spreads a wait after it has bounded it. The bound is lowered by as much;
	// to cut the spread waits off would make many of them equal, and attempts meet.
	longest := time.Duration(float64(b.Max) / (1 + b.Jitter))
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(min(b.Initial, longest)),
		backoff.WithMaxInterval(longest),
		backoff.WithMultiplier(b.Multiplier),
		backoff.WithRandomizationFactor(b.Jitter),
		backoff.WithMaxElapsedTime(0), // the library's default gives up after 15 minutes
	)
}
