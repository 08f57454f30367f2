package bridge

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/schedule"
)

const (
	// readAhead is how many pending records are read from the journal at a time, and
	// maxReads how often in one turn of the loop.
	readAhead = 2048
	maxReads  = 4
	// maxTasks bounds how far Run looks ahead for events that may overtake those that
	// wait. It is reached only when a quarter of a million events wait behind held
	// subjects or earlier events of their entities; those after them then wait too, and
	// a notice says so.
	maxTasks = 1 << 18
	// maxKeys bounds the same by the ordering keys of the events: a bulk event can have
	// very many.
	maxKeys = 1 << 18
	// maxReadBytes bounds the bodies that wait in memory for their turn; what is beyond
	// is read again then. maxFlightBytes bounds those in flight.
	maxReadBytes   = 32 << 20
	maxFlightBytes = 64 << 20
)

// record is what was read of an event to publish it. It is a task's Record.
type record struct {
	item  journal.Item
	event *Event // with its body; nil when the header could not be read
}

// backlogRead is a read of the journal's store, beside the loop: while a thousand events are
// read, NATS acknowledges a thousand, and has to have the next ones by then. What was
// accepted a moment ago is in memory, and read by the loop itself.
type backlogRead struct {
	from, next uint64
	tasks      []*schedule.Task
	err        error
}

// readPending reads on in the journal until there is enough to keep the window full.
func (l *loop) readPending() error {
	for n := 0; l.schedule.Room() && l.reading == nil; n++ {
		if n == maxReads { // results and commands have their turn
			l.b.nudge()
			break
		}
		items, next, ok := l.b.journal.PendingInMemory(l.cursor, readAhead)
		if ok && next == l.cursor {
			break
		}
		r := &backlogRead{from: l.cursor, next: next}
		switch {
		case ok:
			r.tasks, r.err = tasksOf(items, l.keys)
		case l.cursor < l.known: // events of this part may be in flight: it has to be read as of now
			r.read(l.b.journal, l.keys)
		default:
			l.readBeside(r)
			continue
		}
		if err := l.addBacklog(r); err != nil {
			return err
		}
	}
	l.noteCrowded()
	return nil
}

// readBeside reads beside the loop from where nothing is a task yet, so that none of what
// it finds can change before it is added.
func (l *loop) readBeside(r *backlogRead) {
	l.reading = r
	l.asking.Go(func() {
		r.read(l.b.journal, l.keys)
		select {
		case l.reads <- r:
		case <-l.ask.Done():
		}
	})
}

// backlogIsRead takes what was read, unless the loop has gone back meanwhile.
func (l *loop) backlogIsRead(r *backlogRead) error {
	if r != l.reading {
		return nil
	}
	l.reading = nil
	return l.addBacklog(r)
}

func (l *loop) addBacklog(r *backlogRead) error {
	if r.err != nil {
		return r.err
	}
	for _, t := range r.tasks {
		l.schedule.Add(t)
	}
	l.cursor = r.next
	l.known = max(l.known, l.cursor)
	return nil
}

// goBack has the journal read again from a sequence on, where something is pending again. A
// read that is under way may have missed it.
func (l *loop) goBack(to uint64) { l.cursor, l.reading = min(l.cursor, to), nil }

func (r *backlogRead) read(j *journal.Journal, keys orderingKeys) {
	var items []journal.PendingItem
	if items, r.next, r.err = j.Pending(r.from, readAhead); r.err == nil {
		r.tasks, r.err = tasksOf(items, keys)
	}
}

func tasksOf(items []journal.PendingItem, keys orderingKeys) ([]*schedule.Task, error) {
	tasks := make([]*schedule.Task, len(items))
	for i, item := range items {
		e, err := parseHeader(item.Header)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", item.Seq, err)
		}
		t := &schedule.Task{Seq: item.Seq, Size: e.Size, Subject: schedule.Subject{Source: e.Source, Type: e.Type}, Keys: keys.of(e)}
		if item.Body != nil {
			e.Seq, e.Body = item.Seq, item.Body
			t.Record = &record{item.Item, e}
		}
		tasks[i] = t
	}
	return tasks, nil
}

// noteCrowded says when there may be events that could go and are not looked at,
// because so many wait before them; and when that is over.
func (l *loop) noteCrowded() {
	switch {
	case !l.crowded && l.schedule.Crowded():
		l.crowded = true
		const text = "too many events wait for held subjects or for earlier events of their entities, so that all later events wait, too: repair what is held"
		l.b.notices.set("ahead", text)
		l.b.o.Log.Warn(text, zap.Int("waiting", l.schedule.Tasks()), zap.Int("entities", l.schedule.Keys()))
	case l.crowded && l.schedule.Relaxed():
		l.crowded = false
		l.b.notices.clear("ahead")
		l.b.o.Log.Info("events behind those that wait are looked at again")
	}
}
