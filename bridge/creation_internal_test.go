package bridge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// When a missing stream may be created: by what the journal knows of it, by how long it has
// been missing, and by what was said of it.
func TestCreation(t *testing.T) {
	createdAgo := func(age time.Duration) string {
		return "PERSAT " + time.Now().Add(-age).UTC().Format(time.RFC3339Nano)
	}
	young := createdAgo(2 * time.Minute)
	refused := errors.New("error creating store for stream (10049)")
	whole := func(t *testing.T, j *journal.Journal) { published(t, j, 1, 2, 3) }
	for _, test := range []struct {
		name     string
		identity string
		journal  func(*testing.T, *journal.Journal)
		newStore bool
		missing  time.Duration // since when
		before   func(*Creation)
		want     string // in the reason; empty when it may be created
	}{
		{name: "a journal that knows no stream"},
		{name: "a stream of another name was known", identity: "OTHER 2024-02-12T12:00:00Z", journal: whole},
		{name: "known, just gone", identity: young, journal: whole, want: "waiting 30s"},
		{name: "known, gone for a while, and the journal has all of it", identity: young, journal: whole, missing: time.Minute},
		// Its server had started without its key for longer than the bridge waited.
		{name: "known and old, gone for a while, and the journal has all of it", identity: createdAgo(time.Hour), journal: whole, missing: time.Minute, want: "persat-bridge stream recreate"},
		{name: "known and old, just gone", identity: createdAgo(time.Hour), journal: whole, want: "persat-bridge stream recreate"},
		{name: "known since no time that can be read", identity: "PERSAT yesterday", journal: whole, missing: time.Minute, want: "persat-bridge stream recreate"},
		{name: "an operator permits an old one", identity: createdAgo(time.Hour), journal: whole, missing: time.Minute, before: func(c *Creation) { _ = c.Permit() }},
		{name: "known, gone for a while, never published to", identity: young, missing: time.Minute},
		{name: "the first messages were not ours", identity: young, missing: time.Minute, want: "persat-bridge stream recreate",
			journal: func(t *testing.T, j *journal.Journal) { published(t, j, 5, 6, 7) }},
		{name: "a message between was not ours", identity: young, missing: time.Minute, want: "persat-bridge stream recreate",
			journal: func(t *testing.T, j *journal.Journal) { published(t, j, 1, 3, 4) }},
		{name: "the bodies are past retention", identity: young, missing: time.Minute, want: "persat-bridge stream recreate",
			journal: func(t *testing.T, j *journal.Journal) { whole(t, j); trim(t, j, time.Time{}) }},
		{name: "all records are past retention", identity: young, missing: time.Minute, want: "persat-bridge stream recreate",
			journal: func(t *testing.T, j *journal.Journal) { whole(t, j); trim(t, j, time.Now().Add(time.Hour)) }},
		{name: "a new store of the embedded server", identity: young, newStore: true,
			journal: func(t *testing.T, j *journal.Journal) { published(t, j, 5, 6, 7) }},
		{name: "deleted from a new store once it was there", identity: young, newStore: true, missing: time.Minute, want: "persat-bridge stream recreate",
			journal: func(t *testing.T, j *journal.Journal) { published(t, j, 5, 6, 7) },
			before:  func(c *Creation) { c.Found(); c.absent = time.Now().Add(-time.Minute) }},
		{name: "an operator permits it", identity: young, missing: time.Minute,
			journal: func(t *testing.T, j *journal.Journal) { published(t, j, 5, 6, 7) },
			before: func(c *Creation) {
				if err := c.Permit(); err != nil {
					t.Error(err)
				}
			}},
		{name: "the server failed over what it has on disk", identity: young, journal: whole, missing: time.Minute, want: "10049",
			before: func(c *Creation) { c.Unreadable(refused) }},
		{name: "it failed, and the journal knows no stream", missing: time.Minute, want: "persat-bridge stream recreate",
			before: func(c *Creation) { c.Unreadable(refused) }},
		{name: "it failed after an operator permitted it", identity: young, missing: time.Minute, want: "10049",
			before: func(c *Creation) { _ = c.Permit(); c.Unreadable(refused) }},
		{name: "an operator permits it after it failed", identity: young, missing: time.Minute,
			before: func(c *Creation) { c.Unreadable(refused); _ = c.Permit() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			j, err := journal.Open(journal.Options{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			if test.identity != "" {
				if err := j.NoteStream(test.identity); err != nil {
					t.Fatal(err)
				}
			}
			if test.journal != nil {
				test.journal(t, j)
			}
			c := NewCreation(j, "PERSAT", test.newStore)
			if test.missing > 0 {
				c.absent = time.Now().Add(-test.missing)
			}
			if test.before != nil {
				test.before(c)
			}
			for range 2 { // to ask changes nothing
				err = c.Allowed(t.Context())
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, want %q", err, test.want)
				}
			}
			asks := strings.Contains(fmt.Sprint(err), "stream recreate")
			if held := c.held(); asks != (held != "") {
				t.Errorf("got the notice %q beside %v", held, err)
			}
			c.Found()
			if c.held() != "" {
				t.Errorf("found, and still: %s", c.held())
			}
			if err := c.Permit(); !errors.Is(err, ErrStreamPresent) {
				t.Errorf("permitted though it is there: got %v", err)
			}
		})
	}
}

// published appends a record for each stream sequence and marks it there.
func published(t *testing.T, j *journal.Journal, sequences ...uint64) {
	t.Helper()
	var marks []journal.Mark
	for _, seq := range sequences {
		r, err := j.Append(t.Context(), journal.Record{Key: fmt.Sprint(seq), Header: []byte("h"), Body: []byte("b")})
		if err != nil {
			t.Fatal(err)
		}
		item, _, err := j.Load(r.Seq)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, journal.Mark{Item: item, StreamSeq: seq, At: time.Now()})
	}
	if _, err := j.MarkPublished(marks); err != nil {
		t.Fatal(err)
	}
}

// trim drops all bodies, and the records that were appended before keys.
func trim(t *testing.T, j *journal.Journal, keys time.Time) {
	t.Helper()
	if _, err := j.Trim(time.Now().Add(time.Hour), keys); err != nil {
		t.Fatal(err)
	}
}
