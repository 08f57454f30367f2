package bridge

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"

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
)

// space watches what the journal takes and what its disk has left.
type space struct {
	journal  *journal.Journal
	dir      string
	maxBytes int64

	// room is what may still be taken until the next look, in bytes.
	room atomic.Int64

	mu   sync.Mutex
	full error
}

func newSpace(j *journal.Journal, dir string, maxBytes int64) *space {
	s := &space{journal: j, dir: dir, maxBytes: maxBytes}
	s.full = s.measure()
	return s
}

// footprint is how often an event's bytes are on disk for a while: in the log, and
// in the table that is written from it.
const footprint = 2

// admit takes n bytes of the room that the last look found. Between two looks a
// disk can be filled; so what was let in since counts.
func (s *space) admit(n int) error {
	if err := s.err(); err != nil {
		return err
	}
	if s.room.Add(int64(-footprint*n)) < 0 {
		return fmt.Errorf("%w: what came in the last second has used the room there was", ErrFull)
	}
	return nil
}

// err is nil when there is room.
func (s *space) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

// look measures, and logs when the answer has changed.
func (s *space) look(log *zap.Logger) {
	now := s.measure()
	s.mu.Lock()
	before := s.full
	s.full = now
	s.mu.Unlock()
	switch {
	case before == nil && now != nil:
		log.Error("the journal takes no more events; senders get 503 and come back", zap.Error(now))
	case before != nil && now == nil:
		log.Info("the journal has room again and takes events")
	}
}

func (s *space) measure() error {
	room := int64(math.MaxInt64)
	used := int64(s.journal.DiskBytes())
	if s.maxBytes > 0 {
		room = s.maxBytes - used
	}
	free, total, known := s.disk()
	if known {
		room = min(room, free-int64(minFreeShare*float64(total)))
	}
	s.room.Store(room)
	if s.maxBytes > 0 && used >= s.maxBytes {
		return fmt.Errorf("%w: %d of journal.max_bytes %d bytes used: repair what keeps events from being published, or raise it", ErrFull, used, s.maxBytes)
	}
	if known && float64(free) < minFreeShare*float64(total) {
		return fmt.Errorf("%w: %d of %d bytes of the disk under %s are free, %.0f %% are kept: make room", ErrFull, free, total, s.dir, minFreeShare*100)
	}
	return nil
}

// wanted is how many bytes should be given back.
func (s *space) wanted() int64 {
	var want int64
	if s.maxBytes > 0 {
		want = int64(s.journal.DiskBytes()) - int64(roomShare*float64(s.maxBytes))
	}
	if free, total, ok := s.disk(); ok {
		want = max(want, int64(roomFreeShare*float64(total))-free)
	}
	return want
}

// disk is what the journal's disk has free, and in all. Not to know that is no
// reason to refuse.
func (s *space) disk() (free, total int64, ok bool) {
	var disk syscall.Statfs_t
	if s.dir == "" || syscall.Statfs(s.dir, &disk) != nil {
		return 0, 0, false
	}
	return int64(disk.Bavail) * disk.Bsize, int64(disk.Blocks) * disk.Bsize, true
}
