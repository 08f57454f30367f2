package bridge

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

const (
	// trimEvery is how often what is past its time is dropped.
	trimEvery = time.Minute
	// flushAfter is how many records published since the last flush make
	// another one worth while, once nothing is pending.
	flushAfter = 20_000
	// reclaimAfter is how many records a backlog has had whose traces are worth taking away
	// once nothing is pending.
	reclaimAfter = 20_000
)

// maintenance keeps the journal durable, small and quick to open.
type maintenance struct {
	journal                *journal.Journal
	space                  *space
	backlog                *backlog
	retention, dedupWindow time.Duration
	// noticeLosses keeps the notices of what the stream has lost, which have their time, too.
	noticeLosses func() error
	log          *zap.Logger

	dropping bool // the log knows that events are dropped before their time
}

// maintain makes the marks durable each second, which otherwise wait for the next event,
// and measures the space.
func (m *maintenance) maintain(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		m.space.report(m.log)
		select {
		case <-ctx.Done():
			return nil
		case <-m.journal.Failed():
			return m.journal.Err()
		case <-tick.C:
			if err := m.journal.Sync(); err != nil {
				return err
			}
		}
	}
}

// enforceRetention drops each minute what is past its time, and when room runs out also
// what is not, the oldest first.
func (m *maintenance) enforceRetention(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var trimmed time.Time
	flushed := m.journal.Next()
	deepest := 0 // the backlog since it was last reclaimed
	for {
		if time.Since(trimmed) >= trimEvery {
			trimmed = time.Now()
			if err := m.trim(); err != nil {
				return err
			}
			if err := m.noticeLosses(); err != nil {
				return err
			}
		}
		if err := m.makeRoom(); err != nil {
			return err
		}
		// After a drained backlog the log is long and holds nothing that is
		// still waited for.
		if next := m.journal.Next(); m.backlog.total() == 0 && next-flushed >= flushAfter {
			flushed = next
			if err := m.journal.Flush(); err != nil {
				return err
			}
		}
		if deepest = max(deepest, m.backlog.total()); deepest >= reclaimAfter && m.backlog.total() == 0 {
			deepest = 0
			if err := m.reclaim(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.journal.Failed():
			return m.journal.Err()
		case <-tick.C:
		}
	}
}

// reclaim makes the journal quick to look at again after a backlog.
func (m *maintenance) reclaim() error {
	begin := time.Now()
	if err := m.journal.ReclaimPending(); err != nil { // the next backlog has it tried again
		m.log.Debug("reclaim what was pending", zap.Error(err))
	} else {
		m.log.Debug("reclaimed what was pending", zap.Duration("took", time.Since(begin)))
	}
	return m.journal.Err()
}

func (m *maintenance) trim() error {
	now := time.Now()
	t, err := m.journal.Trim(now.Add(-m.retention), now.Add(-m.dedupWindow))
	if t.Bodies > 0 || t.Records > 0 {
		m.log.Debug("dropped expired records", zap.Int("bodies", t.Bodies), zap.Int("ids", t.Records))
	}
	if err != nil { // it could not be read, which is told where it is found; events go on
		m.log.Debug("drop expired records", zap.Error(err))
	}
	return m.journal.Err()
}

// makeRoom drops published events before their time when room runs out.
func (m *maintenance) makeRoom() error {
	want := m.space.wanted()
	if want <= 0 {
		m.dropping = false
		return nil
	}
	n, newest, err := m.journal.DropPublished(want)
	if failed := m.journal.Err(); failed != nil {
		return failed
	}
	if err != nil {
		m.log.Debug("drop published events", zap.Error(err))
	}
	if n > 0 && !m.dropping {
		m.dropping = true
		m.log.Warn("the journal is near its limit: published events are dropped before their time, the oldest first; they can no longer be replayed or healed",
			zap.Int("events", n), zap.Time("published_until", newest))
	}
	return nil
}
