package schedule

import (
	"cmp"
	"slices"
	"time"
)

// Task is an event to be sent. The scheduler keeps it from Add until it has ended.
// While it waits it holds no record, so that a hundred thousand of them, behind a
// held subject, stay small.
type Task struct {
	// Seq is the event's sequence in the journal. Pending events and those of a replay
	// are told apart by Replay, the number of the replay, which is 0 for none.
	Seq    uint64
	Replay int
	// Size is that of the body, in bytes.
	Size    int
	Subject Subject
	// Keys are the ordering keys, each once.
	Keys []uint64
	// Record is what the caller has read of the event, or nil. The scheduler lets go of
	// it when the task has to wait; after Start it is the caller's.
	Record any
	// Attempts counts the attempts that said something of the event.
	Attempts int

	state     state
	subject   *subject
	blocked   int    // keys in whose queues another task stands before it
	tried     bool   // it has been in flight
	batch     *batch // with which it is in flight; nil for none
	cancelled bool
	retries   int
	wait      Backoff
	due       time.Time // while it is delayed
}

// Cancelled says that the task's replay was cancelled while the task was in flight.
func (t *Task) Cancelled() bool { return t.cancelled }

// state is where a task is.
type state int

const (
	waiting      state = iota // for an earlier task of one of its keys
	ready                     // to be started
	held                      // with its subject
	delayedUntil              // its due time
	inFlight
	ended
)

func sortTasks(tasks []*Task) {
	slices.SortFunc(tasks, func(a, b *Task) int { return cmp.Compare(a.Seq, b.Seq) })
}

// pop takes the first task of a queue that is not empty.
func pop(queue *[]*Task) *Task {
	t := (*queue)[0]
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return t
}

// delayed is a heap of tasks by the time they are due.
type delayed []*Task

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delayed) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *delayed) Push(x any)        { *d = append(*d, x.(*Task)) }
func (d *delayed) Pop() any {
	old := *d
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return t
}
