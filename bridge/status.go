package bridge

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Status is the state of a bridge, for people.
type Status struct {
	// Time is when it was so, by this host's clock.
	Time time.Time `json:"time"`
	// Accepting says whether events are answered 2xx; Refusing says why not.
	Accepting bool   `json:"accepting"`
	Refusing  string `json:"refusing,omitempty"`
	NATS      Link   `json:"nats"`
	Pending   int    `json:"pending"`
	Dead      int    `json:"dead"`
	// Accepted counts all events there ever were in this journal.
	Accepted uint64         `json:"accepted"`
	Sources  []SourceStatus `json:"sources"`
	Held     []HeldSubject  `json:"held"`
	// Gone counts events that the stream has lost and the journal no longer keeps. It
	// is 0 again when the last such loss is a week past.
	Gone int64 `json:"gone"`
	// StreamMissing says that NATS does not find the stream, and that the bridge does not
	// create it without an operator's word (RecreateStream).
	StreamMissing bool `json:"stream_missing"`
	// Notices are what an operator should know and may have to act on.
	Notices []string `json:"notices"`
	// Replay is the replay that runs, or ran last.
	Replay       *Replay `json:"replay,omitempty"`
	JournalBytes uint64  `json:"journal_bytes"`
	JournalLimit int64   `json:"journal_limit_bytes"`
}

// SourceStatus is the part of a Status that belongs to one source.
type SourceStatus struct {
	Name    string `json:"name"`
	Pending int    `json:"pending"`
	Dead    int    `json:"dead"`
	// OldestPending is when the oldest pending event was accepted; nil without one.
	OldestPending *time.Time `json:"oldest_pending,omitempty"`
}

// HeldSubject is a subject whose events wait for an operator.
type HeldSubject struct {
	Source  string    `json:"source"`
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
	Waiting int       `json:"waiting"`
}

// Status is the state as it is known. It waits neither for the disk nor for NATS.
func (b *Bridge) Status(context.Context) Status {
	s := Status{
		Time:         time.Now().UTC(),
		NATS:         b.link.state(),
		Pending:      b.backlog.total(),
		Accepted:     b.journal.Next() - 1,
		Held:         b.view.Load().held,
		Notices:      b.notices.all(),
		Replay:       b.ReplayNow(),
		JournalBytes: b.space.bytes(),
		JournalLimit: b.o.MaxBytes,
	}
	if held := b.o.Creation.held(); held != "" {
		s.StreamMissing, s.Notices = true, append(s.Notices, held)
	}
	s.Gone = b.gone.Load()
	switch err := b.Ready(); {
	case err != nil:
		s.Refusing = err.Error()
	case b.o.WaitForStream && !s.NATS.Up:
		s.Refusing = "NATS is away, and accept.wait_for is stream: events wait on disk, and a 2xx needs NATS"
	default:
		s.Accepting = true
	}
	for _, name := range b.sources() {
		source := SourceStatus{Name: name, Pending: b.backlog.pending(name), Dead: b.dead.of(name)}
		if oldest := b.backlog.oldest(name); !oldest.IsZero() {
			source.OldestPending = &oldest
		}
		s.Dead += source.Dead
		s.Sources = append(s.Sources, source)
	}
	return s
}

// view is what others may see of the loop. The loop replaces it and never changes it,
// so that nobody waits for the loop, which may wait for the disk.
type view struct {
	session Session       // nil while none can be asked
	held    []HeldSubject // for long enough to be shown
}

// show publishes what others may see.
func (l *loop) show() {
	v := &view{held: l.heldLong(time.Now())}
	if l.phase != ending {
		v.session = l.session
	}
	l.b.view.Store(v)
}

// heldEvents is how many events of a source are held for long.
func (v *view) heldEvents(source string) (n int) {
	for _, h := range v.held {
		if h.Source == source {
			n += h.Waiting
		}
	}
	return n
}

// ErrNoSession: there is no session with NATS, so nothing can be asked there.
var ErrNoSession = errors.New("no connection to NATS")

// Stream describes the stream as it is now.
func (b *Bridge) Stream(ctx context.Context) (StreamInfo, error) {
	s := b.view.Load().session
	if s == nil {
		return StreamInfo{}, ErrNoSession
	}
	state, err := s.Stream(ctx)
	return state.Info, err
}

// sources are the configured sources and those of events that are left from an
// earlier configuration.
func (b *Bridge) sources() []string {
	names := append(b.dead.sources(), b.backlog.names()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// logDead says that an event became a dead letter.
func (b *Bridge) logDead(e *Event, seq uint64, reason string) {
	b.o.Log.Warn("event is a dead letter", zap.Uint64("record", seq), zap.String("source", e.Source),
		zap.String("event_id", e.ID), zap.String("type", e.Type), zap.String("reason", reason))
}
