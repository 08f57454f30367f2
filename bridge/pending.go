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

// readPending reads on in the journal until there is enough to keep the window full.
func (l *loop) readPending() error {
	for n := 0; l.schedule.Room(); n++ {
		if n == maxReads { // results and commands have their turn
			l.b.nudge()
			break
		}
		items, next, err := l.b.journal.Pending(l.cursor, readAhead)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := l.addPending(item); err != nil {
				return err
			}
		}
		if next == l.cursor {
			break
		}
		l.cursor = next
	}
	l.noteCrowded()
	return nil
}

func (l *loop) addPending(item journal.PendingItem) error {
	e, err := parseHeader(item.Header)
	if err != nil {
		return fmt.Errorf("record %d: %w", item.Seq, err)
	}
	t := &schedule.Task{Seq: item.Seq, Size: e.Size, Subject: schedule.Subject{Source: e.Source, Type: e.Type}, Keys: l.keys.of(e)}
	if item.Body != nil {
		e.Seq, e.Body = item.Seq, item.Body
		t.Record = &record{item.Item, e}
	}
	l.schedule.Add(t)
	return nil
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
