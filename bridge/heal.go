package bridge

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// JetStream acknowledges a message before it has synced it, by default up to two
// minutes before. A NATS host that loses power has then lost messages that the
// journal believes published. So at the beginning of every session, before
// anything is sent through it, the newest published event is looked up in the
// stream:
//
//   - It is at its place, under its id: nothing is lost.
//   - Another message is there, or the stream ends before it: the stream was
//     rolled back. A binary search over the journal's places finds the first that
//     is lost, and it and all after it become pending again, and go out in order.
//   - There is no message, but the stream went on past it: it was deleted, purged,
//     consumed or has aged, on purpose. Nothing is lost.
//   - The stream is another one: somebody made it anew. That is said, with the
//     command that fills it; whether it should be filled only its maker knows.
//
// Not only the newest is looked up but as many as may have been in flight: those
// that were acknowledged after the stream had gone back, in its last moment behind a
// connection that stayed up (see watch.go), have places that are new, and hide what is
// lost before them.
//
// When the answer does not come, nothing is sent: an election may be under way,
// and to publish into a stream that has lost its tail would put a new event of an
// entity before its older ones. Only a client that is not permitted to ask goes on
// without, and says so.

// finding is what a look at the stream came to.
type finding struct {
	// answered says that there was an answer; without one the session is over.
	answered bool
	// blind says that this client may not look: what has gone back cannot be told.
	blind bool
	// lost is the first place whose message the stream has lost; 0 for none.
	lost uint64
	// identity is that of the stream; anew says that the places that the
	// journal has are those of another stream.
	identity string
	anew     bool
}

// verify looks until it has an answer, or the session or ctx ends.
func (b *Bridge) verify(ctx context.Context, s Session) finding {
	ctx, cancel := whileOpen(ctx, s)
	defer cancel()
	wait := b.o.Backoff.newBackOff()
	there := new(present)
	for begin, said := time.Now(), false; ; {
		f, err := b.examine(ctx, s, there)
		if err == nil {
			f.answered = true
			return f
		}
		if ctx.Err() != nil {
			return finding{}
		}
		if errors.Is(err, ErrNotPermitted) {
			b.o.Log.Warn("the stream cannot be looked at: should NATS lose acknowledged events, nobody would notice", zap.Error(err))
			return b.unverifiable()
		}
		if journal.Damaged(err) {
			b.o.Log.Error("the journal's places in the stream cannot be read: should NATS lose acknowledged events, nobody would notice; 'persat-bridge journal repair' saves the rest", zap.Error(err))
			return b.unverifiable()
		}
		b.linkWaits(err)
		if !said && time.Since(begin) > showHeldAfter {
			said = true
			b.o.Log.Warn("waiting for the stream to answer; "+b.meanwhile(), zap.Error(err))
		}
		select {
		case <-time.After(min(wait.NextBackOff(), 5*time.Second)):
		case <-ctx.Done():
			return finding{}
		}
	}
}

// unverifiable is the finding where the stream cannot be verified: a rollback that is noted
// needs no verification.
func (b *Bridge) unverifiable() finding {
	noted, err := b.journal.RollbackNoted()
	if err != nil {
		b.o.Log.Error("the note of a rollback of the stream cannot be read", zap.Error(err))
	}
	return finding{answered: true, blind: true, lost: noted}
}

// present are the places that have been found in the stream in the looks before, so that
// an answer that came too late, over a slow link, costs only itself.
type present struct {
	mu     sync.Mutex
	last   uint64 // of the stream, then
	places map[journal.StreamPosition]bool
}

// begin forgets everything when the stream has gone back meanwhile.
func (l *present) begin(state StreamState) {
	if l.places == nil || state.LastSequence < l.last {
		l.places = make(map[journal.StreamPosition]bool)
	}
	l.last = state.LastSequence
}

func (l *present) has(p journal.StreamPosition) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places[p]
}

func (l *present) found(p journal.StreamPosition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places[p] = true
}

