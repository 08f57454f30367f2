package bridge

import (
	"slices"
	"time"

	"go.uber.org/zap"
)

// showHeldAfter is how long a subject may be held before the log says so: a cluster
// that elects a leader takes up to eight seconds.
const showHeldAfter = 30 * time.Second

// holding is a time in which something was held, for the log: a line when it
// begins, one for each other reason, and one when it has ended.
type holding struct {
	since   time.Time
	reasons map[string]bool
	most    int // events that waited at once
}

// showHeld logs what has been held for a while, and counts it for the metrics.
func (r *runner) showHeld() {
	now := time.Now()
	held, all := make(map[string]int), 0
	type reason struct {
		types   []string
		waiting int
	}
	reasons := make(map[string]*reason) // those that the log has not shown
	for _, g := range r.gates {
		if !g.closed || now.Sub(g.since) < showHeldAfter {
			continue
		}
		held[g.source] += g.tasks
		all += g.tasks
		if r.holding == nil {
			r.holding = &holding{since: g.since, reasons: make(map[string]bool)}
		}
		if r.holding.reasons[g.reason] {
			continue
		}
		if reasons[g.reason] == nil {
			reasons[g.reason] = new(reason)
		}
		reasons[g.reason].types = append(reasons[g.reason].types, g.source+" "+g.eventType)
		reasons[g.reason].waiting += g.tasks
	}
	for text, of := range reasons {
		r.holding.reasons[text] = true
		slices.Sort(of.types)
		r.b.o.Log.Warn("events are held; they wait on disk", zap.Strings("types", of.types), zap.String("reason", text), zap.Int("waiting", of.waiting))
	}
	r.b.setHeld(held)
	switch h := r.holding; {
	case h == nil:
	case len(held) > 0:
		h.most = max(h.most, all)
	default:
		r.holding = nil
		r.b.o.Log.Info("held events flow again", zap.Duration("held", now.Sub(h.since).Round(time.Second)), zap.Int("events", h.most))
	}
}
