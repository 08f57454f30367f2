package bridge

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
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
}

// ErrReplaying: one replay at a time.
var ErrReplaying = errors.New("a replay is running: wait for it, or cancel it")

// replays is the replay that runs or ran last.
type replays struct {
	mu   sync.Mutex
	last *Replay
	job  *replayJob
	// cancelled is of the job, and is set under mu together with job.read. So fillReplay,
	// which holds mu, enters nothing once it is set: offer would call replayed, which takes
	// mu. The runner also asks it while it does not hold mu.
	cancelled atomic.Bool
}

type replayJob struct {
	filter  Filter
	fills   bool // a stream that was made anew
	number  int
	cursor  uint64
	end     uint64 // records appended later are not part of it
	read    bool   // all of its records have been taken
	waiting int    // tasks under way
	taken   int    // records so far
	gone    int    // of them, those without a body
	// ids are hashes of the ids that have had the job's number.
	ids  map[uint64]struct{}
	seed maphash.Seed
}

// numberFor is the job's number, or, for an id that it has had already (used again
// after the dedup window), another: else JetStream would take one for the other.
func (j *replayJob) numberFor(counter *journal.Journal, id string) (int, error) {
	if j.ids == nil {
		j.seed, j.ids = maphash.MakeSeed(), make(map[uint64]struct{})
	}
	key := maphash.String(j.seed, id)
	if _, taken := j.ids[key]; taken {
		return counter.NextReplay()
	}
	j.ids[key] = struct{}{}
	return j.number, nil
}

// unfilled notes that the stream does not have all that the running replay has published.
func (rs *replays) unfilled() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.job != nil {
		rs.job.fills = false
	}
}

// errCancelled is what ends a replayed event that was still in line when its replay
// was cancelled.
var errCancelled = &Failure{Class: Rejected, Reason: "the replay was cancelled"}

// errHealed is what ends a replayed event that goes like a new one, after a loss.
var errHealed = &Failure{Class: Rejected, Reason: "published again after a loss"}

