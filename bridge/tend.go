package bridge

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	// trimEvery is how often what is past its time is dropped.
	trimEvery = time.Minute
	// flushAfter is how many records published since the last flush make
	// another one worth while, once nothing is pending.
	flushAfter = 20_000
	// stalledAfter is how long the disk may take for a write before events are
	// refused, and giveUpAfter before the process ends: the next one may find the
	// disk well, or say what is wrong with it.
	stalledAfter = 10 * time.Second
	giveUpAfter  = 2 * time.Minute
)

// tend looks after the journal from second to second: it makes the marks durable,
// which otherwise wait for the next event, and watches the space.
func (b *Bridge) tend(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		b.space.look(b.o.Log)
		select {
		case <-ctx.Done():
			return nil
		case <-b.journal.Failed():
			return b.journal.Err()
		case <-tick.C:
			if err := b.journal.Sync(); err != nil {
				return err
			}
		}
	}
}

// watchDisk says when the disk does not answer, and in the end gives up: sooner once ctx
// has ended, or a stop would have no end. It never touches the disk itself, or it would
// wait with all the others.
func (b *Bridge) watchDisk(ctx context.Context, ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := time.Time{}
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		stalled := b.journal.Stalled()
		switch {
		case stalled > giveUpAfter, stalled > stalledAfter && ctx.Err() != nil:
			b.journal.GiveUp(fmt.Errorf("the disk has not answered a write for %v", stalled.Round(time.Second)))
			return
		case stalled > stalledAfter && told.IsZero():
			told = time.Now().Add(-stalled)
			b.o.Log.Error("the journal's disk does not answer; senders get 503 and come back", zap.Duration("for", stalled.Round(time.Second)))
		case stalled < time.Second && !told.IsZero():
			b.o.Log.Info("the journal's disk answers again", zap.Duration("stalled", time.Since(told).Round(time.Second)))
			told = time.Time{}
		}
	}
}

// retain looks after it from minute to minute: it drops what is past its time,
// and when room runs out also what is not, the oldest first.
func (b *Bridge) retain(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var trimmed time.Time
	flushed := b.journal.Next()
	for {
		if time.Since(trimmed) >= trimEvery {
			trimmed = time.Now()
			if err := b.trim(); err != nil {
				return err
			}
			if err := b.noticeGone(); err != nil {
				return err
			}
		}
		if err := b.makeRoom(); err != nil {
			return err
		}
		// After a drained backlog the log is long and holds nothing that is
		// still waited for.
		if next := b.journal.Next(); b.backlog.total() == 0 && next-flushed >= flushAfter {
			flushed = next
			if err := b.journal.Flush(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.journal.Failed():
			return b.journal.Err()
		case <-tick.C:
		}
	}
}

func (b *Bridge) trim() error {
	now := time.Now()
	t, err := b.journal.Trim(now.Add(-b.o.Retention), now.Add(-b.o.DedupWindow))
	if t.Bodies > 0 || t.Records > 0 {
		b.o.Log.Debug("dropped what is past its time", zap.Int("bodies", t.Bodies), zap.Int("ids", t.Records))
	}
	if err != nil { // it could not be read, which is told where it is found; events go on
		b.o.Log.Debug("drop what is past its time", zap.Error(err))
	}
	return b.journal.Err()
}

// makeRoom drops published events before their time when there is need.
func (b *Bridge) makeRoom() error {
	want := b.space.wanted()
	if want <= 0 {
		b.dropping = false
		return nil
	}
	n, newest, err := b.journal.DropPublished(want)
	if failed := b.journal.Err(); failed != nil {
		return failed
	}
	if err != nil {
		b.o.Log.Debug("drop published events", zap.Error(err))
	}
	if n > 0 && !b.dropping {
		b.dropping = true
		b.o.Log.Warn("the journal is near its limit: published events are dropped before their time, the oldest first; they can no longer be replayed or healed",
			zap.Int("events", n), zap.Time("published_until", newest))
	}
	return nil
}
