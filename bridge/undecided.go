package bridge

import (
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
	// Records are record numbers, because sequences may be given again.
	Records []integrity.Range `json:"records"`
	Events  int               `json:"events"`
	Found   time.Time         `json:"found"` // the last of them
}

func (u *undecided) has(record uint64) bool {
	return slices.ContainsFunc(u.Records, func(r integrity.Range) bool { return r.Has(record) })
}

// add returns false when the record is in it already.
func (u *undecided) add(record uint64) bool {
	if u.has(record) {
		return false
	}
	u.Events++
	for i := range u.Records {
		if u.Records[i].Last+1 == record {
			u.Records[i].Last = record
			return true
		}
	}
	u.Records = append(u.Records, integrity.Range{First: record, Last: record})
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
	kept, err := b.keptOf(u)
	if err != nil {
		return err
	}
	action := missingCommand
	if gone := u.Events - kept; gone > 0 {
		action = fmt.Sprintf("%d of them are unrecoverable, because the journal no longer keeps their bodies (journal.retention, journal.max_bytes): ask the sender to send them again", gone)
		if kept > 0 {
			action += "; the others: " + missingCommand
		}
	}
	b.notices.set("undecided", fmt.Sprintf("the stream lacks %d events that it had acknowledged, the last found on %s, and it is not known whether they were deleted on purpose while the bridge was away or lost by NATS. When they were not meant to go: %s",
		u.Events, u.Found.UTC().Format(time.RFC3339), action))
	return nil
}

// keptOf counts the events whose bodies the journal keeps.
func (b *Bridge) keptOf(u undecided) (n int, err error) {
	for _, r := range u.Records {
		for record := r.First; record <= r.Last; record++ {
			has, err := b.journal.HasBody(record)
			if err != nil {
				return n, err
			}
			if has {
				n++
			}
		}
	}
	return n, nil
}

// publishedMissing takes the records that a replay has published out of the note. Those that
// its filter left out, or that were found after it had begun, stay.
func (b *Bridge) publishedMissing(published map[uint64]bool) error {
	u, err := b.undecided()
	if err != nil {
		return err
	}
	rest := undecided{Found: u.Found}
	for _, r := range u.Records {
		for record := r.First; record <= r.Last; record++ {
			if published[record] {
				continue
			}
			has, err := b.journal.HasBody(record)
			if err != nil {
				return err
			}
			if has { // else nobody can publish it any more
				rest.add(record)
			}
		}
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
