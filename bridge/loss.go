package bridge

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// heal does what the verdict about a new session's stream asks for. It runs in the loop's
// goroutine while nothing is in flight. The observation is written last: a crash before it
// leaves all evidence to the next session.
func (l *loop) heal(v integrity.Verdict) error {
	b := l.b
	switch v.Kind {
	case integrity.Absent:
		return nil
	case integrity.Recreated:
		if err := l.replaceStream(v); err != nil {
			return err
		}
	default:
		if err := l.adopt(v); err != nil {
			return err
		}
	}
	changed := false
	if v.From != 0 || len(v.Holes) > 0 {
		if err := l.unpublish(v); err != nil {
			return err
		}
		changed = true
	}
	if len(v.Stored) > 0 {
		if err := b.markStored(v.Stored); err != nil {
			return err
		}
		changed = true
	}
	if err := l.settle(v); err != nil {
		return err
	}
	if !changed && v.Kind != integrity.Recreated {
		return nil
	}
	// What was in line already would be sent before the older events that are
	// pending again: everything lines up anew.
	return l.reset()
}

// settle forgets what was taken away on purpose, tells of what is undecided, and notes the
// state.
func (l *loop) settle(v integrity.Verdict) error {
	b := l.b
	if !v.State.Exists {
		return nil
	}
	if len(v.Undecided) > 0 {
		if err := b.noteUndecided(v.Undecided); err != nil {
			return err
		}
	}
	for _, r := range slices.Concat(v.Deleted, v.Undecided) {
		if err := b.journal.DropPositions(r.First, r.Last); err != nil {
			return err
		}
	}
	if v.Unexamined {
		b.o.Log.Warn("the stream has too many deleted messages to check each one: the bridge would not notice a loss in its middle", zap.Uint64("deleted", v.State.Deleted))
	}
	return b.ledger.observe(v.State.Observe(time.Now()))
}

// adopt notes the stream's identity, when it is new.
func (l *loop) adopt(v integrity.Verdict) error {
	if !v.State.Exists { // it could not be verified
		return nil
	}
	known, err := l.b.journal.Stream()
	if err != nil || known == v.State.Identity {
		return err
	}
	if v.Adopted {
		l.b.o.Log.Info("the stream has another identity and the same messages at their sequences (restored from a backup, a promoted mirror, a repaired store): it is adopted",
			zap.String("was", known), zap.String("is", v.State.Identity))
	}
	return l.b.journal.NoteStream(v.State.Identity)
}

// replaceStream goes on with another stream. One that its server lost, and that the journal
// has all of, is filled; whether another one should be only its maker knows.
func (l *loop) replaceStream(v integrity.Verdict) error {
	b := l.b
	fill := b.o.Creation.fills()
	if v.LostByServer && !fill {
		whole, err := b.journal.HasWholeStream()
		if err != nil {
			return err
		}
		fill = whole
	}
	if fill {
		b.o.Log.Warn("NATS has lost the stream; it is filled from the journal")
		if err := l.unpublish(integrity.Verdict{From: 1}); err != nil {
			return err
		}
	} else {
		if l.replay != nil { // the stream does not have all that it has published
			l.replay.fills = false
		}
		if err := b.noteNewStream(); err != nil {
			return err
		}
	}
	return b.journal.ReplaceStream(v.State.Identity)
}

