package schedule

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A script is a schedule that can be read, written down and run again, one step a
// line:
//
//	options window=2 bytes=1000 tasks=100 keys=100 records=500 attempts=3
//	add 1 keys=1,2 subject=a size=100    a pending event; 'record': with its record read
//	add r1 keys=1 subject=a size=100     the same event in a replay
//	start → 1 r1                         what has to start; without an arrow, nothing is expected
//	batch 2-8 → 2 3 | r1                 of 2 to 8 tasks, and those that start alone
//	done 1                               or drop, retry, requeue, hold: how its attempt ends
//	advance 20ms
//	deadline → 20ms                      from now; 'none' for never
//	resume                               a new session
//	cancel                               the replay
//	reset
//	window 2                             of tasks in flight, from here on
//
// Every step is checked against the model. A step that makes no sense, because
// another was taken out of the script, is passed over.
type step struct {
	verb string
	task string // its name: the sequence, after an r for a replay's
	keys []uint64
	// size, subject and record are of a task that is added, wait is of advance.
	size    int
	subject string
	record  bool
	wait    time.Duration
	want    *string // what stands behind the arrow
}

func (p step) String() string {
	text := p.verb
	if p.task != "" {
		text += " " + p.task
	}
	switch p.verb {
	case "add":
		keys := make([]string, len(p.keys))
		for i, k := range p.keys {
			keys[i] = strconv.FormatUint(k, 10)
		}
		text += fmt.Sprintf(" keys=%s subject=%s size=%d", strings.Join(keys, ","), p.subject, p.size)
		if p.record {
			text += " record"
		}
	case "advance":
		text += " " + p.wait.String()
	}
	return text
}

// parseScript reads a script. Comments begin with #.
func parseScript(text string) (Options, []step, error) {
	o := Options{Window: 4, WindowBytes: 1000, MaxTasks: 1000, MaxKeys: 1000, RecordBytes: 1000, MaxAttempts: 3}
	var steps []step
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line, want, expects := strings.Cut(strings.TrimSpace(line), "→")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		p := step{verb: words[0]}
		if expects {
			want = strings.TrimSpace(want)
			p.want = &want
		}
		for _, word := range words[1:] {
			key, value, isPair := strings.Cut(word, "=")
			n, err := strconv.Atoi(value)
			switch {
			case key == "keys" && p.verb == "add":
				err = nil
				for k := range strings.SplitSeq(value, ",") {
					n, bad := strconv.ParseUint(k, 10, 64)
					if bad != nil {
						err = bad
					}
					p.keys = append(p.keys, n)
				}
			case key == "subject":
				p.subject, err = value, nil
			case key == "size":
				p.size = n
			case key == "record":
				p.record, err = true, nil
			case isPair && p.verb == "options":
				limit := map[string]*int{"window": &o.Window, "bytes": &o.WindowBytes, "tasks": &o.MaxTasks, "keys": &o.MaxKeys, "records": &o.RecordBytes, "attempts": &o.MaxAttempts}[key]
				if limit == nil {
					return o, nil, fmt.Errorf("%q: there is no option %s", line, key)
				}
				*limit = n
			case p.verb == "advance":
				p.wait, err = time.ParseDuration(word)
			default:
				p.task, err = word, nil
			}
			if err != nil {
				return o, nil, fmt.Errorf("%q: %w", line, err)
			}
		}
		if p.verb != "options" {
			steps = append(steps, p)
		}
	}
	return o, steps, nil
}

func formatScript(o Options, steps []step) string {
	text := fmt.Sprintf("options window=%d bytes=%d tasks=%d keys=%d records=%d attempts=%d\n", o.Window, o.WindowBytes, o.MaxTasks, o.MaxKeys, o.RecordBytes, o.MaxAttempts)
	for _, p := range steps {
		text += p.String() + "\n"
	}
	return text
}

// run is a Scheduler and its model, side by side.
type run struct {
	s *Scheduler
	m *model
}

func newRun(o Options) *run {
	o.Backoff = func() Backoff { return new(simBackoff) }
	return &run{s: New(o), m: newModel(o, time.Unix(1_000_000, 0))}
}

// do takes one step and checks everything that has to hold after it.
func (r *run) do(p step) (err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("%v: panic: %v", p, e)
		}
	}()
	r.m.step++
	got := ""
	if got, err = r.take(p); err == nil && p.want != nil && got != *p.want {
		err = fmt.Errorf("got %q, want %q", got, *p.want)
	}
	if err == nil {
		r.m.refresh()
		err = r.check()
	}
	if err != nil {
		return fmt.Errorf("%v: %w", p, err)
	}
	return nil
}

