package publisher

import (
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// An embedded server leaves twice the room on its disk that the journal keeps free
	// (see bridge), so that a stream without limits does not take the journal's.
	keepShare = 0.1
	keepMost  = 2 << 30
	// overhead is more than an event's headers and its record in the store take.
	overhead = 1 << 10
	// measureEvery is how long a measured room counts.
	measureEvery = time.Second
)

// room is what an embedded server may still store. A server that fills its disk freezes
// the stream until it is started again, and may have acknowledged what it could not write
// any more; so the bridge stops before.
type room struct {
	dir string
	max int64 // what the store may take; 0 is all but what is kept
	now func() time.Time
	// disk is what the disk under dir has free, and in all.
	disk func(dir string) (free, total int64, err error)

	mu       sync.Mutex
	measured time.Time
	left     int64
	full     error // what to do when nothing is left
}

func newRoom(dir string, max int64) *room {
	return &room{dir: dir, max: max, now: time.Now, disk: diskUsage}
}

// diskUsage asks as the journal does, on every system.
func diskUsage(dir string) (free, total int64, err error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	return int64(usage.AvailBytes), int64(usage.TotalBytes), err
}

// take takes n bytes, or says why there is no room for them.
func (r *room) take(n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left < int64(n) || r.now().Sub(r.measured) >= measureEvery {
		r.measure()
	}
	if r.left < int64(n) {
		return r.full
	}
	r.left -= int64(n)
	return nil
}

// measure finds out how much room there is. Not to know is no reason to refuse.
func (r *room) measure() {
	r.measured, r.left = r.now(), math.MaxInt64
	if free, total, err := r.disk(r.dir); err == nil {
		kept := min(int64(keepShare*float64(total)), keepMost)
		r.left = free - kept
		r.full = fmt.Errorf("the disk under nats.embedded.store_dir (%s) is nearly full, and the embedded NATS leaves the last %d bytes of it: make room, or give the stream a limit (nats.stream.max_age, max_bytes); it goes on by itself", r.dir, kept)
	}
	if r.max == 0 {
		return
	}
	if used, err := size(r.dir); err == nil && r.max-used < r.left {
		r.left = r.max - used
		r.full = fmt.Errorf("the embedded NATS has stored the %d bytes of nats.embedded.max_store under %s: raise it, or remove messages; after that it goes on by itself", r.max, r.dir)
	}
}

// size is what the files under dir take.
func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // a file may go while the others are counted
		}
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total, err
}
