// Package schedule decides which event may be sent next. It keeps four promises:
//
//   - Order: tasks that share an ordering key start in the order in which they were
//     added, never two at a time but in one batch, which is stored as a whole; all others
//     overtake each other freely.
//   - Isolation: a task that cannot go holds back its own ordering keys, and a held
//     subject holds back its own tasks, and nothing else, up to MaxTasks and MaxKeys.
//   - Limits: no more tasks, and no more bytes, are in flight than the window allows.
//   - Progress: whatever may go is started in turn, as soon as there is room for it.
//
// # A task's life
//
//	Add ──▶ waiting ──▶ ready ──Start──▶ in flight ──Done, Drop──▶ ended
//	                    ▲ ▲ │               │ ▲
//	                    │ └─┼── Requeue ────┤ │
//	                    └───┼── delayed ◀───┘ │  Hold, Retry
//	                        ▼                 │
//	                       held ────probe─────┘
//
// From waiting, delayed and by Requeue a task comes to ready or, while its subject is held,
// to held; a release makes all held tasks of the subject ready.
//
// A task waits while an earlier one of any of its keys has not ended. It is held
// while its subject is held: then one task of the subject at a time is started as a
// probe, and the first that is stored releases the subject. One probe must do,
// because whatever holds a subject (a full stream, a denied permission) holds all of
// its tasks, and a thousand attempts that time out would fill the window.
// For the same reason one subject probes at a time while tasks of other subjects can go.
// The waits between probes are those of Options.Backoff, counted for the subject.
//
// Start starts tasks to be sent alone, StartBatch a batch of them (batch.go).
//
// # Why it is pure
//
// A Scheduler has no goroutine, lock, clock, log or I/O: its caller passes the time
// and carries out what Start returns. So its states can be enumerated by a test and
// not only waited for. The simulation (simulation_test.go) runs random tasks,
// outcomes, times, sessions, replays and cancels against a model that is too simple
// to be wrong, checks every promise after every step, and shrinks a schedule that
// breaks one to a script of a few lines (testdata). The mutations
// (testdata/mutations.txt) prove that it can fail: each takes one rule away, and the
// simulation has to notice.
package schedule

import (
	"container/heap"
	"fmt"
	"slices"
	"time"
)

// Options are the limits of a Scheduler. All are required.
type Options struct {
	// Window bounds the tasks in flight. WindowBytes bounds their sizes: no task is
	// started while those in flight have so many; the first one always goes.
	Window, WindowBytes int
	// MaxTasks and MaxKeys bound the tasks that are known, and their keys together.
	// Room is false when they are reached.
	MaxTasks, MaxKeys int
	// RecordBytes bounds the records that tasks hold before they are in flight. Those that
	// wait for others of their keys have half of it at most.
	RecordBytes int
	// MaxAttempts is the number of the Retry that ends a task.
	MaxAttempts int
	// Backoff makes the waits of one task or of one held subject.
	Backoff func() Backoff
}

// Backoff gives one wait after the other. It never ends.
type Backoff interface{ NextBackOff() time.Duration }

// Scheduler holds the tasks that have not ended. It is not safe for concurrent use.
type Scheduler struct {
	o Options

	pending  map[uint64]*Task // by sequence
	replayed map[uint64]*Task // those of a replay
	order    keyQueues
	subjects map[Subject]*subject
	held     []*subject

	again   []*Task // ready, and before those in ready: they were in flight already
	ready   []*Task
	delayed delayed

	window                int // of tasks in flight, up to Options.Window
	inFlight, flightBytes int
	recordBytes           int
	probing               int       // held subjects that have a probe in flight
	nextProbe             time.Time // in a window of one, when others have had their share
	batches               int       // in flight
	started               []*Task

	// gathered is what gather returned, and behind how many of the tasks of a key are in it.
	gathered []*Task
	behind   map[uint64]int
}

// New returns an empty Scheduler.
func New(o Options) *Scheduler {
	s := &Scheduler{o: o, window: o.Window, behind: make(map[uint64]int)}
	s.clear()
	return s
}

