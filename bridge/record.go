package bridge

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	// Type is an event type, or a pattern of one as in a NATS subject: workorder.*, form.>.
	Type   string
	Entity string
	// Any is a part of the delivery id, of the type, of an entity or of the reason, or
	// the record number.
	Any   string
	State journal.State
	// Reason is a part of a dead letter's reason.
	Reason string
	// ReasonFits, unless nil, says whether a reason is one of those wanted.
	ReasonFits func(reason string) bool
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
	// ReasonCode and ReasonParams are Reason for other languages. Who shows the record
	// fills them in: the texts are of the layers around this package.
	ReasonCode   string            `json:"reason_code,omitempty"`
	ReasonParams map[string]string `json:"reason_params,omitempty"`
	Attempts     int               `json:"attempts,omitempty"`
	// From is the sender's address, where it is known.
	From string `json:"from,omitempty"`
	// Pulled says that it was fetched from the source's polling endpoint.
	Pulled bool `json:"pulled,omitempty"`
	// These are there when one record was asked for: its body, as far as that is kept, the
	// subject and the headers that it has in the stream, as far as its source is
	// configured, and the attempts of this process that failed, the oldest first.
	Body     []byte              `json:"body,omitempty"`
	Subject  string              `json:"subject,omitempty"`
	Headers  map[string][]string `json:"headers,omitempty"`
	Failures []FailedAttempt     `json:"failures,omitempty"`
}

// RecordOf reads a record of the journal, without its body.
func RecordOf(e journal.Entry) (Record, error) {
	ev, err := parseHeader(e.Header)
	if err != nil {
		return Record{}, fmt.Errorf("record %d: %w", e.Seq, err)
	}
	r := Record{
		Record: e.Seq, State: e.State, Source: ev.Source, ID: ev.ID, Type: ev.Type, Entities: ev.Entities, Accepted: ev.Accepted,
		Size: ev.Size, Replay: ev.Replay, StreamSequence: e.StreamSeq, Reason: e.Reason, Attempts: e.Attempts, From: ev.From, Pulled: ev.Pulled,
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
		f.Type != "" && !matchesType(f.Type, r.Type),
		f.State != "" && r.State != f.State,
		f.Any != "" && !f.matchesAny(r),
		f.Entity != "" && !slices.Contains(r.Entities, f.Entity),
		f.Reason != "" && !strings.Contains(strings.ToLower(r.Reason), strings.ToLower(f.Reason)),
		f.ReasonFits != nil && !f.ReasonFits(r.Reason),
		!f.Since.IsZero() && when.Before(f.Since),
		!f.Until.IsZero() && !when.Before(f.Until):
		return false
	}
	return len(f.IDs)+len(f.Records) == 0 || slices.Contains(f.Records, r.Record) || slices.Contains(f.IDs, r.ID) || slices.Contains(f.IDs, strconv.FormatUint(r.Record, 10))
}

func (f *Filter) matchesAny(r *Record) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(f.Any)) }
	return has(r.ID) || has(r.Type) || slices.ContainsFunc(r.Entities, has) || has(r.Reason) || f.Any == strconv.FormatUint(r.Record, 10)
}

// span is between which records all that fit are: those that it names, when it names
// them all by number.
func (f *Filter) span() (first, last uint64) {
	if len(f.Records) == 0 || len(f.IDs) > 0 {
		return 0, math.MaxUint64 - 1
	}
	return slices.Min(f.Records), min(slices.Max(f.Records), math.MaxUint64-1)
}

// matchesType says whether an event type is like a pattern: * is any one token, and > at
// the end is any others.
func matchesType(pattern, eventType string) bool {
	if !strings.ContainsAny(pattern, "*>") {
		return pattern == eventType
	}
	for {
		wanted, pattern2, morePattern := strings.Cut(pattern, ".")
		token, type2, moreType := strings.Cut(eventType, ".")
		if wanted == ">" && !morePattern {
			return token != ""
		}
		if wanted != token && (wanted != "*" || token == "") {
			return false
		}
		if !morePattern || !moreType {
			return morePattern == moreType
		}
		pattern, eventType = pattern2, type2
	}
}

const (
	// maxLook is how many records Events goes through in search of those that fit.
	maxLook = 200_000
	// lookTime bounds how long it does that.
	lookTime = 150 * time.Millisecond
)

// EventQuery asks for events, the newest first.
type EventQuery struct {
	Filter
	// Before and After are record numbers that bound the list; 0 for none.
	Before, After uint64
	// Limit is how many at most.
	Limit int
}

// EventList is a page of events. It may be short, even empty, although there is more.
type EventList struct {
	Records []Record
	// More is where the next page begins (EventQuery.Before), 0 at the end.
	More uint64
	// Newest is the number of the newest record of the journal when the list was made.
	Newest uint64
	// Looked is how many records were looked at, and Reached when the last of them was
	// accepted; zero without any.
	Looked  int
	Reached time.Time
}

// Events lists the events that fit q. One call looks at 200,000 records at most, and at more
// than q.Limit for 150 ms at most, so that a search in a large journal takes little from those
// who write to it, and a list without a search is whole. Events that are named by their
// records are found without a search.
func (b *Bridge) Events(ctx context.Context, q EventQuery) (EventList, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	list := EventList{Records: []Record{}, Newest: b.journal.Next() - 1}
	if len(q.Records) > 0 && len(q.IDs) == 0 {
		err := b.named(q, &list)
		return list, err
	}
	for e, err := range b.journal.Newest(q.Before) {
		if err != nil {
			return list, err
		}
		if e.Seq <= q.After {
			break
		}
		if list.Looked == maxLook || len(list.Records) == q.Limit || list.Looked > q.Limit && ctx.Err() != nil {
			list.More = e.Seq + 1
			break
		}
		r, err := RecordOf(e)
		if err != nil {
			return list, err
		}
		list.Looked++
		list.Reached = r.Accepted
		if q.matchesListed(&r) {
			list.Records = append(list.Records, r)
		}
	}
	return list, nil
}

// matchesListed is matches for a list in the order of acceptance: its times are those
// of acceptance, for dead letters too.
func (f *Filter) matchesListed(r *Record) bool {
	if !f.Since.IsZero() && r.Accepted.Before(f.Since) || !f.Until.IsZero() && !r.Accepted.Before(f.Until) {
		return false
	}
	rest := *f
	rest.Since, rest.Until = time.Time{}, time.Time{}
	return rest.matches(r)
}

// named finds the events that q names by their records.
func (b *Bridge) named(q EventQuery, list *EventList) error {
	numbers := slices.Clone(q.Records)
	slices.Sort(numbers)
	for _, number := range slices.Backward(slices.Compact(numbers)) {
		if len(list.Records) == q.Limit {
			break
		}
		if number <= q.After || q.Before > 0 && number >= q.Before {
			continue
		}
		e, err := b.journal.Find(number)
		if errors.Is(err, journal.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		r, err := RecordOf(e)
		if err != nil {
			return err
		}
		list.Looked++
		list.Reached = r.Accepted
		if q.matchesListed(&r) {
			list.Records = append(list.Records, r)
		}
	}
	return nil
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
	r.Failures = b.failures.of(record)
	if b.o.Describe != nil {
		if ev, err := parseHeader(e.Header); err == nil {
			r.Subject, r.Headers, _ = b.o.Describe(ev)
		}
	}
	r.Body, err = b.journal.Body(record)
	if errors.Is(err, journal.ErrNotFound) {
		err = nil
	}
	return r, err
}
