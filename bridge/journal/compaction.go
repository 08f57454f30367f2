package journal

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactionTick is how often the room for compactions is looked at.
const compactionTick = time.Second

// compactions lets the store merge its tables while the disk has room for that. A
// compaction needs room before it gives any back; on a full disk it takes what a flush
// needs, fails, and begins again. The store's own scheduler knows of no disk.
type compactions struct {
	room func() bool

	enough atomic.Bool // what room said last
	poke   chan struct{}
	stop   chan struct{}
	ending sync.Once
	ended  chan struct{}

	mu      sync.Mutex
	db      pebble.DBForCompaction
	running int
}

var _ pebble.CompactionScheduler = (*compactions)(nil)

// newCompactions asks room from time to time. Nothing runs before Register.
func newCompactions(room func() bool) *compactions {
	return &compactions{room: room, poke: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
}

func (c *compactions) Register(_ int, db pebble.DBForCompaction) {
	c.mu.Lock()
	c.db = db
	c.mu.Unlock()
	go c.run(db)
}

func (c *compactions) run(db pebble.DBForCompaction) {
	defer close(c.ended)
	tick := time.NewTicker(compactionTick)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
			c.measure()
		case <-c.poke:
		}
		c.grant(db)
	}
}

// grant starts what waits. It holds no lock while it asks the store, which asks back
// with its own lock held.
func (c *compactions) grant(db pebble.DBForCompaction) {
	for c.take(db) {
		if waiting, _ := db.GetWaitingCompaction(); !waiting || !db.Schedule(c) {
			c.give()
			return
		}
	}
}

// take counts one more as running, when it may run.
func (c *compactions) take(db pebble.DBForCompaction) bool {
	select {
	case <-c.stop:
		return false
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.enough.Load() || c.running >= db.GetAllowedWithoutPermission() {
		return false
	}
	c.running++
	return true
}

func (c *compactions) give() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
}

// TrySchedule is asked with the store's lock held.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !c.take(c.db) {
		return false, nil
	}
	return true, c
}

// noRoom ends the granting until the next measure.
func (c *compactions) noRoom() { c.enough.Store(false) }

func (c *compactions) measure() { c.enough.Store(c.room()) }

func (c *compactions) UpdateGetAllowedWithoutPermission() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

func (c *compactions) Done() {
	c.give()
	c.UpdateGetAllowedWithoutPermission()
}

func (c *compactions) Started()                                          {}
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Unregister returns when nothing more is granted.
func (c *compactions) Unregister() {
	c.end()
	<-c.ended
}

// end is Unregister for a store that did not open, and may not have registered.
func (c *compactions) end() { c.ending.Do(func() { close(c.stop) }) }