func (r *run) take(p step) (got string, err error) {
	s, m := r.s, r.m
	t := m.find(p.task)
	switch p.verb {
	case "add":
		return "", r.add(p)
	case "start":
		tasks := s.Start(m.now)
		names := m.names(tasks)
		if err := m.started(tasks); err != nil {
			return "", err
		}
		return strings.TrimSpace(names), r.sameDeadline()
	case "batch":
		var least, most int
		if _, err := fmt.Sscanf(p.task, "%d-%d", &least, &most); err != nil {
			return "", err
		}
		batched, alone := s.StartBatch(m.now, least, most)
		got := strings.TrimSpace(m.names(batched) + " |" + m.names(alone))
		if err := m.startedBatch(least, most, batched, alone); err != nil {
			return "", err
		}
		return got, r.sameDeadline()
	case "advance":
		m.now = m.now.Add(p.wait)
	case "window":
		n, err := strconv.Atoi(p.task)
		if err != nil {
			return "", err
		}
		s.SetWindow(n)
		m.window = min(max(n, 1), m.o.Window)
	case "deadline":
		if d := s.Deadline(); !d.IsZero() {
			return d.Sub(m.now).String(), nil
		}
		return "none", nil
	case "resume":
		s.Resume(m.now)
		for _, t := range m.tasks {
			if t.delayed {
				t.due = m.now
			}
		}
		for _, sub := range m.subjects {
			if sub.held {
				sub.due, sub.waits = m.now, 0
			}
		}
	case "cancel":
		var want []*modelTask
		for _, t := range m.tasks {
			if t.Replay > 0 && !t.inFlight {
				want = append(want, t)
			} else if t.Replay > 0 {
				t.cancelled = true
			}
		}
		for _, t := range want {
			m.end(t)
		}
		return "", sameTasks(s.Cancel(), want)
	case "reset":
		if n, _ := m.inFlight(); n > 0 {
			return "", nil
		}
		var want []*modelTask
		for _, t := range m.tasks {
			if t.Replay > 0 {
				want = append(want, t)
			}
		}
		m.tasks, m.subjects, m.nextProbe = nil, make(map[Subject]*modelSubject), time.Time{}
		return "", sameTasks(s.Reset(), want)
	case "done", "drop", "hold", "retry", "requeue":
		if t == nil || !t.inFlight {
			return "", nil
		}
		if !m.first(t) && (p.verb == "hold" || p.verb == "retry") { // a batch does not end so
			return "", nil
		}
		return "", r.land(p.verb, t)
	default:
		return "", fmt.Errorf("there is no step %q", p.verb)
	}
	return "", nil
}

func (r *run) sameDeadline() error {
	if got, want := r.s.Deadline(), r.m.deadline(); !got.Equal(want) {
		return fmt.Errorf("the deadline is %v from now, want %v", got.Sub(r.m.now), want.Sub(r.m.now))
	}
	return nil
}

func (r *run) add(p step) error {
	replay := 0
	number, replayed := strings.CutPrefix(p.task, "r")
	if replayed {
		replay = 1
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return err
	}
	task := &Task{Seq: seq, Replay: replay, Size: p.size, Subject: Subject{Source: "s", Type: p.subject}, Keys: p.keys}
	if p.record {
		task.Record = p.task
	}
	known := r.m.find(p.task) != nil
	if r.s.Add(task) == known {
		return fmt.Errorf("added: %v, and it was known: %v", !known, known)
	}
	if !known {
		r.m.tasks = append(r.m.tasks, &modelTask{Task: task, name: p.task, size: p.size})
		r.m.subject(r.m.tasks[len(r.m.tasks)-1])
	}
	return nil
}

// land ends an attempt in both, and compares whether the task goes on.
func (r *run) land(verb string, t *modelTask) error {
	s, m := r.s, r.m
	m.landed(t)
	if verb != "requeue" {
		t.attempts++
	}
	got, want := false, false
	switch verb {
	case "done":
		s.Done(t.Task, m.now)
		if sub := m.subject(t); sub.held {
			*sub = modelSubject{}
		}
		m.end(t)
	case "drop":
		s.Drop(t.Task, m.now)
		m.end(t)
	case "hold":
		got = s.Hold(t.Task, "full", m.now)
		m.hold(t, "full")
		want = m.delay(t)
	case "retry":
		got = s.Retry(t.Task, m.now)
		if t.retries++; t.retries >= m.o.MaxAttempts {
			m.end(t)
		} else {
			want = m.delay(t)
		}
	case "requeue":
		got = s.Requeue(t.Task, m.now)
		if want = !t.cancelled; !want {
			m.end(t)
		} else if !m.subject(t).held && m.first(t) {
			t.requeued = true
		}
	}
	if got != want {
		return fmt.Errorf("goes on: %v, want %v", got, want)
	}
	return nil
}

