package bridge

import (
	"slices"
	"time"

	"go.uber.org/zap"
)

// showHeldAfter is how long a subject may be held before the log and the metric say so: a
// cluster that elects a leader takes up to eight seconds. Who looks at the status sees it
// at once.
const showHeldAfter = 30 * time.Second

// heldEpisode is a time in which some subject was held, for the log: a line when it
// begins, one for each other reason, and one when it has ended.
type heldEpisode struct {
	since   time.Time
	reasons map[string]bool // that the log has shown
	most    int             // events that waited at once
}

// held are the subjects that are held.
func (l *loop) held(now time.Time) []HeldSubject {
	subjects := []HeldSubject{}
	for _, h := range l.schedule.Held(now) {
		s := HeldSubject{Source: h.Source, Type: h.Type, Reason: h.Reason, Since: h.Since, Waiting: h.Tasks}
		if next := l.schedule.NextAttempt(h.Subject); !next.IsZero() && l.phase == publishing {
			next = next.UTC()
			s.NextAttempt = &next
		}
		subjects = append(subjects, s)
	}
	return subjects
}

// heldLong are those of the held subjects that have been held for a while.
func heldLong(held []HeldSubject, now time.Time) []HeldSubject {
	return slices.DeleteFunc(slices.Clone(held), func(h HeldSubject) bool { return h.Since.After(now.Add(-showHeldAfter)) })
}

// showHeld publishes what is held, and logs what has been held for a while.
func (l *loop) showHeld() {
	l.show()
	l.episode = l.episode.next(l.b.view.Load().long, l.b.o.Log)
}

// next is the episode after a look at what is held now, nil when it has ended.
func (h *heldEpisode) next(held []HeldSubject, log *zap.Logger) *heldEpisode {
	if len(held) == 0 {
		if h != nil {
			log.Info("held events flow again", zap.Duration("held", time.Since(h.since).Round(time.Second)), zap.Int("events", h.most))
		}
		return nil
	}
	if h == nil {
		h = &heldEpisode{since: held[0].Since, reasons: make(map[string]bool)}
	}
	type reason struct {
		types   []string
		waiting int
	}
	var reasons []string // that the log has not shown
	of := make(map[string]*reason)
	all := 0
	for _, s := range held {
		all += s.Waiting
		if s.Since.Before(h.since) {
			h.since = s.Since
		}
		if h.reasons[s.Reason] {
			continue
		}
		if of[s.Reason] == nil {
			of[s.Reason] = new(reason)
			reasons = append(reasons, s.Reason)
		}
		of[s.Reason].types = append(of[s.Reason].types, s.Source+" "+s.Type)
		of[s.Reason].waiting += s.Waiting
	}
	for _, text := range reasons {
		h.reasons[text] = true
		slices.Sort(of[text].types)
		log.Warn("events are held; they wait on disk", zap.Strings("types", of[text].types), zap.String("reason", text), zap.Int("waiting", of[text].waiting))
	}
	h.most = max(h.most, all)
	return h
}
