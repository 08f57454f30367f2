package journal

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

var update = flag.Bool("update", false, "write the golden journal of the present format")

// TestGolden opens a journal of every format that there ever was. A failure means
// that an upgrade would lose what is pending: change the code, not the golden.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	dirs, err := filepath.Glob("testdata/golden/*")
	if err != nil || len(dirs) < formatVersion {
		t.Fatalf("got %d golden journals (%v), want one for each of %d formats", len(dirs), err, formatVersion)
	}
	for _, golden := range dirs {
		t.Run(filepath.Base(golden), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
				t.Fatal(err)
			}
			j := open(t, dir, forAges) // or the keys would be forgotten as the golden grows old
			if got, want := pending(t, j), []uint64{2, 4}; !slices.Equal(got, want) {
				t.Errorf("pending: got %v, want %v", got, want)
			}
			item, body, err := j.Load(2)
			if want := record(2); err != nil || item.Key != want.Key || !bytes.Equal(item.Header, want.Header) || !bytes.Equal(body, want.Body) {
				t.Errorf("record 2: got %+v %q %v, want %+v", item, body, err, want)
			}
			if p, err := j.Published(1); err != nil || p.StreamSeq != 1001 {
				t.Errorf("record 1: got %+v %v, want it published at 1001", p, err)
			}
			if d, err := j.Dead(3); err != nil || d.Reason != "too large" || d.Attempts != 2 {
				t.Errorf("record 3: got %+v %v, want it dead", d, err)
			}
			if got := appendOne(t, j, record(1)); got.Seq != 1 || got.Status == Stored {
				t.Errorf("key of record 1: got %+v, want it seen", got)
			}
			if got := appendOne(t, j, record(9)); got.Seq != 5 {
				t.Errorf("next: got sequence %d, want 5", got.Seq)
			}
			if last, ok, err := j.LastPosition(); err != nil || !ok || last != (StreamPosition{StreamSeq: 1001, Seq: 1}) {
				t.Errorf("last position: got %+v %v %v, want record 1 at 1001", last, ok, err)
			}
			// It drains, and stays drained.
			markPublished(t, j, 2, 4, 5)
			closeJournal(t, j)
			j = open(t, dir, forAges)
			if got := pending(t, j); len(got) > 0 {
				t.Errorf("pending after the drain: %v", got)
			}
			if body, err := j.Body(4); err != nil || !bytes.Equal(body, record(4).Body) {
				t.Errorf("body of record 4: got %q %v", body, err)
			}
		})
	}
}

// forAges remembers the keys of a golden, however old it is.
func forAges(o *Options) { o.DedupWindow = 100 * 365 * 24 * time.Hour }

func writeGolden(t *testing.T) {
	dir := fmt.Sprintf("testdata/golden/v%d", formatVersion)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	j := open(t, dir, forAges)
	for n := 1; n <= 4; n++ {
		appendOne(t, j, record(n))
		if n == 2 { // so that there is a table, and not only a log
			if err := j.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	markPublished(t, j, 1)
	item, _, err := j.Load(3)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.MarkDead(item, Death{At: time.Unix(3, 0), Reason: "too large", Attempts: 2}); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
}

func TestLaterFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if err := j.db.Set(metaFormat.key(), binary.BigEndian.AppendUint64(nil, formatVersion+1), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	if _, err := Open(Options{Dir: dir}); err == nil {
		t.Error("got no error")
	}
	if _, err := parseValue([]byte{valueVersion + 1}); err == nil {
		t.Error("a later value: got no error")
	}
}
