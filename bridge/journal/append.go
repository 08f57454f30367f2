package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// maxBatch is how many appends share a commit at most.
	maxBatch = 512
	// maxBatchBytes bounds a commit well below the store's memtable.
	maxBatchBytes = 4 << 20
	digestSize    = 16
)

// Status says what Append found.
type Status int

const (
	// Stored: the record is new, and on disk.
	Stored Status = iota + 1
	// Repeat: a record with this key and the same body is on disk already.
	Repeat
	// Conflict: the key is taken by a record with another body. Nothing was
	// written.
	Conflict
)

// Result is Append's answer. Seq is that of the record stored, or of the one
// that was there before.
type Result struct {
	Seq    uint64
	Status Status
}

type appendRequest struct {
	record   Record
	digest   [digestSize]byte
	appended time.Time
	result   Result
	err      error
	done     chan struct{}
}

// Append stores r and returns once it is on disk. Appends that wait at the same
// time share one write and one fsync; their sequences are in the order in which
// they came. The record's slices are read until Append has returned without an
// error; after an error, among them a ctx that ended, they must not be changed
// any more, for the write may still be under way.
func (j *Journal) Append(ctx context.Context, r Record) (Result, error) {
	q := &appendRequest{record: r, digest: digest(r.Body), done: make(chan struct{})}
	select {
	case <-j.stop: // else the buffered channel might win against it
		return Result{}, ErrClosed
	default:
	}
	select {
	case j.appends <- q:
	case <-j.stop:
		return Result{}, ErrClosed
	case <-j.failed:
		return Result{}, j.failure
	case <-ctx.Done():
		return Result{}, context.Cause(ctx)
	}
	select {
	case <-q.done:
		return q.result, q.err
	case <-j.stopped:
		// The committer ended; what it did not take was not stored.
		select {
		case <-q.done:
			return q.result, q.err
		default:
			return Result{}, ErrClosed
		}
	case <-j.failed:
		return Result{}, j.failure
	}
}

func digest(body []byte) [digestSize]byte {
	sum := sha256.Sum256(body)
	return [digestSize]byte(sum[:digestSize])
}

// commitLoop is the one place where records get in. It takes what waits, writes
// it in one batch, syncs, and answers; whoever comes meanwhile is in the next
// batch. One goroutine, so that looking up a key and taking it cannot be torn
// apart by a repeat of the same delivery.
func (j *Journal) commitLoop() {
	defer close(j.stopped)
	requests := make([]*appendRequest, 0, maxBatch)
	for {
		requests = requests[:0]
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
		j.commit(requests)
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

// commit writes in this order: into one batch, for each record, its body, its
// state and its seen key; then the batch to the log; then the fsync; then the
// answers. An answer that comes before the fsync would be a lie, also the one
// to a repeat whose original is in the same batch.
func (j *Journal) commit(requests []*appendRequest) {
	batch := j.db.NewBatch()
	defer batch.Close()
	now, begin := j.o.now(), time.Now()
	next := j.next
	var inBatch map[string]*appendRequest
	if len(requests) > 1 {
		inBatch = make(map[string]*appendRequest, len(requests))
	}
	for _, q := range requests {
		q.appended = now
		if q.record.Key != "" {
			first := inBatch[q.record.Key]
			found, err := j.seen(q, first)
			if err != nil {
				q.err = err
				continue
			}
			if found {
				continue
			}
			if inBatch != nil {
				inBatch[q.record.Key] = q
			}
		}
		if err := q.put(batch, next); err != nil {
			q.err = fmt.Errorf("append record %d: %w", next, err)
			continue
		}
		q.result = Result{Seq: next, Status: Stored}
		next++
	}
	if next > j.next {
		// Before the commit: a mark that is written while it runs may be too
		// late for its sync, and must find the flag lowered to raise it again.
		j.unsynced.Store(false)
		// A failure does not come back from here: see storeLogger.Fatalf.
		if err := j.db.Apply(batch, pebble.Sync); err != nil {
			j.fail(err)
			return
		}
		j.next = next
		j.durable.Store(next)
		j.metrics.syncDuration.Observe(time.Since(begin).Seconds())
	}
	for _, q := range requests {
		close(q.done)
	}
}

// seen looks whether q's key is taken, by a record on disk or by first, one
// that came before it in this batch, and fills in the result when it is.
func (j *Journal) seen(q, first *appendRequest) (bool, error) {
	if first != nil {
		q.result = Result{Seq: first.result.Seq, Status: compare(q.digest[:], first.digest[:])}
		return true, nil
	}
	b, closer, err := j.db.Get(seenKey(q.record.Key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up key: %w", err)
	}
	defer closer.Close()
	v, err := parseValue(b)
	if err != nil {
		return false, fmt.Errorf("look up key: %w", err)
	}
	if q.appended.Sub(v.appended) > j.o.DedupWindow {
		waiting, err := j.waiting(v.seq)
		if err != nil || !waiting {
			return false, err
		}
	}
	q.result = Result{Seq: v.seq, Status: compare(q.digest[:], v.digest)}
	return true, nil
}

func compare(a, b []byte) Status {
	if string(a) == string(b) {
		return Repeat
	}
	return Conflict
}

// waiting says whether a record is pending or dead, and so neither done nor gone.
func (j *Journal) waiting(seq uint64) (bool, error) {
	for _, prefix := range []byte{prefixPending, prefixDead} {
		_, closer, err := j.db.Get(seqKey(prefix, seq))
		if err == nil {
			return true, closer.Close()
		}
		if !errors.Is(err, pebble.ErrNotFound) {
			return false, fmt.Errorf("look up record %d: %w", seq, err)
		}
	}
	return false, nil
}

// put writes q's keys into the batch under seq.
func (q *appendRequest) put(batch *pebble.Batch, seq uint64) error {
	v := value{appended: q.appended, key: q.record.Key, header: q.record.Header, digest: q.digest[:]}
	prefix := byte(prefixPending)
	if d := q.record.Dead; d != nil {
		prefix = prefixDead
		v.at, v.reason, v.attempts = d.At, d.Reason, d.Attempts
	}
	if err := batch.Set(seqKey(prefixBody, seq), q.record.Body, nil); err != nil {
		return err
	}
	if err := batch.Set(seqKey(prefix, seq), v.append(nil), nil); err != nil {
		return err
	}
	if q.record.Key == "" {
		return nil
	}
	s := value{appended: q.appended, seq: seq, digest: q.digest[:]}
	return batch.Set(seenKey(q.record.Key), s.append(nil), nil)
}