// check compares all that can be seen, and the books that the Scheduler keeps.
func (r *run) check() error {
	s, m := r.s, r.m
	n, _ := m.inFlight()
	pending, keys, replayed := 0, 0, 0
	for _, t := range m.tasks {
		keys += len(t.Keys)
		if t.Replay > 0 {
			replayed++
		} else {
			pending++
		}
	}
	movable := 0
	for _, t := range m.tasks {
		if !t.inFlight && !t.delayed && !(m.subject(t).held && m.first(t)) {
			movable++
		}
	}
	if s.Movable() != movable {
		return fmt.Errorf("%d tasks could go, want %d", s.Movable(), movable)
	}
	if s.batches != len(m.inBatches()) {
		return fmt.Errorf("%d batches are in flight, want %d", s.batches, len(m.inBatches()))
	}
	if s.Tasks() != pending || s.Replayed() != replayed || s.Keys() != keys || s.InFlight() != n {
		return fmt.Errorf("there are %d tasks, %d replayed, %d keys, %d in flight; want %d, %d, %d, %d", s.Tasks(), s.Replayed(), s.Keys(), s.InFlight(), pending, replayed, keys, n)
	}
	going := len(m.readyTasks())
	few, limit := going < m.o.Window, pending >= m.o.MaxTasks || keys >= m.o.MaxKeys
	room := few && !limit
	if s.recordBytes >= m.o.RecordBytes/4 { // counted below
		room = room && going < max(m.o.Window/2, 1)
	}
	if s.Crowded() != (few && limit) || s.Room() != room || s.ReplayRoom() != (replayed < max(m.o.Window/4, 1)) {
		return fmt.Errorf("crowded %v, room %v, replay room %v, with %d ready, %d tasks, %d keys, %d of a replay", s.Crowded(), s.Room(), s.ReplayRoom(), going, pending, keys, replayed)
	}
	wants := going > 0
	for _, t := range m.tasks {
		wants = wants || t.delayed && !t.due.After(m.now)
	}
	for _, sub := range m.probes() {
		wants = wants || !sub.due.After(m.now)
	}
	if s.Wants(m.now) != wants {
		return fmt.Errorf("it wants to start something: %v, want %v", s.Wants(m.now), wants)
	}
	for _, before := range []time.Time{m.now, m.now.Add(-50 * time.Millisecond)} {
		if got, want := s.Held(before), m.held(before); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("held are %v, want %v", got, want)
		}
	}
	records, behind := 0, 0
	for _, t := range m.tasks {
		if t.Record == nil || t.inFlight {
			continue
		}
		switch t.state {
		case ready:
		case waiting:
			behind += t.size
		default:
			return fmt.Errorf("task %s holds its record although it may wait long", t.name)
		}
		records += t.size
	}
	if behind > m.o.RecordBytes/2 {
		return fmt.Errorf("tasks that wait for others hold records of %d bytes, of %d for all", behind, m.o.RecordBytes)
	}
	if records != s.recordBytes || records > m.o.RecordBytes {
		return fmt.Errorf("records of %d bytes are held, %d are counted, the limit is %d", records, s.recordBytes, m.o.RecordBytes)
	}
	return nil
}

// finish lets every attempt succeed: all tasks have to end, in a bounded number of
// steps, and nothing of them may be left.
func (r *run) finish() error {
	for n := 2*len(r.m.tasks) + 2; len(r.m.tasks) > 0; n-- {
		if n == 0 {
			return fmt.Errorf("%d tasks do not end, task %s is the first", len(r.m.tasks), r.m.tasks[0].name)
		}
		if err := r.do(step{verb: "start"}); err != nil {
			return err
		}
		flying := r.flying()
		for _, name := range flying {
			if err := r.do(step{verb: "done", task: name}); err != nil {
				return err
			}
		}
		if d := r.s.Deadline(); len(flying) == 0 && d.After(r.m.now) {
			if err := r.do(step{verb: "advance", wait: d.Sub(r.m.now)}); err != nil {
				return err
			}
		}
	}
	s := r.s
	if left := len(s.subjects) + len(s.held) + len(s.order.queues) + len(s.delayed) + s.readyCount() + s.flightBytes + s.recordBytes + s.probing + s.batches; left > 0 {
		return fmt.Errorf("all tasks have ended, and the scheduler is not empty: %+v", s)
	}
	return nil
}

// flying are the names of the tasks in flight.
func (r *run) flying() (names []string) {
	for _, t := range r.m.tasks {
		if t.inFlight {
			names = append(names, t.name)
		}
	}
	return names
}

func sameTasks(got []*Task, want []*modelTask) error {
	slices.SortFunc(want, func(a, b *modelTask) int { return int(a.Seq) - int(b.Seq) })
	if !slices.EqualFunc(got, want, func(g *Task, w *modelTask) bool { return g == w.Task }) {
		return fmt.Errorf("got %d tasks, want %d, by their sequence", len(got), len(want))
	}
	return nil
}

// runScript takes all steps and lets the rest finish.
func runScript(o Options, steps []step) error {
	r := newRun(o)
	for i, p := range steps {
		if err := r.do(p); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if err := r.finish(); err != nil {
		return fmt.Errorf("at the end, when every attempt succeeds: %w", err)
	}
	return nil
}
