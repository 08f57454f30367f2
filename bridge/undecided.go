package bridge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// undecided are the events that the stream lacks for no known reason. The journal keeps it.
type undecided struct {
	// Records are record numbers, because sequences may be given again. They are in order.
	Records []integrity.Range `json:"records"`
	Events  int               `json:"events"`
	Found   time.Time         `json:"found"` // the last of them
}

func (u *undecided) has(record uint64) bool {
	_, found := u.find(record)
	return found
}

// find returns the range that has a record, or the place for one that would.
func (u *undecided) find(record uint64) (i int, found bool) {
	return slices.BinarySearchFunc(u.Records, record, func(r integrity.Range, record uint64) int {
		switch {
		case r.Last < record:
			return -1
		case r.First > record:
			return 1
		}
		return 0
	})
}

// add returns false when the record is in it already. The ranges stay in order and as few
// as they can be: there may be a million records, in any order.
func (u *undecided) add(record uint64) bool {
	i, found := u.find(record)
	if found {
		return false
	}
	u.Events++
	follows := i > 0 && u.Records[i-1].Last+1 == record
	precedes := i < len(u.Records) && u.Records[i].First == record+1
	switch {
	case follows && precedes:
		u.Records[i-1].Last = u.Records[i].Last
		u.Records = slices.Delete(u.Records, i, i+1)
	case follows:
		u.Records[i-1].Last = record
	case precedes:
		u.Records[i].First = record
	default:
		u.Records = slices.Insert(u.Records, i, integrity.Range{First: record, Last: record})
	}
	return true
}

func (b *Bridge) undecided() (u undecided, err error) {
	text, err := b.journal.Undecided()
	if err != nil || text == "" {
		return u, err
	}
	if err := json.Unmarshal([]byte(text), &u); err != nil {
		return u, fmt.Errorf("read what the stream lacks: %w", err)
	}
	// Notes were once in the order in which the stream had the events.
	slices.SortFunc(u.Records, func(a, b integrity.Range) int { return cmp.Compare(a.First, b.First) })
	return u, nil
}

// noteUndecided notes and tells which events the stream lacks, and how to send them again.
func (b *Bridge) noteUndecided(ranges []integrity.Range) error {
	u, err := b.undecided()
	if err != nil {
		return err
	}
	added := 0
	for _, r := range ranges {
		for from := r.First; from <= r.Last; {
			positions, err := b.journal.PositionsFrom(from, 1000)
			if err != nil {
				return err
			}
			if len(positions) == 0 {
				break
			}
			for _, p := range positions {
				if r.Has(p.StreamSeq) && u.add(p.Seq) {
					added++
				}
			}
			from = positions[len(positions)-1].StreamSeq + 1
		}
	}
	if added == 0 {
		return nil
	}
	u.Found = time.Now()
	text, err := json.Marshal(u)
	if err != nil {
		return err
	}
	if err := b.journal.NoteUndecided(string(text)); err != nil {
		return err
	}
	b.o.Log.Warn("the stream lacks events, and it is not known whether they were deleted on purpose or lost", zap.Int("events", added),
		zap.Any("stream_sequences", ranges[:min(len(ranges), 20)]), zap.String("to_publish_them_again", missingCommand))
	return b.noticeUndecided()
}

const missingCommand = "persat-bridge replay --missing"

// noticeUndecided keeps the notice until the events are published again, or a week after
// the journal's retention: nobody could send them again from then on, and the notice said so.
func (b *Bridge) noticeUndecided() error {
	u, err := b.undecided()
	if err != nil {
		return err
	}
	if u.Events > 0 && time.Since(u.Found) > b.o.Retention+goneShown {
		u.Events, err = 0, b.journal.NoteUndecided("")
	}
	if err != nil || u.Events == 0 {
		b.notices.clear("undecided")
		return err
	}
	have, err := b.keptOf(u, nil)
	if err != nil {
		return err
	}
	kept := have.Events
	action := missingCommand
	if gone := u.Events - kept; gone > 0 {
		action = fmt.Sprintf("%s cannot be published again, because the journal no longer keeps the content (journal.retention, journal.max_bytes): ask the sender to send it again", countEvents(gone))
		if kept > 0 {
			action += "; the others: " + missingCommand
		}
	}
	b.notices.set("undecided", fmt.Sprintf("the stream lacks %s that it had acknowledged, the last found on %s, and it is not known whether that was deleted on purpose while the bridge was away or lost by NATS. When it was not meant to go: %s",
		countEvents(u.Events), u.Found.UTC().Format(time.RFC3339), action))
	return nil
}

// bodiesInARow is how many records in a row with their bodies say that those behind them
// have theirs too: bodies are dropped from the oldest on (journal.Trim, DropPublished). To
// ask for a body is to read it, and a million of them would keep the loop and the disk busy.
const bodiesInARow = 1000

// bodyCheck says of records, in their order, whether the journal has their bodies.
type bodyCheck struct {
	journal *journal.Journal
	inARow  int
}

func (c *bodyCheck) has(record uint64) (bool, error) {
	if c.inARow >= bodiesInARow {
		return true, nil
	}
	has, err := c.journal.HasBody(record)
	if c.inARow++; !has {
		c.inARow = 0
	}
	return has, err
}

// keptOf returns those of u that are not in published and whose bodies the journal keeps.
func (b *Bridge) keptOf(u undecided, published map[uint64]bool) (kept undecided, err error) {
	kept.Found = u.Found
	bodies := bodyCheck{journal: b.journal}
	for _, r := range u.Records {
		for record := r.First; record <= r.Last; record++ {
			if published[record] {
				continue
			}
			has, err := bodies.has(record)
			if err != nil {
				return kept, err
			}
			if has {
				kept.add(record)
			}
		}
	}
	return kept, nil
}

// publishedMissing takes the records that a replay has published out of the note. Those that
// its filter left out, or that were found after it had begun, stay.
func (b *Bridge) publishedMissing(published map[uint64]bool) error {
	u, err := b.undecided()
	if err != nil {
		return err
	}
	rest, err := b.keptOf(u, published) // the others nobody can publish any more
	if err != nil {
		return err
	}
	var text []byte
	if rest.Events > 0 {
		if text, err = json.Marshal(rest); err != nil {
			return err
		}
	}
	if err := b.journal.NoteUndecided(string(text)); err != nil {
		return err
	}
	return b.noticeUndecided()
}

// missingEvents are the records that a replay with Filter.Missing publishes.
func (b *Bridge) missingEvents(f Filter) (func(p journal.PublishedItem) bool, error) {
	if !f.Missing {
		return func(journal.PublishedItem) bool { return true }, nil
	}
	u, err := b.undecided()
	return func(p journal.PublishedItem) bool { return u.has(p.Seq) }, err
}
