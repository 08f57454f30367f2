package bridge

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
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

type noPublisher struct{ Publisher }
