package bridge

import (
	"cmp"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/schedule"
)

// sender begins attempts, in a goroutine of its own: reading a record waits for the
// disk, and a connection that is slow makes its writers wait. Attempts come to it in
// lists, and their results go back through one channel.
type sender struct {
	b       *Bridge
	lists   chan []attempt
	free    chan []attempt // lists to be filled again
	results chan result
	// gathered is the loop's.
	gathered []result
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
	t       *schedule.Task
	floor   uint64
	began   time.Time
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
	return &sender{b: b, lists: make(chan []attempt, n), free: make(chan []attempt, n), results: make(chan result, n)}
}

// send hands over tasks that the scheduler has started.
func (s *sender) send(tasks []*schedule.Task, through Session, floor uint64, now time.Time) {
	if len(tasks) == 0 {
		return
	}
	var list []attempt
	select {
	case list = <-s.free:
	default:
	}
	for _, t := range tasks {
		list = append(list, attempt{t, through, floor, now})
	}
	s.lists <- list
}

func (s *sender) close() { close(s.lists) }

// run begins attempts until close.
func (s *sender) run() {
	for list := range s.lists {
		for _, a := range list {
			s.begin(a)
		}
		clear(list)
		select {
		case s.free <- list[:0]:
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
