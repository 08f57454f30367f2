package bridge

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge/schedule"
)

// TestHeldIsTwoLines: a stream that is full holds every type of event. That is one
// thing to repair, so it is one line, and one when it has ended.
func TestHeldIsTwoLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		b := &Bridge{o: Options{Log: zap.New(core), MaxInFlight: 200, Backoff: Backoff{Initial: time.Hour, Max: time.Hour, Multiplier: 1}}}
		l := newLoop(b)
		lines := func(want int) []observer.LoggedEntry {
			t.Helper()
			got := logs.TakeAll()
			if len(got) != want {
				t.Errorf("got %d lines, want %d: %v", len(got), want, got)
			}
			return got
		}
		held := func() int { return b.view.Load().heldEvents("persat") }
		for i := range uint64(120) { // ten events of each of twelve types
			l.schedule.Add(&schedule.Task{Seq: i + 1, Subject: schedule.Subject{Source: "persat", Type: fmt.Sprint(i % 12)}, Keys: []uint64{i}})
		}
		first := make(map[string]*schedule.Task)
		var others []*schedule.Task
		for _, task := range l.schedule.Start(time.Now()) {
			if first[task.Subject.Type] == nil {
				first[task.Subject.Type] = task
			} else {
				others = append(others, task)
			}
		}
		for _, task := range first {
			l.schedule.Hold(task, "the stream is full", time.Now())
		}
		time.Sleep(showHeldAfter - time.Second)
		l.showHeld()
		lines(0)
		if n := held(); n != 0 {
			t.Errorf("held after 29 seconds: got %d, want none", n)
		}
		time.Sleep(time.Second)
		l.showHeld()
		l.showHeld()
		lines(1)
		if n := held(); n != 120 {
			t.Errorf("held: got %d, want 120", n)
		}
		for i, reason := range []string{"no permission", "the stream is full"} {
			l.schedule.Hold(others[i*12], reason, time.Now()) // both of one type
			l.showHeld()
			lines(1 - i)
		}
		for i, task := range others {
			if i%12 != 0 || i > 12 {
				l.schedule.Done(task, time.Now())
			}
		}
		l.showHeld()
		l.showHeld()
		if end := lines(1); len(end) == 1 && (end[0].ContextMap()["events"] != int64(120) || end[0].ContextMap()["held"].(time.Duration) < showHeldAfter) {
			t.Errorf("the last line says %v, want how long and how many", end[0].ContextMap())
		}
		if n := held(); n != 0 {
			t.Errorf("held afterwards: got %d, want none", n)
		}
	})
}

// The last event of a held subject becomes a dead letter (its probe was rejected, or it
// spent its attempts): nothing waits, and nothing is held.
func TestSubjectGoesWithItsLastTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Bridge{o: Options{Log: zap.NewNop(), MaxInFlight: 1, Backoff: Backoff{Initial: time.Second, Max: time.Second, Multiplier: 1}}}
		l := newLoop(b)
		task := &schedule.Task{Seq: 1, Subject: schedule.Subject{Source: "persat", Type: "a"}, Keys: []uint64{1}}
		l.schedule.Add(task)
		l.schedule.Start(time.Now())
		l.schedule.Hold(task, "the stream is full", time.Now())
		time.Sleep(time.Hour)
		if started := l.schedule.Start(time.Now()); len(started) != 1 {
			t.Fatalf("%d probes were started, want 1", len(started))
		}
		l.showHeld()
		if l.episode == nil {
			t.Fatal("nothing is held after an hour")
		}
		l.schedule.Drop(task, time.Now())
		l.showHeld()
		if held := b.view.Load().held; len(held) != 0 || l.episode != nil {
			t.Errorf("held are %+v, the episode is %+v: status shows a held subject with 0 waiting for ever", held, l.episode)
		}
	})
}
