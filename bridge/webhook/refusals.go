package webhook

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Refusals are the requests of one source that were refused for one reason, since the
// process started.
type Refusals struct {
	Source string
	Reason Reason
	Count  int
	// Last is when the newest of them came, and Address from where.
	Last    time.Time
	Address string
	// Text says what is wrong with them and what can be done, as the log does; Detail what
	// was wrong with the newest.
	Text, Detail string
}

type refusalKey struct {
	source string
	reason Reason
}

// refusalList remembers what was refused. Sources and reasons are closed sets, so it stays
// small.
type refusalList struct {
	mu sync.Mutex
	by map[refusalKey]*Refusals
}

func (l *refusalList) note(source string, r *refusal, address string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = make(map[refusalKey]*Refusals)
	}
	k := refusalKey{source, r.reason}
	of := l.by[k]
	if of == nil {
		of = &Refusals{Source: source, Reason: r.reason, Text: cmp.Or(remedies[r.reason], r.text)}
		l.by[k] = of
	}
	of.Count++
	of.Last, of.Address, of.Detail = now, address, r.detail
}

// Refusals returns what was refused, the newest first.
func (s *Server) Refusals() []Refusals {
	s.refusals.mu.Lock()
	defer s.refusals.mu.Unlock()
	list := make([]Refusals, 0, len(s.refusals.by))
	for _, r := range slices.Collect(maps.Values(s.refusals.by)) {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Refusals) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}
