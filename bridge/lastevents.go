package bridge

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// LastEvent is the newest event of a source.
type LastEvent struct {
	Record uint64    `json:"record"`
	At     time.Time `json:"at"` // when it was accepted
	Type   string    `json:"type"`
}

// lastEvents knows the newest event of each source, repeats not among them.
type lastEvents struct {
	mu       sync.Mutex
	bySource map[string]LastEvent
}

func (l *lastEvents) note(record uint64, e *Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bySource == nil {
		l.bySource = make(map[string]LastEvent)
	}
	if record > l.bySource[e.Source].Record {
		l.bySource[e.Source] = LastEvent{Record: record, At: e.Accepted, Type: e.Type}
	}
}

// of returns the newest event of a source; nil without one.
func (l *lastEvents) of(source string) *LastEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.bySource[source]; ok {
		return &e
	}
	return nil
}

// sources are those that have an event.
func (l *lastEvents) sources() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.bySource))
}

// findLastEvents looks for the newest event of each configured source, as far back as one
// look into the journal reaches.
func (b *Bridge) findLastEvents() error {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	missing := slices.Clone(b.o.Sources)
	looked := 0
	for entry, err := range b.journal.Newest(0) {
		if err != nil {
			return err
		}
		if looked++; looked > maxLook || len(missing) == 0 || ctx.Err() != nil {
			return nil
		}
		e, err := parseHeader(entry.Header)
		if err != nil {
			return err
		}
		if i := slices.Index(missing, e.Source); i >= 0 {
			b.lastEvents.note(entry.Seq, e)
			missing = slices.Delete(missing, i, i+1)
		}
	}
	return nil
}
