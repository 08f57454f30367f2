package schedule

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// model says what a Scheduler has to do, without saying how: a list of tasks and a
// list of subjects, asked anew at every step.
type model struct {
	o        Options
	now      time.Time
	step     int
	tasks    []*modelTask // that have not ended, in the order in which they were added
	window   int          // of tasks in flight
	subjects map[Subject]*modelSubject
	// nextProbe is when, in a window of one, others have had their share.
	nextProbe time.Time
	batches   int // that there ever were
}

type modelTask struct {
	*Task
	name      string
	size      int
	inFlight  bool
	delayed   bool
	due       time.Time
	waits     int
	retries   int
	attempts  int
	cancelled bool
	requeued  bool
	tried     bool // it has been in flight
	batch     int  // the number of the batch with which it is in flight, or 0
	// ready is the step since which it may go, 0 while it may not.
	ready int
}

type modelSubject struct {
	held   bool
	since  time.Time
	reason string
	due    time.Time
	waits  int
	probe  *modelTask
	probed time.Time
}

func newModel(o Options, now time.Time) *model {
	return &model{o: o, now: now, window: o.Window, subjects: make(map[Subject]*modelSubject)}
}

// wait is the n-th wait that the simulation's backoff gives, from 1.
func wait(n int) time.Duration { return 10 * time.Millisecond << min(n, 8) }

type simBackoff struct{ n int }

func (b *simBackoff) NextBackOff() time.Duration {
	b.n++
	return wait(b.n)
}

func (m *model) find(name string) *modelTask {
	for _, t := range m.tasks {
		if t.name == name {
			return t
		}
	}
	return nil
}

func (m *model) subject(t *modelTask) *modelSubject {
	s := m.subjects[t.Subject]
	if s == nil {
		s = new(modelSubject)
		m.subjects[t.Subject] = s
	}
	return s
}

// first says whether no task that was added before t shares a key with it.
func (m *model) first(t *modelTask) bool {
	for _, earlier := range m.tasks {
		if earlier == t {
			return true
		}
		for _, k := range t.Keys {
			if slices.Contains(earlier.Keys, k) {
				return false
			}
		}
	}
	return true
}

// stands says whether t waits for nothing but its subject and the window.
func (m *model) stands(t *modelTask) bool { return !t.inFlight && !t.delayed && m.first(t) }

// refresh notes which tasks may go as of this step.
func (m *model) refresh() {
	for _, t := range m.tasks {
		switch may := m.stands(t) && !m.subject(t).held; {
		case may && t.ready == 0:
			t.ready = m.step
		case !may:
			t.ready = 0
		}
	}
}

func (m *model) inFlight() (n, size int) {
	for _, t := range m.tasks {
		if t.inFlight {
			n, size = n+1, size+t.size
		}
	}
	return n, size
}

func (m *model) room() bool {
	n, size := m.inFlight()
	return n < m.window && (n == 0 || size < m.o.WindowBytes)
}

