package bridge

import (
	"context"
	"errors"
	"slices"
	"strings"
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

// Status asks for the state. While Run does not run, nothing is held.
func (b *Bridge) Status(ctx context.Context) Status {
	s := Status{
		Time:         time.Now().UTC(),
		NATS:         b.link.get(),
		Pending:      b.backlog.total(),
		Accepted:     b.journal.Next() - 1,
		Held:         b.held(ctx),
		Notices:      b.notices.all(),
		Replay:       b.ReplayNow(),
		JournalBytes: b.journal.DiskBytes(),
		JournalLimit: b.o.MaxBytes,
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
		source := SourceStatus{Name: name, Pending: b.backlog.pending(name), Dead: b.deadCount(name)}
		if oldest := b.backlog.oldest(name); !oldest.IsZero() {
			source.OldestPending = &oldest
		}
		s.Dead += source.Dead
		s.Sources = append(s.Sources, source)
	}
	return s
}

// held asks Run's goroutine, which alone knows.
func (b *Bridge) held(ctx context.Context) []HeldSubject {
	held := []HeldSubject{}
	b.do(ctx, func(r *runner) {
		for _, g := range r.gates {
			if g.closed && time.Since(g.since) >= showHeldAfter {
				held = append(held, HeldSubject{Source: g.source, Type: g.eventType, Reason: g.reason, Since: g.since, Waiting: g.tasks})
			}
		}
	})
	slices.SortFunc(held, func(a, b HeldSubject) int { return strings.Compare(a.Source+" "+a.Type, b.Source+" "+b.Type) })
	return held
}

// do runs f in Run's goroutine and returns when it has, or at once when Run is not
// running, or when ctx has ended first.
func (b *Bridge) do(ctx context.Context, f func(*runner)) {
	if !b.running.Load() {
		return
	}
	done := make(chan struct{})
	select {
	case b.commands <- func(r *runner) { f(r); close(done) }:
		<-done
	case <-b.ended:
	case <-ctx.Done():
	}
}

// ErrNoSession: there is no session with NATS, so nothing can be asked there.
var ErrNoSession = errors.New("no connection to NATS")

// Stream describes the stream as it is now.
func (b *Bridge) Stream(ctx context.Context) (StreamInfo, error) {
	var s Session
	b.do(ctx, func(r *runner) {
		if !r.lost {
			s = r.session
		}
	})
	if s == nil {
		return StreamInfo{}, ErrNoSession
	}
	state, err := s.Stream(ctx)
	return state.Info, err
}

// sources are the configured sources and those of events that are left from an
// earlier configuration.
func (b *Bridge) sources() []string {
	b.deadMu.Lock()
	names := make([]string, 0, len(b.dead))
	for name := range b.dead {
		names = append(names, name)
	}
	b.deadMu.Unlock()
	names = append(names, b.backlog.names()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// logDead says that an event became a dead letter.
func (b *Bridge) logDead(e *Event, seq uint64, reason string) {
	b.o.Log.Warn("event is a dead letter", zap.Uint64("record", seq), zap.String("source", e.Source),
		zap.String("event_id", e.ID), zap.String("type", e.Type), zap.String("reason", reason))
}
