package schedule

import (
	"testing"
	"time"
)

// A task that ends twice must not take another one out of its queue: the caller hears
// of its mistake before anything has changed.
func TestTaskThatIsNotInFlightCannotEnd(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := New(Options{Window: 1, WindowBytes: 100, MaxTasks: 10, MaxKeys: 10, MaxAttempts: 1, Backoff: func() Backoff { return new(simBackoff) }})
	first, second := &Task{Seq: 1, Keys: []uint64{7}}, &Task{Seq: 2, Keys: []uint64{7}}
	s.Add(first)
	s.Add(second)
	s.Start(now)
	s.Done(first, now)
	for name, end := range map[string]func(){
		"done twice":        func() { s.Done(first, now) },
		"dropped, not sent": func() { s.Drop(second, now) },
		"not in its queue":  func() { s.order.leave(first, s.offer) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it does not panic", name)
				}
			}()
			end()
		}()
	}
	if started := s.Start(now); len(started) != 1 || started[0] != second || s.Tasks() != 1 {
		t.Errorf("%d tasks were started, %d are known: the second task is not what it was", len(started), s.Tasks())
	}
}
