package bridge

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

const (
	// minFreeShare is the share of the disk that is kept free. A disk that is
	// full to the last block fails a sync, and a failed sync ends the process;
	// it is better to say no before.
	minFreeShare = 0.05
	// roomShare is the share of the limit at which published events are dropped
	// before their time, and roomFreeShare the same of the disk that is free.
	roomShare     = 0.9
	roomFreeShare = 0.06
	// reopenFreeShare is the share of the disk beyond the one that is kept with which
	// events are taken again.
	reopenFreeShare = 0.005
)

// space watches what the journal takes and what its disk has left.
type space struct {
	journal  *journal.Journal
	maxBytes int64

	// room is what may still be taken until the next look, in bytes.
	room atomic.Int64
	// used is what the journal took at the last look: to ask it waits for the store.
	used atomic.Int64

	mu   sync.Mutex
	full error // why nothing is taken, until there is room to speak of
	told bool  // the log knows of full
}

func newSpace(j *journal.Journal, maxBytes int64) *space {
	s := &space{journal: j, maxBytes: maxBytes}
	s.measure()
	return s
}

// footprint is how often an event's bytes are on disk for a while: in the log, and
// in the table that is written from it.
const footprint = 2

// admit takes n bytes of the room that the last look found. Between two looks a
// disk can be filled; so what was let in since counts. Who is refused takes none, and
// from the first refusal for want of room on there is none for anybody, until the looks
// find some again: a door that opens for a few events each second is not open.
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
	if need <= s.enough() { // a larger one would not fit either with the door just open
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

// look measures, and logs when the answer has changed.
func (s *space) look(log *zap.Logger) {
	s.measure()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.full != nil && !s.told:
		log.Error("the journal takes no more events; senders get 503 and come back", zap.Error(s.full))
	case s.full == nil && s.told:
		log.Info("the journal has room again and takes events")
	}
	s.told = s.full != nil
}

// measure finds out how much room there is.
func (s *space) measure() {
	room := int64(math.MaxInt64)
	used := int64(s.journal.DiskBytes())
	s.used.Store(used)
	if s.maxBytes > 0 {
		room = s.maxBytes - used
	}
	free, total, unknown := s.journal.Disk()
	spare := free - int64(minFreeShare*float64(total))
	known := unknown == nil // not to know is no reason to refuse
	if known {
		room = min(room, spare)
	}
	s.room.Store(room)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.maxBytes > 0 && used >= s.maxBytes:
		s.full = fmt.Errorf("%w: %d of journal.max_bytes %d bytes used: repair what keeps events from being published, or raise it", ErrFull, used, s.maxBytes)
	case known && spare < 0:
		s.full = fmt.Errorf("%w: %d of %d bytes of the disk under %s are free, %.0f %% are kept: make room", ErrFull, free, total, s.journal.Dir(), minFreeShare*100)
	case s.full != nil && s.maxBytes > 0 && s.maxBytes-used < s.enough():
		// Not yet: it would be full again at once.
		s.full = fmt.Errorf("%w: %d of journal.max_bytes %d bytes used, too near to it: repair what keeps events from being published, or raise it", ErrFull, used, s.maxBytes)
	case s.full != nil && known && spare < int64(reopenFreeShare*float64(total)):
		s.full = fmt.Errorf("%w: %d of %d bytes of the disk under %s are free, hardly more than the %.0f %% that are kept: make room", ErrFull, free, total, s.journal.Dir(), minFreeShare*100)
	default:
		s.full = nil
	}
}

// bytes is what the journal took at the last look.
func (s *space) bytes() uint64 { return uint64(s.used.Load()) }

// wanted is how many bytes should be given back.
func (s *space) wanted() int64 {
	var want int64
	if s.maxBytes > 0 {
		want = int64(s.journal.DiskBytes()) - int64(roomShare*float64(s.maxBytes))
	}
	if free, total, err := s.journal.Disk(); err == nil {
		want = max(want, int64(roomFreeShare*float64(total))-free)
	}
	return want
}
