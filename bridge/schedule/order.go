package schedule

import (
	"fmt"
	"slices"
)

// keyQueues keep the tasks of an ordering key in the order in which they were added:
// one queue for each key that has tasks, and only the first of a queue may go.
type keyQueues struct {
	queues map[uint64][]*Task
	keys   int // of all tasks
}

// join puts t at the end of the queues of its keys, and says whether it is the first
// in all of them.
func (q *keyQueues) join(t *Task) bool {
	q.keys += len(t.Keys)
	for _, k := range t.Keys {
		queue := q.queues[k]
		if len(queue) > 0 {
			t.blocked++
		}
		q.queues[k] = append(queue, t)
	}
	return t.blocked == 0
}

// at is the task at a place in the queue of a key, or nil.
func (q *keyQueues) at(key uint64, place int) *Task {
	if queue := q.queues[key]; place < len(queue) {
		return queue[place]
	}
	return nil
}

// leave takes t out of its queues and calls free for each task that is now the first
// in all of its own. Only a cancelled task, or one of a batch, leaves from
// behind the first; those behind it still wait for the first.
func (q *keyQueues) leave(t *Task, free func(*Task)) {
	q.keys -= len(t.Keys)
	for _, k := range t.Keys {
		queue := q.queues[k]
		i := slices.Index(queue, t)
		switch {
		case i < 0:
			panic(fmt.Sprintf("schedule: task %d is not in the queue of its key", t.Seq))
		case i > 0:
			q.queues[k] = slices.Delete(queue, i, i+1)
			continue
		case len(queue) == 1:
			delete(q.queues, k)
			continue
		}
		pop(&queue)
		q.queues[k] = queue
		next := queue[0]
		if next.blocked--; next.blocked == 0 && next.state == waiting { // not one that is cancelled, or in flight, too
			free(next)
		}
	}
}
