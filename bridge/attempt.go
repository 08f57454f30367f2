package bridge

import (
	"cmp"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// read is a record as it was read to be published.
type read struct {
	item  journal.Item
	event *Event // with its body
}

// job is an attempt to be begun.
type job struct {
	t       *task
	read    *read // nil: the record has to be read first
	session Session
	// floor is the highest place in the stream that was known at the start.
	floor uint64
}

// result is what came of an attempt.
type result struct {
	t       *task
	floor   uint64
	item    journal.Item
	event   *Event // nil when the record could not be read
	receipt Receipt
	failure *Failure // nil: JetStream has it
}

// sendJobs begins attempts until there are no more jobs.
func (r *runner) sendJobs() {
	for j := range r.jobs {
		r.attempt(j)
	}
}

// attempt begins one attempt: read the record, if that has not been done, and publish
// it. Its result comes to the loop; the channel has room for the whole window.
func (r *runner) attempt(j job) {
	res := result{t: j.t, floor: j.floor}
	if j.read == nil {
		read, err := r.load(j.t)
		if err != nil {
			res.item, res.event = read.item, read.event
			res.failure = &Failure{Class: Unknown, Reason: "the journal cannot read this record", Err: err}
			r.results <- res
			return
		}
		j.read = &read
	}
	res.item, res.event = j.read.item, j.read.event
	span := r.b.tracePublish(res.event)
	j.session.Publish(res.event, func(receipt Receipt, err error) {
		endSpan(span, err)
		// The result may wait in line for a while, and needs the body no more.
		res.event.Body = nil
		if res.receipt = receipt; err != nil {
			res.failure = failureOf(err)
		}
		r.results <- res
	})
}

// load reads the record of a task: a pending one, or, in a replay, a published one. When
// only its body cannot be read, the rest is good all the same.
func (r *runner) load(t *task) (read, error) {
	var item journal.Item
	var body []byte
	var err error
	if t.replay == 0 {
		item, body, err = r.b.journal.Load(t.seq)
	} else {
		var p journal.PublishedItem
		if p, err = r.b.journal.Published(t.seq); err == nil {
			item = p.Item
			body, err = r.b.journal.Body(t.seq)
		}
	}
	if item.Seq == 0 {
		return read{}, err
	}
	e, headerErr := parseHeader(item.Header)
	if headerErr != nil {
		return read{item: item}, cmp.Or(err, headerErr)
	}
	e.Seq, e.Body = item.Seq, body
	if t.replay > 0 {
		e.Replay = t.replay
	}
	return read{item, e}, err
}
