package journal

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// maxBatch is how many appends share a commit at most.
	maxBatch = 512
	// maxBatchBytes bounds a commit to a quarter of the store's usual memtable. A batch
	// that is larger than half of a small one the store keeps apart.
	maxBatchBytes = 4 << 20
	// maxUnsynced is how many batches wait in the store's log, at most, behind the one
	// that is being synced.
	maxUnsynced = 16
)

// commit is a batch on its way to the disk, and who waits for it.
type commit struct {
	batch    *pebble.Batch // nil when there was nothing to write
	requests []*appendRequest
	begin    time.Time
	first    uint64 // its first sequence
	next     uint64 // the next sequence, once it is synced
	marks    uint64 // so many were written before it: its sync is theirs too
}

// commitLoop is the one place where records get in. It takes what waits, writes it
// in one batch, and hands that to syncLoop, which waits for the sync and answers.
// It goes on meanwhile: the store syncs all batches at once that are in its log when the
// sync before ends, so whoever comes during a sync waits for one more, and not for two.
// One goroutine makes the batches, so that looking up a key and taking it cannot be torn
// apart by a repeat of the same delivery.
func (j *Journal) commitLoop() {
	syncing := make(chan commit, maxUnsynced)
	defer close(syncing)
	go j.syncLoop(syncing)
	// Beside those that wait for their sync one is being made and one answered.
	var lists [maxUnsynced + 2][]*appendRequest
	for turn := 0; ; turn = (turn + 1) % len(lists) {
		requests := lists[turn][:0]
		select {
		case q := <-j.appends:
			requests = append(requests, q)
		case <-j.stop:
			select {
			case q := <-j.appends:
				requests = append(requests, q)
			default:
				return
			}
		}
		requests = j.gather(requests)
		lists[turn] = requests
		if j.Err() != nil { // syncLoop may have ended, with room for more
			return
		}
		j.committing.Store(time.Now().UnixNano())
		c, err := j.commit(requests)
		j.committing.Store(0)
		if err != nil {
			j.fail(err)
			return
		}
		select {
		case syncing <- c:
		case <-j.failed:
			return
		}
	}
}

// gather adds what waits already to a batch; it does not wait for more.
func (j *Journal) gather(requests []*appendRequest) []*appendRequest {
	size := len(requests[0].record.Body)
	for len(requests) < maxBatch && size < maxBatchBytes {
		select {
		case q := <-j.appends:
			requests = append(requests, q)
			size += len(q.record.Body)
		default:
			return requests
		}
	}
	return requests
}

// commit puts into one batch, for each record, its body, its state and its seen
// key, and gives the batch to the store's log, which syncs it in its own time. It
// answers nobody: an answer that came before the sync would be a lie, also the one
// to a repeat whose original is in the same batch or in one that is not synced yet.
func (j *Journal) commit(requests []*appendRequest) (commit, error) {
	c := commit{requests: requests, begin: time.Now(), first: j.next, next: j.next, marks: j.marks.Load()}
	batch := j.db.NewBatch()
	now := j.o.now()
	j.keys.Lock()
	defer j.keys.Unlock()
	taken := j.taken[:0] // the keys that this batch takes
	clear(j.inBatch)
	for _, q := range requests {
		q.appended = now
		if q.run != nil && q.run.failed != nil { // what stood before it was not stored
			q.err = q.run.failed
			continue
		}
		if q.record.Key != "" {
			found, err := j.seen(q)
			if err != nil {
				q.fail(err)
				continue
			}
			if found {
				continue
			}
		}
		q.result = Result{Seq: c.next, Status: Stored}
		c.next++
		if key := q.record.Key; key != "" {
			taken = append(taken, key)
			j.inBatch[key] = q
		}
	}
	j.taken = taken
	if c.next == j.next {
		return c, batch.Close()
	}
	if err := j.put(batch, requests); err != nil {
		return c, err
	}
	// Most failures do not come back from here: see storeLogger.Fatalf.
	if err := j.db.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		return c, err
	}
	c.batch, j.next = batch, c.next
	if j.keyFilter.add(taken) {
		j.background.Go(j.buildKeyFilter)
	}
	return c, nil
}

// syncLoop waits for the sync of each batch in turn, sees that it went into files that
// are still where the next start looks for them, gives it to the readers, and answers those
// who wait for it. It ends with commitLoop, or leaves all of them to Failed.
func (j *Journal) syncLoop(syncing <-chan commit) {
	defer close(j.stopped)
	for c := range syncing {
		j.syncing.Store(time.Now().UnixNano())
		if c.batch != nil {
			if err := c.batch.SyncWait(); err != nil {
				j.fail(err)
				return
			}
		}
		if j.inPlace() != nil {
			return
		}
		j.syncing.Store(0)
		if c.batch != nil {
			j.tailCache.add(c.requests, c.first, c.next)
			j.durable.Store(c.next)
			j.synced(c.marks)
			j.unproven.Store(true)
			j.metrics.syncDuration.Observe(time.Since(c.begin).Seconds())
			if err := c.batch.Close(); err != nil {
				j.fail(err)
				return
			}
		}
		for _, q := range c.requests {
			q.done <- struct{}{}
		}
	}
}

// put writes the keys of the requests that are stored into the batch. The store finds the
// place of a key soon when it lies behind that of the last one, so keys of a kind come together.
func (j *Journal) put(batch *pebble.Batch, requests []*appendRequest) error {
	for _, q := range requests {
		if q.stored() {
			if err := setSeq(batch, prefixBody, q.result.Seq, q.record.Body); err != nil {
				return err
			}
		}
	}
	for _, q := range requests {
		if !q.stored() {
			continue
		}
		v := value{appended: q.appended, key: q.record.Key, header: q.record.Header, digest: q.digest[:]}
		prefix := byte(prefixPending)
		if d := q.record.Dead; d != nil {
			prefix = prefixDead
			v.at, v.reason, v.attempts = d.At, d.Reason, d.Attempts
		}
		j.scratch = v.append(j.scratch[:0])
		if err := setSeq(batch, prefix, q.result.Seq, j.scratch); err != nil {
			return err
		}
	}
	for _, q := range requests {
		if !q.stored() || q.record.Key == "" {
			continue
		}
		v := value{appended: q.appended, seq: q.result.Seq, digest: q.digest[:]}
		j.scratch = v.append(j.scratch[:0])
		d := batch.SetDeferred(1+len(q.record.Key), len(j.scratch))
		d.Key[0] = prefixSeen
		copy(d.Key[1:], q.record.Key)
		copy(d.Value, j.scratch)
		if err := d.Finish(); err != nil {
			return err
		}
	}
	return nil
}
