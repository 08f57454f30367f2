package schedule

import (
	"fmt"
	"maps"
	"slices"
)

// startedBatch checks what StartBatch returned.
func (m *model) startedBatch(least, most int, batched, alone []*Task) error {
	m.wakeDelayed()
	probed := false
	gatherable := -1
	for _, started := range alone {
		rivals := func(other *modelTask) bool { return other.tried }
		if t := m.of(started); t != nil && !t.tried && !m.subject(t).held {
			if gatherable < 0 {
				gatherable = m.gatherable(most, 0)
			}
			if n, _ := m.inFlight(); n >= max(least, 1) {
				return fmt.Errorf("task %s was started alone though %d are in flight", t.name, n)
			}
			if len(batched) > 0 {
				return fmt.Errorf("task %s was started alone though it could be in the batch", t.name)
			}
			rivals = func(*modelTask) bool { return true }
		}
		probe, err := m.start(started, rivals)
		if err != nil {
			return err
		}
		probed = probed || probe
	}
	if gatherable < 0 {
		gatherable = m.gatherable(most, 0)
	}
	if len(batched) > 0 {
		if err := m.startBatch(max(least, 2), most, batched); err != nil {
			return err
		}
	} else if flying := len(m.inBatches()); gatherable >= max(least, 2) && flying < 2 && !m.bytesBind() {
		return fmt.Errorf("%d tasks could go in a batch, of which %d are in flight, and none was started", gatherable, flying)
	}
	for _, t := range m.readyTasks() {
		n, _ := m.inFlight()
		if m.room() && (t.tried || len(batched) == 0 && n < max(least, 1)) {
			return fmt.Errorf("task %s may go alone, and there is room, and it was not started", t.name)
		}
	}
	return m.probed(probed, len(batched) == 0)
}

// startBatch checks the tasks of a batch.
func (m *model) startBatch(least, most int, batched []*Task) error {
	if len(batched) < least || len(batched) > most {
		return fmt.Errorf("a batch has %d tasks, want %d to %d", len(batched), least, most)
	}
	if flying := len(m.inBatches()); flying >= 2 {
		return fmt.Errorf("a batch was started beside %d others", flying)
	}
	m.batches++
	for _, started := range batched {
		t, err := m.mayStart(started)
		if err != nil {
			return err
		}
		switch {
		case t.tried:
			return fmt.Errorf("task %s is in a batch, and was in flight before", t.name)
		case m.subject(t).held:
			return fmt.Errorf("task %s is in a batch, and its subject is held", t.name)
		case !m.follows(t, m.batches):
			return fmt.Errorf("task %s is in a batch before an earlier one of its keys", t.name)
		}
		for _, other := range m.readyTasks() {
			if !other.tried && (t.ready == 0 || other.ready < t.ready) {
				return fmt.Errorf("task %s is in a batch before task %s, which was ready first", t.name, other.name)
			}
		}
		t.batch = m.batches
		m.fly(t)
	}
	if more := m.gatherable(most-len(batched), m.batches); more > 0 && !m.bytesBind() {
		return fmt.Errorf("%d more tasks could go in a batch of %d", more, len(batched))
	}
	return nil
}

// follows says whether all that was added before t and shares a key with it is in the
// batch of this number.
func (m *model) follows(t *modelTask, batch int) bool {
	return m.behind(t, func(earlier *modelTask) bool { return batch > 0 && earlier.batch == batch })
}

// behind says whether all that was added before t and shares a key with it is of a kind.
func (m *model) behind(t *modelTask, kind func(*modelTask) bool) bool {
	for _, earlier := range m.tasks {
		if earlier == t {
			return true
		}
		if !kind(earlier) && slices.ContainsFunc(t.Keys, func(k uint64) bool { return slices.Contains(earlier.Keys, k) }) {
			return false
		}
	}
	return true
}

// gatherable is how many tasks, up to most, could start in one batch, or be added to the
// one of this number.
func (m *model) gatherable(most, batch int) int {
	flying, _ := m.inFlight()
	gathered := make(map[*modelTask]bool)
	for _, t := range m.tasks {
		may := !t.inFlight && !t.delayed && !t.tried && !m.subject(t).held
		if may && m.behind(t, func(earlier *modelTask) bool { return gathered[earlier] || batch > 0 && earlier.batch == batch }) {
			gathered[t] = true
		}
	}
	return min(len(gathered), most, max(m.window-flying, 0))
}

// bytesBind says that the bytes in flight, and not only their number, may be the limit.
func (m *model) bytesBind() bool { return m.o.WindowBytes < 100_000 }

// inBatches are the names of the tasks in flight of each batch.
func (m *model) inBatches() [][]string {
	batches := make(map[int][]string)
	for _, t := range m.tasks {
		if t.batch > 0 {
			batches[t.batch] = append(batches[t.batch], t.name)
		}
	}
	var all [][]string
	for _, number := range slices.Sorted(maps.Keys(batches)) {
		all = append(all, batches[number])
	}
	return all
}

// names are those of tasks, each after a blank.
func (m *model) names(tasks []*Task) (names string) {
	for _, task := range tasks {
		if t := m.of(task); t != nil {
			names += " " + t.name
		}
	}
	return names
}