func (m *model) readyTasks() (tasks []*modelTask) {
	for _, t := range m.tasks {
		if t.ready > 0 {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// probes are the held subjects for which a probe could start, due or not.
func (m *model) probes() (subjects []*modelSubject) {
	for _, s := range m.subjects {
		if s.held && s.probe == nil && slices.ContainsFunc(m.tasks, func(t *modelTask) bool { return m.subject(t) == s && m.stands(t) }) {
			subjects = append(subjects, s)
		}
	}
	return subjects
}

func (m *model) end(t *modelTask) {
	i := slices.Index(m.tasks, t)
	m.tasks = slices.Delete(m.tasks, i, i+1)
	if !slices.ContainsFunc(m.tasks, func(other *modelTask) bool { return other.Subject == t.Subject }) {
		delete(m.subjects, t.Subject)
	}
}

func (m *model) wakeDelayed() {
	for _, t := range m.tasks {
		if t.delayed && !t.due.After(m.now) {
			t.delayed = false
		}
	}
	m.refresh()
}

// started checks what Start returned.
func (m *model) started(tasks []*Task) error {
	m.wakeDelayed()
	probed := false
	for _, started := range tasks {
		probe, err := m.start(started, func(*modelTask) bool { return true })
		if err != nil {
			return err
		}
		probed = probed || probe
	}
	if waiting := m.readyTasks(); m.room() && len(waiting) > 0 {
		return fmt.Errorf("task %s may go, and there is room, and it was not started", waiting[0].name)
	}
	return m.probed(probed, true)
}

// start checks a task that starts alone. rivals are those that are started in turn with it.
func (m *model) start(started *Task, rivals func(*modelTask) bool) (probe bool, err error) {
	t, err := m.mayStart(started)
	if err != nil {
		return false, err
	}
	s := m.subject(t)
	if !m.first(t) {
		return false, fmt.Errorf("task %s was started before an earlier one of its keys has ended", t.name)
	}
	if s.held {
		if s.probe != nil {
			return false, fmt.Errorf("task %s was started beside another probe of its held subject", t.name)
		}
		if s.due.After(m.now) {
			return false, fmt.Errorf("task %s was started as a probe %v too early", t.name, s.due.Sub(m.now))
		}
		if m.o.Window == 1 && m.now.Before(m.nextProbe) && len(m.readyTasks()) > 0 {
			return false, fmt.Errorf("task %s was started as a probe again before others had their share of the window", t.name)
		}
		s.probe, s.probed, probe = t, m.now, true
	} else if !t.requeued {
		for _, other := range m.readyTasks() {
			if rivals(other) && (other.ready < t.ready || other.requeued) {
				return false, fmt.Errorf("task %s was started before task %s, which was ready first", t.name, other.name)
			}
		}
	}
	m.fly(t)
	return probe, nil
}

// mayStart checks what holds for every task that is started.
func (m *model) mayStart(started *Task) (*modelTask, error) {
	t := m.of(started)
	if t == nil {
		return nil, fmt.Errorf("task %d was started and is not known, or has ended", started.Seq)
	}
	switch {
	case t.inFlight:
		return nil, fmt.Errorf("task %s was started twice", t.name)
	case t.delayed:
		return nil, fmt.Errorf("task %s was started %v too early", t.name, t.due.Sub(m.now))
	case !m.room():
		return nil, fmt.Errorf("task %s was started though the window is full", t.name)
	case t.attempts != t.Attempts:
		return nil, fmt.Errorf("task %s has %d attempts, want %d", t.name, t.Attempts, t.attempts)
	}
	return t, nil
}

func (m *model) fly(t *modelTask) {
	t.inFlight, t.requeued, t.tried = true, false, true
	m.refresh()
}

// probed checks after a start, in which there were probes or not, which probes there are,
// and whether all are that have to be.
func (m *model) probed(probed, all bool) error {
	waiting := m.readyTasks()
	probing := m.probing()
	if probed && probing > 1 && len(waiting) > 0 {
		return fmt.Errorf("%d probes are in flight while task %s could go", probing, waiting[0].name)
	}
	if !m.room() || !all {
		return nil
	}
	for _, s := range m.probes() {
		if !s.due.After(m.now) && (len(waiting) == 0 || probing == 0 && m.o.Window > 1) {
			return errors.New("a held subject has a task that may probe, and there is room, and it was not started")
		}
	}
	return nil
}

func (m *model) of(task *Task) *modelTask {
	for _, t := range m.tasks {
		if t.Task == task {
			return t
		}
	}
	return nil
}

// probing is how many probes of held subjects are in flight.
func (m *model) probing() (n int) {
	for _, s := range m.subjects {
		if s.held && s.probe != nil {
			n++
		}
	}
	return n
}

// deadline is when Start has something to do, given that it has just been called.
func (m *model) deadline() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, t := range m.tasks {
		if t.delayed {
			sooner(t.due)
		}
	}
	if m.room() && (m.probing() == 0 || len(m.readyTasks()) == 0) {
		for _, s := range m.probes() {
			sooner(s.due)
		}
	}
	return next
}

// landed takes t out of flight.
func (m *model) landed(t *modelTask) {
	t.inFlight, t.batch = false, 0
	if s := m.subject(t); s.probe == t {
		s.probe = nil
		m.nextProbe = m.now.Add(4 * m.now.Sub(s.probed))
		if s.due.Before(m.now) {
			s.due = m.now
		}
	}
}

func (m *model) hold(t *modelTask, reason string) {
	s := m.subject(t)
	switch {
	case !s.held:
		*s = modelSubject{held: true, since: m.now, due: m.now.Add(wait(1)), waits: 1}
		for _, other := range m.tasks {
			if other.Subject == t.Subject { // it goes with its subject from here on
				other.requeued = false
			}
		}
	case !s.due.After(m.now):
		s.waits++
		s.due = m.now.Add(wait(s.waits))
	}
	s.reason = reason
}

// delay says whether t goes on, as Hold, Retry and Requeue have to.
func (m *model) delay(t *modelTask) (again bool) {
	if t.cancelled {
		m.end(t)
		return false
	}
	t.waits++
	t.delayed, t.due = true, m.now.Add(wait(t.waits))
	return true
}

func (m *model) held(before time.Time) (list []Held) {
	for of, s := range m.subjects {
		if s.held && !s.since.After(before) {
			n := 0
			for _, t := range m.tasks {
				if t.Subject == of {
					n++
				}
			}
			list = append(list, Held{Subject: of, Reason: s.reason, Since: s.since, Tasks: n})
		}
	}
	slices.SortFunc(list, func(a, b Held) int { return slices.Compare([]string{a.Source, a.Type}, []string{b.Source, b.Type}) })
	return list
}
