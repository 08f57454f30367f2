package bridge

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// reserveShare is the share of the disk that is kept free, and reserveMost its bound.
	// A disk that is full to the last block fails a sync, and a failed sync ends the
	// process; it is better to say no before. What the journal writes before it notices
	// is far below 1 GiB: its logs and the tables from memory, 150 MiB at most, a merge,
	// and what was let in since the last measure, which counts. On a large disk 5 % would
	// refuse events with tens of gigabytes free.
	reserveShare = 0.05
	reserveMost  = 1 << 30
	// roomShare is the share of the limit at which published events are dropped before
	// their time.
	roomShare = 0.9

	// stalledAfter is how long the disk may take for a write before events are
	// refused, and giveUpAfter before the process ends: the next one may find the
	// disk well, or say what is wrong with it.
	stalledAfter = 10 * time.Second
	giveUpAfter  = 2 * time.Minute
)

// reserve is what is kept free of a disk. Published events are dropped before their time
// from a fifth above it, and events are taken again with a tenth above it.
func reserve(total int64) int64 { return min(int64(reserveShare*float64(total)), reserveMost) }

// measured is the journal as space sees it.
type measured interface {
	// DiskBytes is what the journal takes.
	DiskBytes() uint64
	// Disk is what the disk under it has free, and in all; an error when it does not say.
	Disk() (free, total int64, err error)
	Dir() string
}

// space bounds what the journal takes of its limit and of its disk.
type space struct {
	journal  measured
	maxBytes int64

	// room is what may still be taken until the next measure, in bytes.
	room atomic.Int64
	// used is what the journal took at the last measure: to ask it waits for the store.
	used atomic.Int64

	grown growth

	mu     sync.Mutex
	full   error // why nothing is taken, until there is room again with some to spare
	logged bool  // the log knows of full
}

func newSpace(j measured, maxBytes int64) *space {
	s := &space{journal: j, maxBytes: maxBytes}
	s.measure()
	return s
}

// footprint is how often an event's bytes are on disk for a while: in the log, and
// in the table that is written from it.
const footprint = 2

// admit takes n bytes of the measured room. Between two measures a disk can be filled, so
// what was let in since counts. A refused event takes none. After the first refusal for
// want of room all are refused until a measure finds room again: a few events a second
// would only keep the senders trying.
func (s *space) admit(n int) error {
	if err := s.err(); err != nil {
		return err
	}
	need := int64(footprint * n)
	left := s.room.Add(-need)
	if left >= 0 {
		return nil
	}
	s.room.Add(need)
	err := fmt.Errorf("%w: what came in the last second has used the room there was", ErrFull)
	if need <= s.enough() { // a larger one would not fit into a journal that has just room again
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.full == nil {
			s.full = err
		}
	}
	return err
}

// err is nil when there is room.
func (s *space) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

// enough is the room, in bytes, with which events are taken again.
func (s *space) enough() int64 {
	if s.maxBytes > 0 {
		return s.maxBytes / 20
	}
	return 1 << 20
}

// report measures, and logs when the answer has changed.
func (s *space) report(log *zap.Logger) {
	s.measure()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.full != nil && !s.logged:
		log.Error("the journal takes no more events; senders get 503 and come back", zap.Error(s.full))
	case s.full == nil && s.logged:
		log.Info("the journal has room again and takes events")
	}
	s.logged = s.full != nil
}

// measure finds out how much room there is.
func (s *space) measure() {
	room := int64(math.MaxInt64)
	used := int64(s.journal.DiskBytes())
	s.used.Store(used)
	s.grown.note(time.Now(), used)
	if s.maxBytes > 0 {
		room = s.maxBytes - used
	}
	free, total, unknown := s.journal.Disk()
	kept := reserve(total)
	spare := free - kept
	known := unknown == nil // not to know is no reason to refuse
	if known {
		room = min(room, spare)
	}
	s.room.Store(room)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.maxBytes > 0 && used >= s.maxBytes:
		s.full = fmt.Errorf("%w: %v of journal.max_bytes %v used: repair what keeps events from being published, or raise journal.max_bytes and restart", ErrFull, size(used), size(s.maxBytes))
	case known && spare < 0:
		s.full = fmt.Errorf("%w: %v of %v of the disk under %s are free, %v are kept: make room", ErrFull, size(free), size(total), s.journal.Dir(), size(kept))
	case s.full != nil && s.maxBytes > 0 && s.maxBytes-used < s.enough():
		// Not yet: it would be full again at once.
		s.full = fmt.Errorf("%w: %v of journal.max_bytes %v used, too near to it: repair what keeps events from being published, or raise journal.max_bytes and restart", ErrFull, size(used), size(s.maxBytes))
	case s.full != nil && known && spare < kept/10:
		s.full = fmt.Errorf("%w: %v of %v of the disk under %s are free, hardly more than the %v that are kept: make room", ErrFull, size(free), size(total), s.journal.Dir(), size(kept))
	default:
		s.full = nil
	}
}

// size is a number of bytes that a text for people says in its largest unit.
type size int64

func (s size) String() string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	n, unit := float64(s), 0
	for n >= 1024 && unit < len(units)-1 {
		n, unit = n/1024, unit+1
	}
	text := strconv.FormatFloat(n, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0") + " " + units[unit]
}

// bytes is what the journal took at the last measure.
func (s *space) bytes() uint64 { return uint64(s.used.Load()) }

// growth is by how much the journal grows, in bytes a second.
func (s *space) growth() float64 { return s.grown.rate() }

// wanted is how many bytes should be given back.
func (s *space) wanted() int64 {
	var want int64
	if s.maxBytes > 0 {
		want = int64(s.journal.DiskBytes()) - int64(roomShare*float64(s.maxBytes))
	}
	if free, total, err := s.journal.Disk(); err == nil {
		want = max(want, reserve(total)*6/5-free)
	}
	return want
}

// stallable is the journal as diskWatchdog sees it.
type stallable interface {
	// Stalled is how long the disk has not answered a write that is under way.
	Stalled() time.Duration
	// GiveUp fails the journal.
	GiveUp(error)
}

// diskWatchdog gives up a journal whose disk does not answer. It never touches the disk
// itself, or it would wait with all the others.
type diskWatchdog struct {
	journal stallable
	log     *zap.Logger
}

// run returns when ended is closed, or once it has given up: sooner after the end of ctx,
// or a stop would have no end.
func (w diskWatchdog) run(ctx context.Context, ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	logged := time.Time{}
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		stalled := w.journal.Stalled()
		switch {
		case stalled > giveUpAfter, stalled > stalledAfter && ctx.Err() != nil:
			w.journal.GiveUp(fmt.Errorf("the disk has not answered a write for %v", stalled.Round(time.Second)))
			return
		case stalled > stalledAfter && logged.IsZero():
			logged = time.Now().Add(-stalled)
			w.log.Error("the journal's disk does not answer; senders get 503 and come back", zap.Duration("for", stalled.Round(time.Second)))
		case stalled < time.Second && !logged.IsZero():
			w.log.Info("the journal's disk answers again", zap.Duration("stalled", time.Since(logged).Round(time.Second)))
			logged = time.Time{}
		}
	}
}
