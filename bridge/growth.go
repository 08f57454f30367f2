package bridge

import (
	"sync"
	"time"
)

const (
	// growthOver is over how long the growth of the journal is measured: merges of its
	// tables make it jump by some megabytes all the time.
	growthOver = 10 * time.Minute
	// growthEvery is from one of the kept sizes to the next.
	growthEvery = 10 * time.Second
)

// growth knows sizes of the journal of the last minutes.
type growth struct {
	mu    sync.Mutex
	sizes []sizeAt
}

type sizeAt struct {
	at    time.Time
	bytes int64
}

func (g *growth) note(now time.Time, bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	newest := len(g.sizes) - 1
	if newest > 0 && now.Sub(g.sizes[newest-1].at) < growthEvery {
		g.sizes[newest] = sizeAt{now, bytes}
		return
	}
	g.sizes = append(g.sizes, sizeAt{now, bytes})
	for len(g.sizes) > 2 && now.Sub(g.sizes[1].at) >= growthOver {
		g.sizes = g.sizes[1:]
	}
}

// rate is the mean growth in bytes a second; 0 where it does not grow, and before a
// minute has passed.
func (g *growth) rate() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.sizes) < 2 {
		return 0
	}
	first, last := g.sizes[0], g.sizes[len(g.sizes)-1]
	over := last.at.Sub(first.at)
	if over < time.Minute {
		return 0
	}
	return max(float64(last.bytes-first.bytes)/over.Seconds(), 0)
}
