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
	// Publishing says whether a backlog goes in atomic batches or one by one, and why.
	Publishing Publishing `json:"publishing"`
	Pending    int        `json:"pending"`
	Dead       int        `json:"dead"`
	// Accepted counts all events there ever were in this journal.
	Accepted uint64         `json:"accepted"`
	Sources  []SourceStatus `json:"sources"`
	// Held are the subjects whose events NATS refuses, from the first refusal on. Refused
	// counts their pending events, and Queued those that stand behind them.
	Held    []HeldSubject `json:"held"`
	Refused int           `json:"refused"`
	Queued  int           `json:"queued"`
	// LastPublished is when JetStream has last acknowledged an event, and LastFailure the
	// last attempt that failed; nil when there was none since the process started.
	LastPublished *time.Time     `json:"last_published,omitempty"`
	LastFailure   *FailedAttempt `json:"last_failure,omitempty"`
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
	// JournalGrowth is by how much the journal grows, in bytes a second: the mean of the
	// last ten minutes, or of as long as the process runs.
	JournalGrowth float64 `json:"journal_growth_bytes_per_second"`
	// JournalRoom is for how long there is room in it at that rate, in seconds; nil when
	// it has no limit or does not grow.
	JournalRoom *float64 `json:"journal_room_seconds,omitempty"`
}

// SourceStatus is the part of a Status that belongs to one source.
type SourceStatus struct {
	Name    string `json:"name"`
	Pending int    `json:"pending"`
	Dead    int    `json:"dead"`
	// OldestPending is when the oldest pending event was accepted; nil without one.
	OldestPending *time.Time `json:"oldest_pending,omitempty"`
	// LastEvent is the newest event; nil when there was none, as far as the journal goes
	// back.
	LastEvent *LastEvent `json:"last_event,omitempty"`
}

// HeldSubject is a subject whose events wait for an operator.
type HeldSubject struct {
	Source string `json:"source"`
	Type   string `json:"type"`
	Reason string `json:"reason"`
	// ReasonCode and ReasonParams are as in Record.
	ReasonCode   string            `json:"reason_code,omitempty"`
	ReasonParams map[string]string `json:"reason_params,omitempty"`
	Since        time.Time         `json:"since"`
	Waiting      int               `json:"waiting"`
	// NextAttempt is when the next of them is tried; nil while one is.
	NextAttempt *time.Time `json:"next_attempt,omitempty"`
}

// Status is the state as it is known. It waits neither for the disk nor for NATS.
func (b *Bridge) Status(context.Context) Status {
	now, view := time.Now().UTC(), b.view.Load()
	s := Status{
		Time:         now,
		NATS:         b.link.state(),
		Pending:      b.backlog.total(),
		Accepted:     b.journal.Next() - 1,
		Held:         view.held,
		Refused:      view.refused,
		Queued:       view.queued,
		Publishing:   view.publishing,
		Notices:      b.notices.all(),
		Replay:       b.ReplayNow(),
		JournalBytes: b.space.bytes(),
		JournalLimit: b.o.MaxBytes,
	}
	if held := b.o.Creation.held(); held != "" {
		s.StreamMissing, s.Notices = true, append(s.Notices, held)
	}
	s.Gone = b.gone.Load()
	if at := b.lastPublished.Load(); at != 0 {
		t := time.Unix(0, at).UTC()
		s.LastPublished = &t
	}
	s.LastFailure = b.failures.newest()
	s.JournalGrowth = b.space.growth()
	if left := s.JournalLimit - int64(s.JournalBytes); s.JournalLimit > 0 && s.JournalGrowth > 0 {
		room := max(float64(left), 0) / s.JournalGrowth
		s.JournalRoom = &room
	}
	switch err := b.Ready(); {
	case err != nil:
		s.Refusing = err.Error()
	case b.o.WaitForStream && !s.NATS.Up:
		s.Refusing = "NATS is away, and with accept.wait_for: stream, a sender gets its 2xx only when NATS has the event; until then the event is only written to this disk"
	default:
		s.Accepting = true
	}
	for _, name := range b.sources() {
		source := SourceStatus{Name: name, Pending: b.backlog.pending(name), Dead: b.dead.of(name), LastEvent: b.lastEvents.of(name)}
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
	held    []HeldSubject // all of them
	long    []HeldSubject // those of them that have been held for a while
	// refused are the pending events of the held subjects, queued those that stand behind
	// them.
	refused, queued int
	// publishing is how events are sent.
	publishing Publishing
}

// show publishes what others may see.
func (l *loop) show() {
	now := time.Now()
	v := &view{held: l.held(now), publishing: l.pace.publishing()}
	v.long = heldLong(v.held, now)
	v.refused, v.queued = l.schedule.Stuck()
	if l.crowded { // what the scheduler has no room for stands behind what it has
		v.queued += max(l.b.backlog.total()-l.schedule.Tasks(), 0)
	}
	if l.phase != ending {
		v.session = l.session
	}
	l.b.view.Store(v)
}

// heldEvents is how many events of a source are held for long.
func (v *view) heldEvents(source string) (n int) {
	for _, h := range v.long {
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
	if lister, ok := s.(ConsumerLister); ok && err == nil && state.Info.Consumers > 0 {
		state.Info.ConsumerList, err = lister.Consumers(ctx)
		if err != nil {
			state.Info.ConsumersError = err.Error()
		}
		err = nil
	}
	return state.Info, err
}

// sources are the configured sources and those of events that are left from an
// earlier configuration.
func (b *Bridge) sources() []string {
	names := slices.Concat(b.dead.sources(), b.backlog.names(), b.lastEvents.sources())
	slices.Sort(names)
	return slices.Compact(names)
}

// logDead says that an event became a dead letter.
func (b *Bridge) logDead(e *Event, seq uint64, reason string) {
	b.o.Log.Warn("event is a dead letter", zap.Uint64("record", seq), zap.String("source", e.Source),
		zap.String("event_id", e.ID), zap.String("type", e.Type), zap.String("reason", reason))
}
