package schedule

import (
	"slices"
	"strings"
	"time"
)

// Subject is what a held event shares with the others that cannot go either: the
// source and the event type, of which the NATS subject is made.
type Subject struct{ Source, Type string }

// subject is the state of a Subject that has tasks.
type subject struct {
	Subject
	tasks  int
	held   bool
	since  time.Time
	reason string
	wait   Backoff
	due    time.Time // when the next probe may start
	probe  *Task     // in flight
	probed time.Time // when it started
	queue  []*Task
}

func (s *Scheduler) subject(of Subject) *subject {
	h := s.subjects[of]
	if h == nil {
		h = &subject{Subject: of}
		s.subjects[of] = h
	}
	return h
}

// waits says whether a probe could start, once it is due.
func (h *subject) waits() bool { return h.probe == nil && len(h.queue) > 0 }

// hold holds a subject, or, when its probe was due, makes the next one wait longer.
func (s *Scheduler) hold(h *subject, reason string, now time.Time) {
	switch {
	case !h.held:
		s.held = append(s.held, h)
		h.held, h.since, h.wait = true, now, s.o.Backoff()
		h.due = now.Add(h.wait.NextBackOff())
		s.again, s.ready = s.withhold(h, s.again), s.withhold(h, s.ready)
	case !h.due.After(now):
		h.due = now.Add(h.wait.NextBackOff())
	}
	h.reason = reason
}

// withhold moves the tasks of a subject from a list of ready ones into its queue.
func (s *Scheduler) withhold(h *subject, list []*Task) []*Task {
	return slices.DeleteFunc(list, func(t *Task) bool {
		if t.subject != h {
			return false
		}
		s.offer(t)
		return true
	})
}

// release makes the tasks of a held subject ready.
func (s *Scheduler) release(h *subject) {
	if !h.held {
		return
	}
	h.held, h.reason = false, ""
	for _, t := range h.queue {
		t.state = ready
	}
	s.ready = append(s.ready, h.queue...)
	h.queue = nil
	s.unlist(h)
}

// forget drops a subject that has no task any more.
func (s *Scheduler) forget(h *subject) {
	delete(s.subjects, h.Subject)
	if h.held {
		s.unlist(h)
	}
}

func (s *Scheduler) unlist(h *subject) {
	i := slices.Index(s.held, h)
	s.held = slices.Delete(s.held, i, i+1)
	if h.probe != nil { // it was released by an attempt that began before
		h.probe = nil
		s.probing--
	}
}

// probe starts one task of each held subject that is due, the longest due first. A
// probe may last until its attempt times out. While others can go, one probe at a
// time must do, or the probes of many held subjects fill the window; and of a window
// of one, probes may have a fifth of the time.
func (s *Scheduler) probe(now time.Time) {
	if len(s.held) == 0 || s.o.Window == 1 && s.readyCount() > 0 && now.Before(s.nextProbe) {
		return
	}
	slices.SortStableFunc(s.held, func(a, b *subject) int { return a.due.Compare(b.due) })
	for _, h := range s.held {
		if h.due.After(now) || !s.room() || s.probesEnough() {
			return
		}
		if h.waits() {
			h.probe, h.probed = pop(&h.queue), now
			s.probing++
			s.start(h.probe)
		}
	}
}

// probesEnough says that no other probe may start, because tasks could go that need none.
func (s *Scheduler) probesEnough() bool { return s.readyCount() > 0 && s.probing > 0 }

// Held is a subject that is held.
type Held struct {
	Subject
	Reason string
	Since  time.Time
	Tasks  int
}

// Held returns the subjects whose hold began at the given time or earlier, sorted.
func (s *Scheduler) Held(before time.Time) []Held {
	var list []Held
	for _, h := range s.held {
		if !h.since.After(before) {
			list = append(list, Held{Subject: h.Subject, Reason: h.reason, Since: h.since, Tasks: h.tasks})
		}
	}
	slices.SortFunc(list, func(a, b Held) int {
		return strings.Compare(a.Source+" "+a.Type, b.Source+" "+b.Type)
	})
	return list
}

// HeldSubjects is the number of subjects that are held.
func (s *Scheduler) HeldSubjects() int { return len(s.held) }

// NextAttempt is when a task of a held subject may be started next; zero while one is in
// flight, and for a subject that is not held.
func (s *Scheduler) NextAttempt(of Subject) time.Time {
	h := s.subjects[of]
	if h == nil || !h.held || h.probe != nil {
		return time.Time{}
	}
	if len(h.queue) > 0 {
		return h.due
	}
	var first time.Time
	for _, t := range s.delayed {
		if t.subject == h && (first.IsZero() || t.due.Before(first)) {
			first = t.due
		}
	}
	if first.Before(h.due) && !first.IsZero() {
		return h.due
	}
	return first
}

// Stuck counts the tasks of pending events that a held subject keeps from going: those of
// the subjects that are held, and those of others that stand behind them, for they share
// an ordering key. It goes through all tasks.
func (s *Scheduler) Stuck() (held, behind int) {
	if len(s.held) == 0 {
		return 0, 0
	}
	for _, t := range s.pending {
		switch {
		case t.subject.held:
			held++
		case t.state == waiting:
			behind++
		}
	}
	return held, behind
}