// examine is one look.
func (b *Bridge) examine(ctx context.Context, s Session, there *present) (finding, error) {
	var f finding
	state, err := s.Stream(ctx)
	if errors.Is(err, ErrNoStream) {
		return f, nil // what is published is held until there is one
	}
	if err != nil {
		return f, err
	}
	f.identity = state.Identity
	there.begin(state)
	known, err := b.journal.Stream()
	if err != nil {
		return f, err
	}
	if known != "" && known != state.Identity {
		f.anew = true
		return f, nil
	}
	noted, err := b.journal.RollbackNoted()
	if err != nil {
		return f, err
	}
	newest, err := b.journal.NewestPositions(b.o.MaxInFlight + 1)
	if err != nil {
		return f, err
	}
	if len(newest) == 0 {
		f.lost = noted // there is nothing to open again: the note goes
		return f, nil
	}
	if f.lost, err = b.lowestLost(ctx, s, state, newest, there); err != nil {
		return f, err
	}
	if noted != 0 && (f.lost == 0 || noted < f.lost) {
		f.lost = noted
	}
	if f.lost != 0 {
		f.lost, err = b.firstLost(ctx, s, state, f.lost)
	}
	return f, err
}

// lowestLost is the lowest of the places that the stream has lost; 0 when it has all.
func (b *Bridge) lowestLost(ctx context.Context, s Session, state StreamState, places []journal.StreamPosition, there *present) (uint64, error) {
	var group errgroup.Group // one that fails does not end the others
	group.SetLimit(8)
	var mu sync.Mutex
	lowest := uint64(0)
	for _, p := range places {
		if there.has(p) {
			continue
		}
		group.Go(func() error {
			lost, err := b.isLost(ctx, s, state, p)
			if err != nil {
				return err
			}
			if !lost {
				there.found(p)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if lowest == 0 || p.StreamSeq < lowest {
				lowest = p.StreamSeq
			}
			return nil
		})
	}
	err := group.Wait()
	return lowest, err
}

// isLost says whether the stream does not have the record at its place any more,
// and not on purpose.
func (b *Bridge) isLost(ctx context.Context, s Session, state StreamState, p journal.StreamPosition) (bool, error) {
	if p.StreamSeq > state.LastSequence {
		return true, nil
	}
	m, err := s.Message(ctx, p.StreamSeq)
	if errors.Is(err, ErrNoMessage) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	e, err := b.eventAt(p)
	if errors.Is(err, journal.ErrNotFound) || journal.Damaged(err) {
		return false, nil // it is on its way again already, or cannot be compared
	}
	return err == nil && m.ID != e.MessageID(), err
}

// firstLost searches between the first place and one that is lost. Everything before
// the place it returns is there.
func (b *Bridge) firstLost(ctx context.Context, s Session, state StreamState, lost uint64) (uint64, error) {
	low, high := uint64(0), lost // the answer is in (low, high]
	for low+1 < high {
		middle := low + (high-low)/2
		p, ok, err := b.journal.PositionFrom(middle)
		if journal.Damaged(err) {
			break // as far as can be seen
		}
		if err != nil {
			return 0, err
		}
		if !ok || p.StreamSeq >= high {
			// Nothing of ours is between.
			high = middle
			continue
		}
		lost, err := b.isLost(ctx, s, state, p)
		if err != nil {
			return 0, err
		}
		if lost {
			high = middle
		} else {
			low = p.StreamSeq
		}
	}
	return high, nil
}

// heal does what the finding asks for. It runs in the loop's goroutine while
// nothing is in flight.
func (l *loop) heal(f finding) error {
	b := l.b
	if f.anew {
		if l.replay != nil { // the stream does not have all that it has published
			l.replay.fills = false
		}
		if err := b.noteNewStream(); err != nil {
			return err
		}
		return b.journal.ReplaceStream(f.identity)
	}
	known, err := b.journal.Stream()
	if err != nil {
		return err
	}
	if known == "" && f.identity != "" {
		if err := b.journal.NoteStream(f.identity); err != nil {
			return err
		}
	}
	if f.lost == 0 {
		return nil
	}
	begin, healed := time.Now(), 0
	gone, err := b.journal.Unpublish(f.lost, func(item journal.Item) {
		healed++
		if e, err := parseHeader(item.Header); err == nil {
			b.backlog.add(e.Source, e.Accepted, 1)
		}
	})
	if err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	b.metrics.healed.Add(float64(healed))
	if healed+gone == 0 {
		b.o.Log.Warn("the stream has lost its tail, but no event that the journal has: a replay that ran then may have to be run again", zap.Uint64("from_stream_sequence", f.lost))
	}
	if healed > 0 {
		b.o.Log.Warn("the stream has lost events that it had acknowledged (a NATS host without 'sync_interval: always' lost power?); they are published again",
			zap.Int("events", healed), zap.Uint64("from_stream_sequence", f.lost), zap.Duration("took", time.Since(begin)))
	}
	if gone > 0 {
		if err := b.lostForGood(gone); err != nil {
			return err
		}
	}
	// What was in line already would be sent before the older events that are
	// pending again: everything lines up anew.
	return l.reset()
}

// lostForGood tells of events that the stream has lost and the journal cannot send
// again. The journal has counted them.
func (b *Bridge) lostForGood(n int) error {
	b.o.Log.Error("the stream has lost events that the journal no longer keeps: they cannot be published again; have the sender send them again", zap.Int("events", n))
	return b.noticeGone()
}

// goneShown is how long a loss for good stays on the status page.
const goneShown = 7 * 24 * time.Hour

// noticeGone keeps the notice of what is lost for good.
func (b *Bridge) noticeGone() error {
	n, at, err := b.journal.Unrecoverable()
	if err != nil {
		return err
	}
	if n > 0 && time.Since(at) > goneShown {
		n, err = 0, b.journal.ClearUnrecoverable()
	}
	b.gone.Store(int64(n))
	if n == 0 {
		b.notices.clear("gone")
		return err
	}
	b.notices.set("gone", fmt.Sprintf("the stream has lost %d events whose bodies the journal no longer keeps (journal.retention, journal.max_bytes), the last on %s: they cannot be published again; ask the sender to send them again",
		n, at.UTC().Format(time.RFC3339)))
	return err
}

// noteNewStream notes and says that the stream was made anew, and how to fill it.
func (b *Bridge) noteNewStream() error {
	// All that has a place, by the time that a replay goes by. The clock may have jumped:
	// the first in the journal need not be the earliest.
	since := time.Now()
	until := since
	for item, err := range b.journal.AllPublished(0) {
		if err != nil {
			return err
		}
		e, err := parseHeader(item.Header)
		if err != nil || item.StreamSeq == 0 {
			continue
		}
		if e.Accepted.Before(since) {
			since = e.Accepted
		}
		if e.Accepted.After(until) {
			until = e.Accepted
		}
	}
	if err := b.journal.NoteUnfilled(since, until); err != nil {
		return err
	}
	command, err := b.noticeMissing()
	b.o.Log.Warn("the stream was made anew; what was published before is not in it", zap.String("to_fill_it", command))
	return err
}

// noticeMissing keeps the notice of a stream that was made anew, until it is filled.
func (b *Bridge) noticeMissing() (command string, err error) {
	since, until, missing, err := b.journal.Unfilled()
	if err != nil || !missing {
		b.notices.clear("stream")
		return "", err
	}
	// To whole seconds, which do not cut off the first and the last.
	since, until = since.UTC().Truncate(time.Second), until.UTC().Truncate(time.Second).Add(time.Second)
	command = "persat-bridge replay --since " + since.Format(time.RFC3339) + " --until " + until.Format(time.RFC3339)
	b.notices.set("stream", "the stream was made anew; what was published before is not in it. To fill it: "+command)
	return command, nil
}

// fills says whether a replay with this filter publishes all that is missing.
func (b *Bridge) fills(f Filter) (bool, error) {
	since, until, missing, err := b.journal.Unfilled()
	if err != nil || !missing {
		return false, err
	}
	all := Filter{State: f.State, Since: f.Since, Until: f.Until}
	return reflect.DeepEqual(f, all) && (f.Since.IsZero() || !f.Since.After(since)) && (f.Until.IsZero() || f.Until.After(until)), nil
}
