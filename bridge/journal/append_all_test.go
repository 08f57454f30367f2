package journal

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

func TestAppendAll(t *testing.T) {
	j := open(t, t.TempDir())
	appendOne(t, j, record(1))
	results, err := j.AppendAll(t.Context(), []Record{record(0), record(1), record(2), record(0), {Header: []byte("no key")}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Result{{2, Stored}, {1, Repeat}, {3, Stored}, {2, Repeat}, {4, Stored}}
	if !slices.Equal(results, want) {
		t.Errorf("got %v, want %v", results, want)
	}
	if got := pending(t, j); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("got pending records %v, want 1 to 4", got)
	}
	if results, err := j.AppendAll(t.Context(), nil); len(results) != 0 || err != nil {
		t.Errorf("of no records: got %v, %v", results, err)
	}
}

// Records are given in an order that they have to keep. What stands behind one that
// cannot be stored comes again behind it.
func TestAppendAllStopsAtTheFirstFailure(t *testing.T) {
	j := open(t, t.TempDir())
	appendOne(t, j, record(2))
	if err := j.db.Set(seenKey(record(2).Key), []byte("damaged"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	results, err := j.AppendAll(t.Context(), []Record{record(0), record(1), record(2), record(3), record(4)})
	if err == nil {
		t.Error("got no error over a damaged key")
	}
	if want := []Result{{2, Stored}, {3, Stored}}; !slices.Equal(results, want) {
		t.Errorf("got %v, want %v", results, want)
	}
	if got := pending(t, j); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("got pending records %v, want what stood before the failure and nothing behind it", got)
	}
}
