package bridge

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// afterRestart is a loop over a journal with so many pending records, none of which is in
// memory any more.
func afterRestart(t *testing.T, records int) *loop {
	t.Helper()
	fs := vfs.NewMem()
	open := func() *journal.Journal {
		j, err := journal.Open(journal.Options{Dir: "journal", FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := open()
	all := make([]journal.Record, records)
	for i := range all {
		e := &Event{Source: "persat", ID: fmt.Sprint(i), Type: "workorder.created", Accepted: time.Now()}
		all[i] = journal.Record{Header: appendHeader(nil, e), Body: []byte("{}")}
	}
	if _, err := j.AppendAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open()
	t.Cleanup(func() { j.Close() })
	b, err := New(Options{Journal: j, Publisher: noPublisher{}})
	if err != nil {
		t.Fatal(err)
	}
	l := newLoop(b)
	l.ask = t.Context()
	return l
}

func (l *loop) mustReadPending(t *testing.T) {
	t.Helper()
	if err := l.readPending(); err != nil {
		t.Fatal(err)
	}
}

func (l *loop) mustTake(t *testing.T, r *backlogRead) {
	t.Helper()
	if err := l.backlogIsRead(r); err != nil {
		t.Fatal(err)
	}
}

// A dead letter is pending again while the part of the journal in which it stands is read:
// the read has missed it, and must not be where the next one begins.
func TestReplayedDeadLetterIsNotMissedByARead(t *testing.T) {
	l := afterRestart(t, 3)
	item, _, err := l.b.journal.Load(2)
	if err == nil {
		err = l.b.journal.MarkDead(item, journal.Death{At: time.Now(), Reason: "too large"})
	}
	if err != nil {
		t.Fatal(err)
	}
	l.mustReadPending(t)
	r := <-l.reads
	if len(r.tasks) != 2 {
		t.Fatalf("the read has %d tasks, want 2", len(r.tasks))
	}
	if err := l.b.journal.Requeue([]journal.Item{item}); err != nil {
		t.Fatal(err)
	}
	if err := (requeued{from: 2}).obey(l); err != nil {
		t.Fatal(err)
	}
	l.mustTake(t, r)
	for l.mustReadPending(t); l.reading != nil; l.mustReadPending(t) {
		l.mustTake(t, <-l.reads)
	}
	if n := l.schedule.Tasks(); n != 3 {
		t.Errorf("%d of 3 pending events are tasks", n)
	}
}

// Everything is read anew while a read from the beginning is under way: what is pending again
// was not when that began.
func TestResetDropsARead(t *testing.T) {
	l := afterRestart(t, 3)
	l.mustReadPending(t)
	before := <-l.reads
	if err := l.reset(); err != nil {
		t.Fatal(err)
	}
	l.mustReadPending(t)
	l.mustTake(t, before)
	if n := l.schedule.Tasks(); n != 0 {
		t.Errorf("%d tasks are of a read from before the reset", n)
	}
	l.mustTake(t, <-l.reads)
	if n := l.schedule.Tasks(); n != 3 {
		t.Errorf("%d of 3 pending events are tasks", n)
	}
}

// What may be in flight is not read beside the loop: it would be a task again, with the state
// that it had before its acknowledgement came.
func TestTasksAreReadAgainAtOnce(t *testing.T) {
	l := afterRestart(t, 3)
	for l.mustReadPending(t); l.reading != nil; l.mustReadPending(t) {
		l.mustTake(t, <-l.reads)
	}
	if n := l.schedule.Tasks(); n != 3 {
		t.Fatalf("got %d tasks, want 3", n)
	}
	if err := (requeued{from: 2}).obey(l); err != nil {
		t.Fatal(err)
	}
	if l.mustReadPending(t); l.reading != nil {
		t.Error("events that are tasks are read beside the loop")
	}
	if l.cursor != 4 {
		t.Errorf("the next read is from record %d, want 4", l.cursor)
	}
}

// Two events are pending again and a replay has a newer one of their entity: it waits until
// they have been read.
func TestReplayWaitsForTheBacklog(t *testing.T) {
	l := afterRestart(t, 3)
	item, _, err := l.b.journal.Load(3)
	if err == nil {
		_, err = l.b.journal.MarkPublished([]journal.Mark{{Item: item, StreamSeq: 7, At: time.Now()}})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := (startReplay{number: 1, matched: 1, answer: make(chan error, 1)}).obey(l); err != nil {
		t.Fatal(err)
	}
	for l.mustReadPending(t); ; l.mustReadPending(t) {
		if err := l.readReplay(); err != nil {
			t.Fatal(err)
		}
		if l.reading == nil {
			break
		}
		l.mustTake(t, <-l.reads)
	}
	if l.schedule.Replayed() != 1 {
		t.Fatal("the replay was not read")
	}
	for _, task := range l.schedule.Start(time.Now()) {
		if task.Replay > 0 {
			t.Errorf("record %d is replayed before record 1 of its entity is published", task.Seq)
		}
	}
}
