package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// Filter picks events. Its zero value picks all; of several fields set, all
// have to fit.
type Filter struct {
	// IDs are record numbers or delivery ids, Records record numbers alone; of both
	// together it takes one.
	IDs     []string
	Records []uint64
	Source  string
	Type    string
	Entity  string
	// Any is a part of the delivery id, of the type or of an entity, or the
	// record number.
	Any   string
	State journal.State
	// Reason is a part of a dead letter's reason.
	Reason string
	// Since and Until bound the time of acceptance, or, for dead letters, of
	// death.
	Since, Until time.Time
	// Missing takes, of a replay, only the events that the stream lacks for no known
	// reason.
	Missing bool
}

// Record is an event as operators see it.
type Record struct {
	// Record is its number in the journal: the order of acceptance.
	Record   uint64        `json:"record"`
	State    journal.State `json:"state"`
	Source   string        `json:"source"`
	ID       string        `json:"id"`
	Type     string        `json:"type"`
	Entities []string      `json:"entities,omitempty"`
	Accepted time.Time     `json:"accepted"`
	Size     int           `json:"size"`
	Replay   int           `json:"replay,omitempty"`
	// StreamSequence is its place in the stream, and At the time when it was
	// published or became a dead letter.
	StreamSequence uint64     `json:"stream_sequence,omitempty"`
	At             *time.Time `json:"at,omitempty"`
	Reason         string     `json:"reason,omitempty"`
	Attempts       int        `json:"attempts,omitempty"`
	// Body is there when one record was asked for.
	Body []byte `json:"body,omitempty"`
}

// RecordOf reads a record of the journal, without its body.
func RecordOf(e journal.Entry) (Record, error) {
	ev, err := parseHeader(e.Header)
	if err != nil {
		return Record{}, fmt.Errorf("record %d: %w", e.Seq, err)
	}
	r := Record{
		Record: e.Seq, State: e.State, Source: ev.Source, ID: ev.ID, Type: ev.Type, Entities: ev.Entities, Accepted: ev.Accepted,
		Size: ev.Size, Replay: ev.Replay, StreamSequence: e.StreamSeq, Reason: e.Reason, Attempts: e.Attempts,
	}
	if !e.At.IsZero() {
		at := e.At.UTC()
		r.At = &at
	}
	return r, nil
}

func (f *Filter) matches(r *Record) bool {
	when := r.Accepted
	if r.State == journal.Dead && r.At != nil {
		when = *r.At
	}
	switch {
	case f.Source != "" && r.Source != f.Source,
		f.Type != "" && r.Type != f.Type,
		f.State != "" && r.State != f.State,
		f.Any != "" && !f.matchesAny(r),
		f.Entity != "" && !slices.Contains(r.Entities, f.Entity),
		f.Reason != "" && !strings.Contains(strings.ToLower(r.Reason), strings.ToLower(f.Reason)),
		!f.Since.IsZero() && when.Before(f.Since),
		!f.Until.IsZero() && !when.Before(f.Until):
		return false
	}
	return len(f.IDs)+len(f.Records) == 0 || slices.Contains(f.Records, r.Record) || slices.Contains(f.IDs, r.ID) || slices.Contains(f.IDs, strconv.FormatUint(r.Record, 10))
}

func (f *Filter) matchesAny(r *Record) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(f.Any)) }
	return has(r.ID) || has(r.Type) || slices.ContainsFunc(r.Entities, has) || f.Any == strconv.FormatUint(r.Record, 10)
}

// maxLook is how many records Events goes through in search of those that fit.
const maxLook = 200_000

// Events returns up to limit records that fit f, the newest first, from before a
// record number on (0: from the newest). more is where the next page begins, 0 at
// the end. A page may be short, even empty, although there is more: one call looks at
// 200,000 records at most, and not beyond the end of ctx.
func (b *Bridge) Events(ctx context.Context, f Filter, before uint64, limit int) (records []Record, more uint64, err error) {
	records = []Record{}
	looked := 0
	for e, err := range b.journal.Newest(before) {
		if err != nil {
			return records, 0, err
		}
		if looked++; looked > maxLook || len(records) == limit || ctx.Err() != nil {
			return records, e.Seq + 1, nil
		}
		r, err := RecordOf(e)
		if err != nil {
			return records, 0, err
		}
		if f.matches(&r) {
			records = append(records, r)
		}
	}
	return records, 0, nil
}

// Event returns one record with its body, as far as that is still kept.
func (b *Bridge) Event(record uint64) (Record, error) {
	e, err := b.journal.Find(record)
	if err != nil {
		return Record{}, err
	}
	r, err := RecordOf(e)
	if err != nil {
		return r, err
	}
	r.Body, err = b.journal.Body(record)
	if errors.Is(err, journal.ErrNotFound) {
		err = nil
	}
	return r, err
}
