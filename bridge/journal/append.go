package journal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

const digestSize = 16

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
	run      *appendRun // nil for one that came alone
	result   Result
	err      error
	done     chan struct{} // takes one token when result and err are there
}

// newRequest is one that nobody waits for any more, with its channel, or a new one. The
// pool is not shared by all journals: in a test's bubble a channel of another one may not
// be used.
func (j *Journal) newRequest() *appendRequest {
	if q, ok := j.requests.Get().(*appendRequest); ok {
		return q
	}
	return &appendRequest{done: make(chan struct{}, 1)}
}

// Append stores r and returns once it is on disk. Appends that wait at the same
// time share one write and one fsync; their sequences are in the order in which
// they came. ctx bounds only the wait for a place in the queue; a request that was taken
// waits for the disk. r.Header is kept, and must not be changed any more. r.Body is read
// until Append returns, and, when that is with an error, perhaps longer.
func (j *Journal) Append(ctx context.Context, r Record) (Result, error) {
	q := j.newRequest()
	q.record, q.digest = r, digest(r.Body)
	if err := j.submit(ctx, q); err != nil {
		return Result{}, err
	}
	return j.await(q)
}

// AppendAll is Append of several records, in their order: they are stored one behind
// the other, and as few commits as possible carry them. Its results are those of the
// records before the first that could not be stored, and the error is that one's;
// nothing behind it is stored.
func (j *Journal) AppendAll(ctx context.Context, records []Record) ([]Result, error) {
	run := new(appendRun)
	requests := make([]*appendRequest, 0, len(records))
	var refused error
	for _, r := range records {
		q := j.newRequest()
		q.record, q.digest, q.run = r, digest(r.Body), run
		if refused = j.submit(ctx, q); refused != nil {
			break
		}
		requests = append(requests, q)
	}
	results := make([]Result, 0, len(requests))
	var failed error
	for _, q := range requests {
		result, err := j.await(q)
		if failed == nil && err != nil {
			failed = err
		}
		if failed == nil {
			results = append(results, result)
		}
	}
	return results, cmp.Or(failed, refused)
}

// appendRun is what the requests of one AppendAll share. It belongs to commitLoop.
type appendRun struct{ failed error }

// fail refuses q, and all that comes behind it in its run.
func (q *appendRequest) fail(err error) {
	q.err = err
	if q.run != nil {
		q.run.failed = err
	}
}

// stored says that q is a new record.
func (q *appendRequest) stored() bool { return q.err == nil && q.result.Status == Stored }

// submit gives q to commitLoop, which takes requests in the order of their submission.
func (j *Journal) submit(ctx context.Context, q *appendRequest) error {
	select {
	case <-j.stop: // else the buffered channel might win against it
		return ErrClosed
	default:
	}
	select {
	case j.appends <- q:
		return nil
	default:
	}
	select {
	case j.appends <- q:
		return nil
	case <-j.stop:
		return ErrClosed
	case <-j.failed:
		return j.failure
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await returns once q is on disk, or will not be.
func (j *Journal) await(q *appendRequest) (Result, error) {
	select {
	case <-q.done:
		return j.answer(q)
	case <-j.stopped:
		// The committer ended; what it did not take was not stored.
		select {
		case <-q.done:
			return j.answer(q)
		default:
		}
		if err := j.Err(); err != nil {
			return Result{}, err
		}
		return Result{}, ErrClosed
	case <-j.failed:
		return Result{}, j.failure
	}
}

// answer is for who has taken the token from done; the request is over by that.
func (j *Journal) answer(q *appendRequest) (Result, error) {
	result, err := q.result, q.err
	*q = appendRequest{done: q.done}
	j.requests.Put(q)
	return result, err
}

// ConflictKey is the key of a record whose own key is taken by another body. Append
// knows it for a repeat by that, also when the first record has left the window and the
// key is free.
func ConflictKey(key string, body []byte) string {
	sum := digest(body)
	return string(appendConflictKey(nil, key, sum[:]))
}

func appendConflictKey(b []byte, key string, digest []byte) []byte {
	return hex.AppendEncode(append(append(b, key...), 0), digest)
}

func digest(body []byte) [digestSize]byte {
	sum := sha256.Sum256(body)
	return [digestSize]byte(sum[:digestSize])
}
