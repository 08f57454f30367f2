package bridge

import (
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	var g growth
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	bytes := int64(1 << 30)
	grow := func(d time.Duration, rate int64) {
		for range d / time.Second {
			g.note(at, bytes)
			at, bytes = at.Add(time.Second), bytes+rate
		}
	}
	if got := g.rate(); got != 0 {
		t.Errorf("of nothing: got %v", got)
	}
	grow(30*time.Second, 1000)
	if got := g.rate(); got != 0 {
		t.Errorf("after half a minute: got %v, want 0: too short to say", got)
	}
	grow(20*time.Minute, 1000)
	if got := g.rate(); got != 1000 {
		t.Errorf("after minutes: got %v a second, want 1000", got)
	}
	grow(5*time.Minute, 0)
	if got := g.rate(); got < 400 || got > 600 {
		t.Errorf("half of the last ten minutes without growth: got %v a second, want about 500", got)
	}
	grow(11*time.Minute, -5)
	if got := g.rate(); got != 0 {
		t.Errorf("while it shrinks: got %v, want 0", got)
	}
	if len(g.sizes) > 2*int(growthOver/growthEvery) {
		t.Errorf("%d sizes are kept", len(g.sizes))
	}
}