// CountReplay says how many published events fit f and still have their bodies.
func (b *Bridge) CountReplay(ctx context.Context, f Filter) (int, error) {
	f.State = journal.Published
	n := 0
	for p, err := range b.journal.AllPublished(0) {
		if err != nil {
			return n, err
		}
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		if r, err := publishedRecord(p); err == nil && f.matches(&r) && p.StreamSeq != 0 {
			has, err := b.journal.HasBody(p.Seq)
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
	b.replays.mu.Lock()
	defer b.replays.mu.Unlock()
	if b.replays.job != nil {
		return *b.replays.last, ErrReplaying
	}
	number, err := b.journal.NextReplay()
	if err != nil {
		return Replay{}, err
	}
	fills, err := b.fills(f)
	if err != nil {
		return Replay{}, err
	}
	b.replays.cancelled.Store(false)
	b.replays.job = &replayJob{filter: f, fills: fills, number: number, end: b.journal.Next()}
	b.replays.last = &Replay{Number: number, Running: true, Started: time.Now().UTC(), Matched: matched}
	b.o.Log.Info("replay begins", zap.Int("replay", number), zap.Int("events", matched))
	b.nudge()
	return *b.replays.last, nil
}

// ReplayNow is the replay that runs, or ran last; nil when there was none.
func (b *Bridge) ReplayNow() *Replay {
	b.replays.mu.Lock()
	defer b.replays.mu.Unlock()
	if b.replays.last == nil {
		return nil
	}
	now := *b.replays.last
	return &now
}

// CancelReplay ends the running replay. What is on its way to JetStream still goes
// out; what is in line is let go.
func (b *Bridge) CancelReplay() {
	b.replays.mu.Lock()
	if b.replays.job != nil {
		b.replays.job.read = true
		b.replays.cancelled.Store(true)
	}
	b.replays.mu.Unlock()
	b.do(context.Background(), func(r *runner) { r.dropReplay() })
	b.nudge()
}

// dropReplay lets go of what a cancelled replay has in line, or waits for another attempt.
func (r *runner) dropReplay() {
	if !r.b.replays.cancelled.Load() {
		return // it has ended by itself, and this is the next one
	}
	var dropped []*task
	keep := func(tasks []*task) []*task {
		var kept []*task
		for _, t := range tasks {
			if t.replay > 0 {
				dropped = append(dropped, t)
			} else {
				kept = append(kept, t)
			}
		}
		return kept
	}
	// First what stands behind others: what may go by that is among the rest.
	for _, t := range r.replaying() {
		if t.blocked > 0 {
			r.finish(t)
			r.replayed(result{t: t, failure: errCancelled})
		}
	}
	r.ready, r.delayed = keep(r.ready), delayed(keep(r.delayed))
	heap.Init(&r.delayed)
	for _, g := range r.gates {
		g.line = keep(g.line)
	}
	for _, t := range dropped {
		r.finish(t)
		r.replayed(result{t: t, failure: errCancelled})
	}
}

// fillReplay takes as many events of the running replay as its share of the
// window allows.
func (r *runner) fillReplay() error {
	rs := &r.b.replays
	rs.mu.Lock()
	defer rs.mu.Unlock()
	job := rs.job
	if job == nil {
		return nil
	}
	share := max(r.b.o.MaxInFlight/4, 1)
	if !job.read && job.waiting < share {
		exhausted, looked := true, 0
		for p, err := range r.b.journal.AllPublished(job.cursor) {
			if err != nil {
				return err
			}
			if p.Seq >= job.end {
				break
			}
			if looked++; job.waiting >= share || looked > maxLook {
				exhausted = false
				break
			}
			job.cursor = p.Seq + 1
			record, err := publishedRecord(p)
			if err != nil {
				return err
			}
			if p.StreamSeq != 0 && job.filter.matches(&record) {
				number, err := job.numberFor(r.b.journal, record.Source+":"+record.ID)
				if err != nil {
					return err
				}
				job.waiting++
				// Also what was pending when it began and is published by now: of the events
				// of an entity the newest has to come last again.
				job.taken++
				rs.last.Matched = max(rs.last.Matched, job.taken)
				r.enter(&task{seq: p.Seq, size: record.Size, replay: number}, &Event{Source: record.Source, Type: record.Type, Entities: record.Entities})
			}
		}
		job.read = exhausted
		if looked > maxLook {
			r.b.nudge() // there was much that does not fit: go on looking
		}
	}
	r.endReplay()
	return nil
}

// replaying are the tasks of the running replay, in the order of their records.
func (r *runner) replaying() []*task {
	var tasks []*task
	for _, line := range r.lanes.lines {
		for _, t := range line {
			if t.replay > 0 {
				tasks = append(tasks, t)
			}
		}
	}
	slices.SortFunc(tasks, func(a, b *task) int { return cmp.Compare(a.seq, b.seq) })
	return slices.Compact(tasks) // a task stands in a line for each of its entities
}

// resumeReplay lines the tasks up again.
func (r *runner) resumeReplay(tasks []*task) error {
	for _, t := range tasks {
		p, err := r.b.journal.Published(t.seq)
		if errors.Is(err, journal.ErrNotFound) { // healed: it goes like a new one
			r.replayed(result{t: t, failure: errHealed})
			continue
		}
		if err != nil {
			return err
		}
		e, err := parseHeader(p.Header)
		if err != nil {
			return err
		}
		r.enter(&task{seq: t.seq, size: t.size, replay: t.replay}, e)
	}
	return nil
}

// replayed counts the end of one event of the running replay.
func (r *runner) replayed(res result) {
	rs := &r.b.replays
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.job.waiting--
	switch {
	case res.failure == nil:
		rs.last.Published++
	case res.failure == errCancelled, res.failure == errHealed:
		rs.last.Skipped++
	case errors.Is(res.failure, journal.ErrNotFound):
		rs.last.Skipped++
		rs.job.gone++
		if rs.job.fills { // only the sender can bring it back, and must not be told that it is a repeat
			if err := r.b.journal.Forget([]journal.Item{res.item}); err != nil {
				r.b.o.Log.Error("forget a delivery id", zap.Error(err))
			}
		}
	default:
		rs.last.Failed++
		rs.last.Reason = res.failure.Error()
	}
	r.endReplay()
}

// endReplay ends the running replay when nothing of it is left. rs.mu is held.
func (r *runner) endReplay() {
	rs := &r.b.replays
	if rs.job == nil || !rs.job.read || rs.job.waiting > 0 {
		return
	}
	fills := rs.job.fills
	// Those that retention took whole while they waited for their turn are not even skipped.
	gone := rs.job.gone + max(rs.last.Matched-rs.last.Published-rs.last.Failed-rs.last.Skipped, 0)
	now := time.Now().UTC()
	rs.job, rs.last.Running, rs.last.Ended = nil, false, &now
	if fills && rs.last.Failed == 0 && !rs.cancelled.Load() {
		if err := r.b.journal.ClearUnfilled(); err != nil {
			r.b.o.Log.Error("note that the stream has been filled", zap.Error(err))
		}
		r.b.notices.clear("stream")
		if gone > 0 {
			if err := errors.Join(r.b.journal.NoteUnrecoverable(gone), r.b.lostForGood(gone)); err != nil {
				r.b.o.Log.Error("note what is lost for good", zap.Error(err))
			}
		}
	}
	log := r.b.o.Log.With(zap.Int("replay", rs.last.Number), zap.Int("events", rs.last.Matched), zap.Int("published", rs.last.Published),
		zap.Int("skipped", rs.last.Skipped), zap.Duration("after", now.Sub(rs.last.Started).Round(time.Millisecond)))
	if rs.last.Failed > 0 {
		log.Warn("replay ended with failures", zap.Int("failed", rs.last.Failed), zap.String("reason", rs.last.Reason))
		return
	}
	log.Info("replay ended")
}
