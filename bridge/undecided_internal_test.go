package bridge

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A stream stores events in another order than the journal, when those of an entity wait for
// each other. What it lacks was then noted record by record, and a hundred thousand of them
// kept the loop busy for many seconds.
func TestUndecidedRecordsAreNotedAsRanges(t *testing.T) {
	var u undecided
	const records = 100_000
	order := rand.Perm(records)
	for _, record := range order {
		u.add(uint64(record + 1))
	}
	if u.Events != records || len(u.Records) != 1 || !u.has(1) || !u.has(records) || u.has(records+1) || u.has(0) {
		t.Errorf("got %d events in %d ranges, want %d in 1", u.Events, len(u.Records), records)
	}
}

// The bodies of all that the stream lacks were read once a minute, and by the loop: ten
// seconds for three hundred thousand. It is enough to find where those begin that are kept.
func TestUndecidedRecordsWithBodies(t *testing.T) {
	const records, gone = 5 * bodiesInARow, 3*bodiesInARow + 7
	j, err := journal.Open(journal.Options{Dir: "journal", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	all, marks := make([]journal.Record, records), make([]journal.Mark, records)
	for i := range all {
		e := &Event{Source: "persat", ID: fmt.Sprint(i), Type: "workorder.created", Accepted: time.Now()}
		all[i] = journal.Record{Header: appendHeader(nil, e), Body: []byte("{}")}
	}
	if _, err := j.AppendAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	var u undecided
	for i := range marks {
		item, _, err := j.Load(uint64(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		marks[i] = journal.Mark{Item: item, StreamSeq: item.Seq, At: time.Now()}
		u.add(item.Seq)
	}
	if _, err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
	if n, _, err := j.DropPublished(2 * gone); err != nil || n != gone {
		t.Fatalf("dropped %d bodies, want %d: %v", n, gone, err)
	}
	b, err := New(Options{Journal: j, Publisher: noPublisher{}})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := b.keptOf(u, map[uint64]bool{gone + 2: true, records: true})
	if err != nil {
		t.Fatal(err)
	}
	if kept.Events != records-gone-2 || len(kept.Records) != 2 || kept.has(gone) || !kept.has(gone+1) || kept.has(gone+2) || !kept.has(records-1) {
		t.Errorf("got %+v", kept)
	}
}
