package bridge

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/schedule"
)

// Replay is a run of published events through the stream once more: to fill a
// stream that was made anew, or for a consumer that lost what it had.
//
// Its events keep their order per entity and take part in that of new ones, but
// they may use only a quarter of the window, so new events do not queue behind
// them. Each has its own message id (…:r<number>) and a Persat-Replay header. A
// replay lives in this process: it ends with it, and is not resumed. What it publishes
// is healed where the stream had lost the event's first message, as a stream that was
// made anew has; else that one is.
type Replay struct {
	// Number tells this replay from all others of this journal.
	Number  int        `json:"number"`
	Running bool       `json:"running"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	// Matched is how many events it is to publish.
	Matched   int `json:"matched"`
	Published int `json:"published"`
	// Failed were refused for ever. Skipped had no body any more, were published again
	// after a loss before their turn came, or were in line when the replay was cancelled.
	Failed  int    `json:"failed"`
	Skipped int    `json:"skipped"`
	Reason  string `json:"reason,omitempty"` // of the last that failed
	// ReasonCode and ReasonParams are as in Record.
	ReasonCode   string            `json:"reason_code,omitempty"`
	ReasonParams map[string]string `json:"reason_params,omitempty"`
}

// ErrReplaying: one replay at a time.
var ErrReplaying = errors.New("a replay is running: wait for it, or cancel it")

// ErrNotRunning: Run has not begun or has ended, and only Run replays.
var ErrNotRunning = errors.New("bridge is not running")

// CountReplay says how many published events fit f and still have their bodies. It reads
// some of the bodies only (bodyCheck), so single damaged ones among the others are counted;
// a replay skips them.
func (b *Bridge) CountReplay(ctx context.Context, f Filter) (int, error) {
	f.State = journal.Published
	isMissing, err := b.missingEvents(f)
	if err != nil {
		return 0, err
	}
	n := 0
	bodies := bodyCheck{journal: b.journal}
	first, last := f.span()
	for p, err := range b.journal.AllPublished(first) {
		if err != nil {
			return n, err
		}
		if p.Seq > last {
			break
		}
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		if r, err := publishedRecord(p); err == nil && f.matches(&r) && p.StreamSeq != 0 && isMissing(p) {
			has, err := bodies.has(p.Seq)
			if err != nil {
				return n, err
			}
			if has {
				n++
			}
		}
	}
	return n, nil
}

func publishedRecord(p journal.PublishedItem) (Record, error) {
	return RecordOf(journal.Entry{Item: p.Item, State: journal.Published, StreamSeq: p.StreamSeq, At: p.At})
}

// StartReplay begins a replay of the published events that fit f. Run carries it
// out; ReplayNow tells how far it is.
func (b *Bridge) StartReplay(ctx context.Context, f Filter) (Replay, error) {
	f.State = journal.Published
	matched, err := b.CountReplay(ctx, f)
	if err != nil {
		return Replay{}, err
	}
	if now := b.ReplayNow(); now != nil && now.Running {
		return *now, ErrReplaying
	}
	number, err := b.journal.NextReplay()
	if err != nil {
		return Replay{}, err
	}
	c := startReplay{filter: f, number: number, matched: matched, answer: make(chan error, 1)}
	if !b.command(ctx, c) {
		return Replay{}, cmp.Or(context.Cause(ctx), ErrNotRunning)
	}
	select {
	case err := <-c.answer:
		if now := b.ReplayNow(); now != nil {
			return *now, err
		}
		return Replay{}, err
	case <-ctx.Done():
		return Replay{}, context.Cause(ctx)
	}
}

// ReplayNow is the replay that runs, or ran last; nil when there was none.
func (b *Bridge) ReplayNow() *Replay { return b.replayed.Load() }

// CancelReplay ends the running replay. What is on its way to JetStream still goes
// out; what is in line is let go.
func (b *Bridge) CancelReplay() {
	c := cancelReplay{done: make(chan struct{})}
	if b.command(context.Background(), c) {
		<-c.done
	}
}

// replay is the replay that runs. The loop owns it.
type replay struct {
	Replay
	filter Filter
	fills  bool // a recreated stream
	// isMissing takes all events, or, with Filter.Missing, those that the stream lacks.
	isMissing func(journal.PublishedItem) bool
	cancelled bool
	cursor    uint64
	end       uint64          // records appended later are not part of it
	read      bool            // all of its records have been taken
	taken     int             // records so far
	gone      int             // of them, those without a body
	handled   map[uint64]bool // with Filter.Missing, the records that it has taken
	// again are the records from cursor on that a loss has made pending: they are published
	// without the replay, unless it finds them published when it gets there.
	again map[uint64]struct{}
	// ids are hashes of the ids that have had the replay's number.
	ids  map[uint64]struct{}
	seed maphash.Seed
}

// numberFor is the replay's number, or, for an id that it has had already (used again
// after the dedup window), another: else JetStream would take one for the other.
func (r *replay) numberFor(counter *journal.Journal, id string) (int, error) {
	key := maphash.String(r.seed, id)
	if _, taken := r.ids[key]; taken {
		return counter.NextReplay()
	}
	r.ids[key] = struct{}{}
	return r.Number, nil
}

// lost notes a record that a loss has made pending. r may be nil.
func (r *replay) lost(item journal.Item) {
	if r == nil || item.Seq < r.cursor || item.Seq >= r.end {
		return
	}
	seen, err := RecordOf(journal.Entry{Item: item, State: journal.Published})
	if err == nil && r.filter.matches(&seen) {
		r.again[item.Seq] = struct{}{}
	}
}

// count counts the end of one of its events.
func (r *replay) count(res *result) {
	switch f := res.failure; {
	case f == nil:
		r.Published++
	case f.lostBody():
		r.Skipped++
		r.gone++
	case res.t.Cancelled() && f.Class != Rejected:
		r.Skipped++
	default:
		r.Failed++
		r.Reason = f.Error()
	}
}

type startReplay struct {
	filter          Filter
	number, matched int
	answer          chan error
}

func (c startReplay) obey(l *loop) error {
	if l.replay != nil {
		c.answer <- ErrReplaying
		return nil
	}
	fills, err := l.b.fills(c.filter)
	if err != nil {
		c.answer <- err
		return l.b.journal.Err()
	}
	isMissing, err := l.b.missingEvents(c.filter)
	if err != nil {
		c.answer <- err
		return l.b.journal.Err()
	}
	first, last := c.filter.span()
	l.replay = &replay{
		Replay: Replay{Number: c.number, Running: true, Started: time.Now().UTC(), Matched: c.matched},
		filter: c.filter, fills: fills, isMissing: isMissing, cursor: first, end: min(last, l.b.journal.Next()-1) + 1, seed: maphash.MakeSeed(), ids: make(map[uint64]struct{}), handled: make(map[uint64]bool), again: make(map[uint64]struct{}),
	}
	l.b.o.Log.Info("replay begins", zap.Int("replay", c.number), zap.Int("events", c.matched))
	l.showReplay()
	c.answer <- nil
	return nil
}

type cancelReplay struct{ done chan struct{} }

func (c cancelReplay) obey(l *loop) error {
	defer close(c.done)
	if r := l.replay; r != nil {
		r.cancelled, r.read = true, true
		r.Skipped += len(l.schedule.Cancel())
	}
	return l.endReplay()
}

// replayReads is how many records one turn of the loop goes through for the replay.
const replayReads = 1000

// readReplay takes as many events of the running replay as its share of the window
// allows. Pending events that are being read come before it.
func (l *loop) readReplay() error {
	r := l.replay
	if r == nil || r.read || l.reading != nil || !l.schedule.ReplayRoom() {
		return nil
	}
	exhausted, read := true, 0
	for p, err := range l.b.journal.AllPublished(r.cursor) {
		if err != nil {
			return err
		}
		if p.Seq >= r.end {
			break
		}
		if read++; read > replayReads || !l.schedule.ReplayRoom() {
			exhausted = false
			break
		}
		r.cursor = p.Seq + 1
		if err := l.addReplayed(p); err != nil {
			return err
		}
	}
	r.read = exhausted
	if read > replayReads { // there was much that does not fit: results and commands have their turn
		l.b.nudge()
	}
	return l.endReplay()
}

func (l *loop) addReplayed(p journal.PublishedItem) error {
	r := l.replay
	seen, err := publishedRecord(p)
	if err != nil {
		return err
	}
	if p.StreamSeq == 0 || !r.filter.matches(&seen) || !r.isMissing(p) {
		return nil
	}
	number, err := r.numberFor(l.b.journal, seen.Source+":"+seen.ID)
	if err != nil {
		return err
	}
	// Also what was pending when it began and is published by now: of the events of an
	// entity the newest has to come last again.
	r.taken++
	delete(r.again, p.Seq)
	if r.filter.Missing {
		r.handled[p.Seq] = true
	}
	r.Matched = max(r.Matched, r.taken)
	e, err := parseHeader(p.Header)
	if err != nil {
		return err
	}
	l.schedule.Add(l.replayTask(p.Seq, number, seen.Size, e))
	return nil
}

func (l *loop) replayTask(seq uint64, number, size int, e *Event) *schedule.Task {
	return &schedule.Task{Seq: seq, Replay: number, Size: size, Subject: schedule.Subject{Source: e.Source, Type: e.Type}, Keys: l.keys.of(e)}
}

// resumeReplay adds the tasks of the running replay again.
func (l *loop) resumeReplay(tasks []*schedule.Task) error {
	for _, t := range tasks {
		p, err := l.b.journal.Published(t.Seq)
		if errors.Is(err, journal.ErrNotFound) { // it is pending again: it goes like a new one
			l.replay.Skipped++
			continue
		}
		if err != nil {
			return err
		}
		e, err := parseHeader(p.Header)
		if err != nil {
			return err
		}
		l.schedule.Add(l.replayTask(t.Seq, t.Replay, t.Size, e))
	}
	return l.endReplay()
}

// showReplay publishes how far the replay is.
func (l *loop) showReplay() {
	if l.replay != nil {
		now := l.replay.Replay
		l.b.replayed.Store(&now)
	}
}

// endReplay shows how far the running replay is, and ends it when nothing of it is left.
func (l *loop) endReplay() error {
	defer l.showReplay()
	r := l.replay
	if r == nil || !r.read || l.schedule.Replayed() > 0 {
		return nil
	}
	now := time.Now().UTC()
	r.Running, r.Ended = false, &now
	r.Skipped += len(r.again)
	r.Matched = max(r.Matched, r.Published+r.Failed+r.Skipped)
	defer func() { l.b.replayed.Store(&r.Replay) }() // once everything is written that follows from it
	l.replay = nil
	log := l.b.o.Log.With(zap.Int("replay", r.Number), zap.Int("events", r.Matched), zap.Int("published", r.Published),
		zap.Int("skipped", r.Skipped), zap.Duration("after", now.Sub(r.Started).Round(time.Millisecond)))
	if r.Failed > 0 {
		log.Warn("replay ended with failures", zap.Int("failed", r.Failed), zap.String("reason", r.Reason))
	} else {
		log.Info("replay ended")
	}
	if r.Failed > 0 || r.cancelled {
		return nil
	}
	if r.filter.Missing {
		return l.b.publishedMissing(r.handled)
	}
	if !r.fills {
		return nil
	}
	// Those that retention took whole while they waited for their turn are not even skipped.
	return l.b.streamFilled(r.gone + max(r.Matched-r.Published-r.Failed-r.Skipped, 0))
}

// streamFilled notes that a replay has filled a recreated stream, but for so many events.
func (b *Bridge) streamFilled(gone int) error {
	err := b.journal.ClearUnfilled()
	b.notices.clear("stream")
	if err == nil && gone > 0 {
		err = errors.Join(b.journal.NoteUnrecoverable(gone), b.lostForGood(gone))
	}
	if err != nil {
		b.o.Log.Error("note that the stream has been filled", zap.Error(err))
	}
	return b.journal.Err()
}