func (s *Scheduler) clear() {
	s.pending, s.replayed = make(map[uint64]*Task), make(map[uint64]*Task)
	s.order = keyQueues{queues: make(map[uint64][]*Task)}
	s.subjects, s.held = make(map[Subject]*subject), nil
	s.again, s.ready, s.delayed, s.recordBytes = nil, nil, nil, 0
	s.probing, s.nextProbe = 0, time.Time{}
}

// Add takes a task. It returns false, and takes nothing, when the task is known
// already: then it has not ended.
func (s *Scheduler) Add(t *Task) bool {
	known := s.known(t)
	if known[t.Seq] != nil {
		return false
	}
	known[t.Seq] = t
	t.state = waiting
	t.subject = s.subject(t.Subject)
	t.subject.tasks++
	if t.Record != nil {
		s.recordBytes += t.Size
	}
	if s.recordBytes > s.o.RecordBytes {
		s.dropRecord(t)
	}
	if s.order.join(t) {
		s.offer(t)
	} else if s.recordBytes > s.o.RecordBytes/2 { // the rest is for tasks that are ready
		s.dropRecord(t)
	}
	return true
}

func (s *Scheduler) known(t *Task) map[uint64]*Task {
	if t.Replay > 0 {
		return s.replayed
	}
	return s.pending
}

// dropRecord lets go of the record of a task that may have to wait long.
func (s *Scheduler) dropRecord(t *Task) {
	if t.Record != nil {
		t.Record = nil
		s.recordBytes -= t.Size
	}
}

// Room says whether more tasks are welcome: there are fewer ready ones than the window
// holds, and the limits are not reached. Once a quarter of RecordBytes is taken, half as many
// are enough: the end of a task makes the next of its key ready, and the records of tasks that
// are added much earlier than they can go are dropped, and read again.
func (s *Scheduler) Room() bool {
	enough := s.o.Window
	if s.recordBytes >= s.o.RecordBytes/4 {
		enough = max(enough/2, 1)
	}
	return s.readyCount() < enough && !s.atLimit()
}

// Crowded says that more tasks would be welcome if MaxTasks or MaxKeys were not
// reached: tasks that could go may stand behind those that wait.
func (s *Scheduler) Crowded() bool { return s.readyCount() < s.o.Window && s.atLimit() }

func (s *Scheduler) atLimit() bool {
	return len(s.pending) >= s.o.MaxTasks || s.order.keys >= s.o.MaxKeys
}

// Relaxed says that half of each limit is free.
func (s *Scheduler) Relaxed() bool {
	return len(s.pending) < s.o.MaxTasks/2 && s.order.keys < s.o.MaxKeys/2
}

// ReplayRoom says whether a replay may add another task. All of its tasks together
// have a quarter of the window, so that new events do not queue behind them.
func (s *Scheduler) ReplayRoom() bool { return len(s.replayed) < max(s.o.Window/4, 1) }

// Tasks is the number of tasks of pending events, Replayed that of the replay's, Keys
// that of the keys of all of them, InFlight that of the started ones.
func (s *Scheduler) Tasks() int    { return len(s.pending) }
func (s *Scheduler) Replayed() int { return len(s.replayed) }
func (s *Scheduler) Keys() int     { return s.order.keys }
func (s *Scheduler) InFlight() int { return s.inFlight }

// Movable is how many tasks could go, as far as their subjects are concerned, if there were
// room for them and those before them had ended.
func (s *Scheduler) Movable() int {
	n := len(s.pending) + len(s.replayed) - s.inFlight - len(s.delayed)
	for _, h := range s.held {
		n -= len(h.queue)
	}
	return n
}

func (s *Scheduler) readyCount() int { return len(s.again) + len(s.ready) }

// Wants says whether Start would start something, provided there is room.
func (s *Scheduler) Wants(now time.Time) bool {
	return s.readyCount() > 0 || len(s.delayed) > 0 && !s.delayed[0].due.After(now) ||
		slices.ContainsFunc(s.held, func(h *subject) bool { return h.waits() && !h.due.After(now) })
}

// SetWindow lets no more than n tasks be in flight from here on, and not more than
// Options.Window. Those that are in flight stay there.
func (s *Scheduler) SetWindow(n int) { s.window = min(max(n, 1), s.o.Window) }

