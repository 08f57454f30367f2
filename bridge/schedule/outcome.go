package schedule

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"time"
)

// A task in flight ends its attempt by exactly one of the five methods here. They
// panic for a task that is not in flight: to go on would break the order, and the
// journal knows after a restart what has to be sent.

// Done ends a task that is stored. It releases the task's subject.
func (s *Scheduler) Done(t *Task, now time.Time) {
	s.land(t, now)
	t.Attempts++
	s.release(t.subject)
	s.end(t)
}

// Drop ends a task that will never be stored: the tasks behind it go on.
func (s *Scheduler) Drop(t *Task, now time.Time) {
	s.land(t, now)
	t.Attempts++
	s.end(t)
}

// Hold tries a task again after its own wait, and holds its subject until a task of
// it is stored; the subject's probes have a wait of their own. It is false when the task's replay was cancelled: then it has ended.
func (s *Scheduler) Hold(t *Task, reason string, now time.Time) (again bool) {
	s.land(t, now)
	t.Attempts++
	s.hold(t.subject, reason, now)
	return s.delay(t, now)
}

// Retry tries a task again after its own wait. It is false when the attempts of the
// task are used up, or its replay was cancelled: then it has ended.
func (s *Scheduler) Retry(t *Task, now time.Time) (again bool) {
	s.land(t, now)
	t.Attempts++
	if t.retries++; t.retries >= s.o.MaxAttempts {
		s.end(t)
		return false
	}
	return s.delay(t, now)
}

// Requeue makes a task ready again, or held with its subject, whose attempt says nothing
// of it: the connection was lost, or its batch is not decided. It goes before those that have not been in flight. It is false when the
// task's replay was cancelled: then it has ended.
func (s *Scheduler) Requeue(t *Task, now time.Time) (again bool) {
	s.land(t, now)
	if t.cancelled {
		s.end(t)
		return false
	}
	switch {
	case t.blocked > 0: // one before it was in the same batch, and has not ended
		t.state = waiting
		return true
	case t.subject.held:
		s.offer(t)
		return true
	}
	t.state = ready
	i, _ := slices.BinarySearchFunc(s.again, t, func(a, b *Task) int { return cmp.Compare(a.Seq, b.Seq) })
	s.again = slices.Insert(s.again, i, t)
	return true
}

// land takes a task out of flight.
func (s *Scheduler) land(t *Task, now time.Time) {
	if t.state != inFlight {
		panic(fmt.Sprintf("schedule: task %d ends and is not in flight", t.Seq))
	}
	s.inFlight--
	s.flightBytes -= t.Size
	t.Record = nil
	if b := t.batch; b != nil {
		t.batch = nil
		if b.inFlight--; b.inFlight == 0 {
			s.batches--
		}
	}
	if h := t.subject; h.probe == t {
		h.probe = nil
		s.probing--
		s.nextProbe = now.Add(4 * now.Sub(h.probed))
		if h.due.Before(now) { // other subjects have waited longer from here on
			h.due = now
		}
	}
}

func (s *Scheduler) delay(t *Task, now time.Time) (again bool) {
	if t.cancelled {
		s.end(t)
		return false
	}
	if t.blocked > 0 {
		panic(fmt.Sprintf("schedule: task %d of a batch is delayed behind another", t.Seq))
	}
	if t.wait == nil {
		t.wait = s.o.Backoff()
	}
	t.state, t.due = delayedUntil, now.Add(t.wait.NextBackOff())
	heap.Push(&s.delayed, t)
	return true
}

// end forgets a task, and makes way for those that waited for it.
func (s *Scheduler) end(t *Task) {
	t.state = ended
	delete(s.known(t), t.Seq)
	s.order.leave(t, s.offer)
	if h := t.subject; h.tasks == 1 { // a subject goes with its last task
		s.forget(h)
	} else {
		h.tasks--
	}
}