// unpublish makes what was lost pending again.
func (l *loop) unpublish(v integrity.Verdict) error {
	b, begin, healed, gone := l.b, time.Now(), 0, 0
	count := func(item journal.Item) {
		healed++
		l.replay.lost(item)
		if e, err := parseHeader(item.Header); err == nil {
			b.backlog.add(e.Source, e.Accepted, 1)
		}
	}
	first := v.From
	for _, hole := range slices.Backward(v.Holes) {
		without, err := b.journal.UnpublishRange(hole.First, hole.Last, count)
		if err != nil {
			return fmt.Errorf("heal: %w", err)
		}
		gone += without
		first = hole.First
	}
	if v.From != 0 {
		without, err := b.journal.Unpublish(v.From, count)
		if err != nil {
			return fmt.Errorf("heal: %w", err)
		}
		gone += without
	}
	b.metrics.healed.Add(float64(healed))
	at := zap.Uint64("from_stream_sequence", first)
	if healed+gone == 0 {
		b.o.Log.Warn("the stream has lost its tail, but no event that the journal has: a replay that ran then may have to be run again", at)
	}
	if healed > 0 {
		b.o.Log.Warn("the stream has lost events that it had acknowledged (a NATS host without 'sync_interval: always' lost power?); they are published again",
			zap.Int("events", healed), at, zap.Int("holes", len(v.Holes)), zap.Duration("took", time.Since(begin)))
	}
	if gone > 0 {
		return b.lostForGood(gone)
	}
	return nil
}

// markStored marks pending events that the stream has already.
func (b *Bridge) markStored(stored []integrity.Stored) error {
	var marks []journal.Mark
	for _, s := range stored {
		item, _, err := b.journal.Load(s.Record)
		if item.Seq == 0 {
			return fmt.Errorf("record %d: %w", s.Record, err)
		}
		marks = append(marks, journal.Mark{Item: item, StreamSeq: s.Seq, At: time.Now()})
	}
	collisions, err := b.journal.MarkPublished(marks)
	if err != nil {
		return err
	}
	marks = slices.DeleteFunc(marks, func(m journal.Mark) bool {
		return slices.ContainsFunc(collisions, func(c journal.Collision) bool { return c.Seq == m.Seq })
	})
	for _, m := range marks {
		if e, err := parseHeader(m.Header); err == nil {
			b.backlog.add(e.Source, e.Accepted, -1)
		}
		b.waiters.done(m.Seq, nil)
	}
	b.o.Log.Info("the stream has pending events already (their acknowledgements were lost, or the journal is an older copy): they are not published again", zap.Int("events", len(marks)))
	return nil
}

// lostForGood tells of events that the stream has lost and the journal cannot send
// again. The journal has counted them.
func (b *Bridge) lostForGood(n int) error {
	b.o.Log.Error("the stream has lost events that the journal no longer keeps: they cannot be published again; have the sender send them again", zap.Int("events", n))
	return b.noticeGone()
}

// goneShown is how long a loss for good stays on the status page.
const goneShown = 7 * 24 * time.Hour

// noticeLosses keeps the notices of what the stream has lost.
func (b *Bridge) noticeLosses() error { return errors.Join(b.noticeGone(), b.noticeUndecided()) }

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
	b.notices.set("gone", fmt.Sprintf("the stream has lost %s whose content the journal no longer keeps (journal.retention, journal.max_bytes), the last on %s: only the sender still has it; ask for it again",
		countEvents(n), at.UTC().Format(time.RFC3339)))
	return err
}

// countEvents is a number of events in a text for people.
func countEvents(n int) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

// noteNewStream notes and says that the stream was recreated, and how to fill it.
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
	b.o.Log.Warn("the stream was recreated; it lacks what was published before", zap.String("to_fill_it", command))
	return err
}

// noticeMissing keeps the notice of a stream that was recreated, until it is filled.
func (b *Bridge) noticeMissing() (command string, err error) {
	since, until, missing, err := b.journal.Unfilled()
	if err != nil || !missing {
		b.notices.clear("stream")
		return "", err
	}
	// To whole seconds, which do not cut off the first and the last.
	since, until = since.UTC().Truncate(time.Second), until.UTC().Truncate(time.Second).Add(time.Second)
	command = "persat-bridge replay --since " + since.Format(time.RFC3339) + " --until " + until.Format(time.RFC3339)
	b.notices.set("stream", "the stream was recreated; it lacks what was published before. To fill it: "+command)
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
