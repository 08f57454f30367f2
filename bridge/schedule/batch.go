package schedule

import (
	"slices"
	"time"
)

// maxBatches is how many batches may be in flight: one is on its way while the server
// stores the other.
const maxBatches = 2

// batch is what the tasks have in common that were started as one.
type batch struct{ inFlight int }

// StartBatch is Start for a stream that takes atomic batches. It returns up to most tasks
// to be sent as one batch, in this order, and the tasks to be sent alone beside it: the
// probes of held subjects, and those that were in flight before. One of these may be
// stored, and one that is stored refuses a whole batch.
//
// A batch may have several tasks of an ordering key, all that stand before them included.
// There is none of less than least tasks, nor while two are in flight. Then tasks go
// alone, as long as less than least are in flight; the others gather for the next batch.
//
// Each task of a batch ends by Done or Requeue. The slices are valid until the next call.
func (s *Scheduler) StartBatch(now time.Time, least, most int) (batched, alone []*Task) {
	s.begin(now)
	s.probe(now)
	s.startAgain()
	if gathered := s.gather(most); len(gathered) >= max(least, 2) {
		s.startTogether(gathered)
		return gathered, s.started // more probes are for the next call
	}
	for s.inFlight < max(least, 1) && s.room() && s.readyCount() > 0 {
		s.start(s.next())
	}
	s.probe(now)
	return nil, s.started
}

// startAgain starts the ready tasks that were in flight before.
func (s *Scheduler) startAgain() {
	for s.room() && len(s.again) > 0 {
		s.start(pop(&s.again))
	}
	s.ready = slices.DeleteFunc(s.ready, func(t *Task) bool {
		if !t.tried || !s.room() {
			return false
		}
		s.start(t)
		return true
	})
}

// gather returns the tasks of the next batch: the ready ones in their turn, and then those
// that wait for nothing but tasks of the batch. It changes nothing.
func (s *Scheduler) gather(most int) []*Task {
	clear(s.gathered)
	s.gathered = s.gathered[:0]
	clear(s.behind)
	if s.batches >= maxBatches {
		return nil
	}
	most = min(most, s.window-s.inFlight)
	size := s.flightBytes
	take := func(t *Task) (taken bool) {
		first := s.inFlight+len(s.gathered) == 0
		if len(s.gathered) >= most || !first && size >= s.o.WindowBytes {
			return false
		}
		s.gathered = append(s.gathered, t)
		size += t.Size
		for _, k := range t.Keys {
			s.behind[k]++
		}
		return true
	}
	for _, t := range s.ready {
		if !take(t) {
			return s.gathered
		}
	}
	for i := 0; i < len(s.gathered); i++ {
		for _, k := range s.gathered[i].Keys {
			if t := s.order.at(k, s.behind[k]); t != nil && s.follows(t) && !take(t) {
				return s.gathered
			}
		}
	}
	return s.gathered
}

// follows says whether a task waits for nothing but tasks that were gathered. Then it has
// not been in flight, as none of them has.
func (s *Scheduler) follows(t *Task) bool {
	return t.state == waiting && !t.subject.held &&
		!slices.ContainsFunc(t.Keys, func(k uint64) bool { return s.order.at(k, s.behind[k]) != t })
}

// startTogether starts a batch.
func (s *Scheduler) startTogether(tasks []*Task) {
	b := new(batch)
	for _, t := range tasks {
		t.batch = b
		b.inFlight++
		s.fly(t)
	}
	s.batches++
	s.ready = slices.DeleteFunc(s.ready, func(t *Task) bool { return t.state == inFlight })
}
