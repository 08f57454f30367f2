package schedule_test

import (
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/schedule"
)

type everyMinute struct{}

func (everyMinute) NextBackOff() time.Duration { return time.Minute }

// What a refusal keeps from going: the events of its subject, and those of other subjects
// that stand behind them.
func TestStuck(t *testing.T) {
	s := schedule.New(schedule.Options{Window: 10, WindowBytes: 1000, MaxTasks: 100, MaxKeys: 100, RecordBytes: 1000, MaxAttempts: 3,
		Backoff: func() schedule.Backoff { return everyMinute{} }})
	created, closed := schedule.Subject{Source: "persat", Type: "workorder.created"}, schedule.Subject{Source: "persat", Type: "workorder.closed"}
	seq := uint64(0)
	add := func(of schedule.Subject, key uint64, replay int) {
		seq++
		s.Add(&schedule.Task{Seq: seq, Replay: replay, Subject: of, Keys: []uint64{key}})
	}
	for key := range uint64(3) {
		add(created, key, 0)
		add(closed, key, 0)
		add(closed, key, 0)
	}
	add(created, 3, 1) // of a replay: it is not pending
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	started := s.Start(now)
	if len(started) != 4 {
		t.Fatalf("started %d tasks, want one of each key", len(started))
	}
	if held, behind := s.Stuck(); held != 0 || behind != 0 || s.HeldSubjects() != 0 {
		t.Errorf("before a refusal: got %d held, %d behind", held, behind)
	}
	first := started[0]
	s.Hold(first, "the stream is full", now)
	if held, behind := s.Stuck(); held != 3 || behind != 6 || s.HeldSubjects() != 1 {
		t.Errorf("got %d held and %d behind of %d subjects, want 3, 6 and 1", held, behind, s.HeldSubjects())
	}
	if got, want := s.NextAttempt(created), now.Add(time.Minute); !got.Equal(want) {
		t.Errorf("next attempt: got %v, want %v", got, want)
	}
	if got := s.NextAttempt(closed); !got.IsZero() {
		t.Errorf("next attempt of a subject that is not held: got %v, want none", got)
	}
	now = now.Add(time.Minute)
	probes := s.Start(now)
	if got := s.NextAttempt(created); len(probes) != 1 || !got.IsZero() {
		t.Errorf("with %d probes in flight: got %v, want none", len(probes), got)
	}
	s.Done(probes[0], now)
	if held, behind := s.Stuck(); held != 0 || behind != 0 {
		t.Errorf("after one was stored: got %d held, %d behind", held, behind)
	}
}

// A backlog has the events of one entity close together: those that wait for the first keep
// what was read of them, as far as there is room, so that nothing is read twice.
func TestRecordsThatWait(t *testing.T) {
	s := schedule.New(schedule.Options{Window: 10, WindowBytes: 1000, MaxTasks: 100, MaxKeys: 100, RecordBytes: 1000, MaxAttempts: 3,
		Backoff: func() schedule.Backoff { return everyMinute{} }})
	var tasks []*schedule.Task
	for i, key := range []uint64{1, 1, 1, 1, 2, 3} {
		task := &schedule.Task{Seq: uint64(i + 1), Size: 200, Keys: []uint64{key}, Record: "read"}
		s.Add(task)
		tasks = append(tasks, task)
	}
	for i, want := range []any{"read", "read", nil, nil, "read", "read"} {
		if got := tasks[i].Record; got != want {
			t.Errorf("task %d: got the record %v, want %v", i+1, got, want)
		}
	}
}

// A backlog of work orders with five events each, which lie close together: what was read of
// them is still there when they go, so that no event is read twice.
func TestBacklogIsReadOnce(t *testing.T) {
	const (
		window, readAhead  = 1024, 2048 // as in package bridge
		size               = 2048
		entities, inARow   = 64, 5
		backlog, answering = 100_000, 64
	)
	s := schedule.New(schedule.Options{Window: window, WindowBytes: 64 << 20, MaxTasks: 1 << 18, MaxKeys: 1 << 18, RecordBytes: 32 << 20, MaxAttempts: 3,
		Backoff: func() schedule.Backoff { return everyMinute{} }})
	now := time.Unix(0, 0)
	added, started, twice := 0, 0, 0
	var flying []*schedule.Task
	for started < backlog {
		for s.Room() && added < backlog {
			for range readAhead {
				key := added/(entities*inARow)*entities + added%entities
				s.Add(&schedule.Task{Seq: uint64(added + 1), Size: size, Keys: []uint64{uint64(key)}, Record: "read"})
				added++
			}
		}
		for _, task := range s.Start(now) {
			if started++; task.Record == nil {
				twice++
			}
			flying = append(flying, task)
		}
		answered := flying[:min(len(flying), answering)]
		for _, task := range answered {
			s.Done(task, now)
		}
		flying = flying[len(answered):]
	}
	if twice > 0 {
		t.Errorf("%d of %d events were read twice", twice, started)
	}
}
