package bridge

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/schedule"
)

// A replay that matches little went through 200,000 records in one turn of the loop.
// Meanwhile no acknowledgement was marked and no command answered.
func TestReplayTakesTurns(t *testing.T) {
	j, err := journal.Open(journal.Options{Dir: "journal", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	const records = 3 * replayReads
	all, marks := make([]journal.Record, records), make([]journal.Mark, records)
	for i := range all {
		e := &Event{Source: "persat", ID: fmt.Sprint(i), Type: "workorder.created", Accepted: time.Now()}
		all[i] = journal.Record{Header: appendHeader(nil, e), Body: []byte("{}")}
	}
	if _, err := j.AppendAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for i := range marks {
		item, _, err := j.Load(uint64(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		marks[i] = journal.Mark{Item: item, StreamSeq: item.Seq, At: time.Now()}
	}
	if _, err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Journal: j, Publisher: noPublisher{}})
	if err != nil {
		t.Fatal(err)
	}
	l := newLoop(b)
	c := startReplay{filter: Filter{State: journal.Published, Entity: "none"}, number: 1, answer: make(chan error, 1)}
	if err := c.obey(l); err != nil {
		t.Fatal(err)
	}
	turns := 0
	for ; l.replay != nil; turns++ {
		before := l.replay.cursor
		if err := l.readReplay(); err != nil {
			t.Fatal(err)
		}
		if r := l.replay; r != nil && r.cursor > max(before, 1)+replayReads {
			t.Errorf("turn %d went from record %d to %d, want %d records at most", turns, before, r.cursor, replayReads)
		}
	}
	if turns < 3 {
		t.Errorf("the replay went through %d records in %d turns", records, turns)
	}
}

// A replay that fills a stream went in a batch in which one event had lost its body, and was
// cancelled: the ids of all events of the batch were forgotten, so that a repeat by the
// sender would have been stored again.
func TestCancelledBatchForgetsNoIDs(t *testing.T) {
	j, err := journal.Open(journal.Options{Dir: "journal", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	b, err := New(Options{Journal: j, Publisher: noPublisher{}})
	if err != nil {
		t.Fatal(err)
	}
	l := newLoop(b)
	l.replay = &replay{Replay: Replay{Number: 1, Running: true}, fills: true}
	now := time.Now()
	for seq := range uint64(2) {
		l.schedule.Add(&schedule.Task{Seq: seq + 1, Replay: 1, Keys: []uint64{seq}})
	}
	tasks, _ := l.schedule.StartBatch(now, 2, 2)
	if len(tasks) != 2 {
		t.Fatalf("got a batch of %d, want 2", len(tasks))
	}
	var results []result
	for _, task := range tasks {
		results = append(results, result{t: task, inBatch: true, item: journal.Item{Seq: task.Seq, Key: "k"},
			failure: batchFailure(&Failure{Class: Undecided, Reason: "a record of the batch cannot be read", Err: journal.ErrNotFound})})
	}
	l.schedule.Cancel()
	if d := l.decide(slices.Clone(results), now); len(d.forget) != 0 || len(d.dead) != 0 {
		t.Errorf("got %d ids forgotten and %d dead letters, want none", len(d.forget), len(d.dead))
	}
	for i := range results {
		l.replay.count(&results[i])
	}
	if l.replay.Skipped != 2 || l.replay.gone != 0 {
		t.Errorf("got %d skipped and %d gone, want 2 and 0", l.replay.Skipped, l.replay.gone)
	}
}

type noPublisher struct{ Publisher }
