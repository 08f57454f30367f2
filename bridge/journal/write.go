package journal

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// underWay knows since when writes have been waiting for the disk.
type underWay struct {
	mu     sync.Mutex
	begins map[*time.Time]struct{}
}

// begin notes one more write; what it returns ends it.
func (u *underWay) begin() (end func()) {
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.begins == nil {
		u.begins = make(map[*time.Time]struct{})
	}
	u.begins[&now] = struct{}{}
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.begins, &now)
	}
}

// oldest is how long the oldest write has waited.
func (u *underWay) oldest() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	oldest := time.Duration(0)
	for begin := range u.begins {
		oldest = max(oldest, time.Since(*begin))
	}
	return oldest
}

// write runs a change of the store so that a failure of the disk, which stays there
// (see failStopFS), is returned to the caller.
func (j *Journal) write(f func() error) error {
	defer j.writing.begin()()
	return j.attempt(f)
}

// attempt is write for what takes as long as it takes.
func (j *Journal) attempt(f func() error) error {
	if err := j.enter(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer j.leave()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-j.failed:
		return j.failure
	}
}

// change writes a batch without waiting for the disk: the next append's sync, or
// Sync, covers it.
func (j *Journal) change(what string, fill func(*pebble.Batch) error) error {
	if err := j.Err(); err != nil {
		return err
	}
	batch := j.db.NewBatch()
	if err := fill(batch); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", what, err), batch.Close())
	}
	err := j.write(func() error {
		defer batch.Close()
		return j.db.Apply(batch, pebble.NoSync)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	j.marks.Add(1)
	return nil
}

// changeSynced is change, and returns once that is on disk.
func (j *Journal) changeSynced(what string, fill func(*pebble.Batch) error) error {
	if err := j.change(what, fill); err != nil {
		return err
	}
	return j.Sync()
}

// Sync makes the marks durable that were written since the last sync, and sees to it
// that damage to the last append is found for what it is.
func (j *Journal) Sync() error {
	if err := j.inPlace(); err != nil {
		return err
	}
	marks := j.marks.Load()
	times := 1
	switch {
	case j.unproven.Swap(false):
		// The store answers before it has noted up to where the log is synced: only the
		// second chunk after an append surely says it.
		times = 2
	case j.syncedMarks.Load() >= marks:
		return nil
	}
	for range times {
		if err := j.write(func() error { return j.db.LogData(nil, pebble.Sync) }); err != nil {
			return err
		}
	}
	j.synced(marks)
	return nil
}

// synced notes that so many marks are on disk.
func (j *Journal) synced(marks uint64) {
	for {
		before := j.syncedMarks.Load()
		if before >= marks || j.syncedMarks.CompareAndSwap(before, marks) {
			return
		}
	}
}

// inPlace fails the journal when its files are no longer where they are looked for at
// the next start.
func (j *Journal) inPlace() error {
	if err := j.presence.check(); err != nil {
		j.fail(err)
	}
	return j.Err()
}

// Flush writes out what is in memory, so that the log behind it can go: a
// shorter log is a shorter restart.
func (j *Journal) Flush() error {
	var flushed <-chan struct{}
	err := j.attempt(func() (err error) {
		flushed, err = j.db.AsyncFlush()
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-flushed:
	case <-j.failed:
		return j.failure
	case <-j.upkeep.Done():
	}
	return nil
}
