package bridge

import (
	"cmp"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/schedule"
)

// sender begins attempts, in a goroutine of its own: reading a record waits for the
// disk, and a connection that is slow makes its writers wait. Attempts come to it in
// lists, and their results go back through one channel.
type sender struct {
	b       *Bridge
	lists   chan list
	free    chan []attempt // lists to be filled again
	results chan result
	// gathered is the loop's.
	gathered []result
}

// list are attempts that begin together.
type list struct {
	attempts []attempt
	batch    bool // as one atomic batch
}

// attempt is a task to be sent.
type attempt struct {
	t       *schedule.Task
	session Session
	// floor is the highest stream sequence that was acknowledged when it was started.
	floor uint64
	began time.Time
}

// result is what came of an attempt.
type result struct {
	t     *schedule.Task
	floor uint64
	began time.Time
	// batch is how many events the batch has that ended with this result; 0 for a single
	// event, and for the others of a batch.
	batch   int
	inBatch bool
	item    journal.Item
	event   *Event // without its body; nil when the record could not be read
	receipt Receipt
	failure *Failure // nil: JetStream has it
	// again says that the task is tried again. complete decides that.
	again bool
}

// newSender makes channels that have room for the whole window, so that neither the
// loop nor NATS ever waits for them.
func newSender(b *Bridge) *sender {
	n := b.o.MaxInFlight
	return &sender{b: b, lists: make(chan list, n), free: make(chan []attempt, n), results: make(chan result, n)}
}

// send hands over tasks that the scheduler has started, each alone or all as one batch.
func (s *sender) send(tasks []*schedule.Task, batch bool, through Session, floor uint64, now time.Time) {
	if len(tasks) == 0 {
		return
	}
	l := list{batch: batch}
	select {
	case l.attempts = <-s.free:
	default:
	}
	for _, t := range tasks {
		l.attempts = append(l.attempts, attempt{t, through, floor, now})
	}
	s.lists <- l
}

func (s *sender) close() { close(s.lists) }

// run begins attempts until close.
func (s *sender) run() {
	for l := range s.lists {
		if l.batch {
			s.beginBatch(l.attempts)
		} else {
			for _, a := range l.attempts {
				s.begin(a)
			}
		}
		clear(l.attempts)
		select {
		case s.free <- l.attempts[:0]:
		default: // there may be one list more than tasks: the one whose tasks have ended
		}
	}
}

// gather returns first and all results that wait behind it, until the next call.
func (s *sender) gather(first result) []result {
	clear(s.gathered)
	s.gathered = append(s.gathered[:0], first)
	for {
		select {
		case res := <-s.results:
			s.gathered = append(s.gathered, res)
		default:
			return s.gathered
		}
	}
}

// begin begins one attempt: it reads the record, unless that has been done, and
// publishes it.
func (s *sender) begin(a attempt) {
	res := result{t: a.t, floor: a.floor, began: a.began}
	read, isRead := a.t.Record.(*record)
	if !isRead {
		var err error
		if read, err = s.b.load(a.t); err != nil {
			res.item, res.event = read.item, read.event
			res.failure = &Failure{Class: Unknown, Reason: "the journal cannot read this record", Err: err}
			s.results <- res
			return
		}
	}
	res.item, res.event = read.item, read.event
	span := s.b.tracePublish(res.event)
	a.session.Publish(res.event, func(receipt Receipt, err error) {
		endSpan(span, err)
		// The result may wait in line for a while, and needs the body no more.
		res.event.Body = nil
		if res.receipt = receipt; err != nil {
			res.failure = failureOf(err)
		}
		s.results <- res
	})
}

// beginBatch begins one attempt for several tasks. Their results come in their order. When
// a record cannot be read, nothing is sent: its task finds that out alone.
func (s *sender) beginBatch(attempts []attempt) {
	results := make([]result, len(attempts))
	events := make([]*Event, len(attempts))
	spans := make([]trace.Span, len(attempts))
	end := func(receipts []Receipt, err error) {
		for i := range results {
			res := &results[i]
			if res.event != nil { // it was read
				endSpan(spans[i], err)
				res.event.Body = nil
			}
			if err != nil {
				res.failure = batchFailure(err)
			} else {
				res.receipt = receipts[i]
			}
			s.results <- *res
		}
	}
	results[len(results)-1].batch = len(results)
	for i, a := range attempts {
		res := &results[i]
		res.t, res.floor, res.began, res.inBatch = a.t, a.floor, a.began, true
	}
	for i, a := range attempts {
		read, isRead := a.t.Record.(*record)
		if !isRead {
			var err error
			if read, err = s.b.load(a.t); err != nil {
				end(nil, &Failure{Class: Undecided, Reason: "a record of the batch cannot be read", Err: err})
				return
			}
		}
		results[i].item, results[i].event, events[i] = read.item, read.event, read.event
		spans[i] = s.b.tracePublish(read.event)
	}
	attempts[0].session.PublishBatch(events, end)
}

// batchFailure is the failure of a batch: of its events it tells nothing but that the
// connection was lost.
func batchFailure(err error) *Failure {
	f := failureOf(err)
	if f.Class == LinkDown || f.Class == Undecided {
		return f
	}
	return &Failure{Class: Undecided, Reason: f.Reason, Err: err}
}

// load reads the record of a task: a pending one, or, in a replay, a published one. When
// only its body cannot be read, the rest is good all the same.
func (b *Bridge) load(t *schedule.Task) (*record, error) {
	var item journal.Item
	var body []byte
	var err error
	if t.Replay == 0 {
		item, body, err = b.journal.Load(t.Seq)
	} else {
		var p journal.PublishedItem
		if p, err = b.journal.Published(t.Seq); err == nil {
			item = p.Item
			body, err = b.journal.Body(t.Seq)
		}
	}
	if item.Seq == 0 {
		return &record{}, err
	}
	e, headerErr := parseHeader(item.Header)
	if headerErr != nil {
		return &record{item: item}, cmp.Or(err, headerErr)
	}
	e.Seq, e.Body = item.Seq, body
	if t.Replay > 0 {
		e.Replay = t.Replay
	}
	return &record{item, e}, err
}