// Start returns the tasks to be sent now. They are in flight from here on, and each
// ends by one of Done, Hold, Retry, Requeue and Drop. The slice is valid until the
// next call.
func (s *Scheduler) Start(now time.Time) []*Task {
	s.begin(now)
	s.probe(now)
	for s.room() && s.readyCount() > 0 {
		s.start(s.next())
	}
	s.probe(now)
	return s.started
}

// begin is the beginning of each Start: what was delayed long enough may go.
func (s *Scheduler) begin(now time.Time) {
	clear(s.started)
	s.started = s.started[:0]
	for len(s.delayed) > 0 && !s.delayed[0].due.After(now) {
		s.offer(heap.Pop(&s.delayed).(*Task))
	}
}

// Deadline is when Start may find something to do though nothing has happened; zero
// for never.
func (s *Scheduler) Deadline() time.Time {
	var next time.Time
	if len(s.delayed) > 0 {
		next = s.delayed[0].due
	}
	// Without room a probe has no place either, and while others could go one probe must do:
	// the end of a task changes that.
	if !s.room() || s.probesEnough() {
		return next
	}
	for _, h := range s.held {
		if h.waits() && (next.IsZero() || h.due.Before(next)) {
			next = h.due
		}
	}
	return next
}

// room says whether another task may be in flight.
func (s *Scheduler) room() bool {
	return s.inFlight < s.window && (s.inFlight == 0 || s.flightBytes < s.o.WindowBytes)
}

// next takes the first of the ready tasks.
func (s *Scheduler) next() *Task {
	if len(s.again) > 0 {
		return pop(&s.again)
	}
	return pop(&s.ready)
}

func (s *Scheduler) start(t *Task) {
	s.fly(t)
	s.started = append(s.started, t)
}

// fly puts a task in flight.
func (s *Scheduler) fly(t *Task) {
	t.state, t.tried = inFlight, true
	s.inFlight++
	s.flightBytes += t.Size
	if t.Record != nil { // the caller's from here on
		s.recordBytes -= t.Size
	}
}

// offer makes a task ready that waits for no other, or holds it with its subject.
func (s *Scheduler) offer(t *Task) {
	if t.subject.held {
		s.dropRecord(t)
		t.state = held
		t.subject.queue = append(t.subject.queue, t)
		return
	}
	t.state = ready
	s.ready = append(s.ready, t)
}

// Resume is for the beginning of a session: whatever kept tasks and subjects from
// going may be over, so all of them may be tried at once.
func (s *Scheduler) Resume(now time.Time) {
	for _, t := range s.delayed {
		t.due = now
	}
	for _, h := range s.held {
		h.due, h.wait = now, s.o.Backoff()
	}
}

// Cancel ends the tasks of the replay that are not in flight, and returns them by
// their sequence. Those in flight are the last: none of them is tried again.
func (s *Scheduler) Cancel() []*Task {
	var cancelled []*Task
	for _, t := range s.replayed {
		if t.state == inFlight {
			t.cancelled = true
			continue
		}
		s.dropRecord(t)
		t.state = ended // before any of them makes way for the next
		cancelled = append(cancelled, t)
	}
	gone := func(t *Task) bool { return t.state == ended }
	s.again, s.ready = slices.DeleteFunc(s.again, gone), slices.DeleteFunc(s.ready, gone)
	s.delayed = slices.DeleteFunc(s.delayed, gone)
	heap.Init(&s.delayed)
	for _, h := range s.held {
		h.queue = slices.DeleteFunc(h.queue, gone)
	}
	sortTasks(cancelled)
	for _, t := range cancelled {
		s.end(t)
	}
	return cancelled
}

// Reset forgets every task, and returns those of the replay by their sequence. No
// task may be in flight.
func (s *Scheduler) Reset() []*Task {
	if s.inFlight > 0 {
		panic(fmt.Sprintf("schedule: Reset with %d tasks in flight", s.inFlight))
	}
	var replayed []*Task
	for _, t := range s.replayed {
		replayed = append(replayed, t)
	}
	sortTasks(replayed)
	s.clear()
	return replayed
}
