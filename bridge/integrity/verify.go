package integrity

import (
	"context"
	"slices"
	"time"
)

// Options of a pass.
type Options struct {
	// Newest is how many of the newest places are asked for: at least as many as may be in
	// flight, because those that were acknowledged after a rollback hide it.
	Newest int
	Now    time.Time
}

const (
	// aroundObserved is how many places are asked for below the last sequence that was
	// observed: they are the newest that a loss since then has taken.
	aroundObserved = 8
	// maxDown bounds how far a pass goes down to find a place that is certain.
	maxDown = 1 << 16
	// clockTolerance is how much later than its mark a message may be stored, by clocks that
	// agree.
	clockTolerance = time.Second
)

// Verify makes one pass: no retry, no log, no write.
func Verify(ctx context.Context, s Stream, l Ledger, o Options, c *Confirmed) (Verdict, error) {
	p := pass{ctx: ctx, s: s, l: l, o: o, c: c}
	var err error
	if p.state, err = s.State(ctx); err != nil {
		return Verdict{}, err
	}
	p.v.State = p.state
	if !p.state.Exists {
		p.v.Kind = Absent
		return p.v, nil
	}
	if p.seen, err = l.Observed(); err != nil {
		return Verdict{}, err
	}
	c.begin(p.state)
	known, err := l.Identity()
	if err != nil {
		return Verdict{}, err
	}
	if known != "" && known != p.state.Identity {
		holds, wrong, err := p.holds()
		if err != nil {
			return Verdict{}, err
		}
		if !holds {
			p.v.Kind = Recreated
			p.v.LostByServer = p.state.Last == 0 && p.seen.Host != "" && p.state.Host != "" && p.seen.Host != p.state.Host
			err := p.unsent(p.state.First)
			return p.v, err
		}
		p.v.Adopted = true
		p.wrong = wrong
	}
	if err := p.rollback(); err != nil {
		return Verdict{}, err
	}
	if err := p.missing(); err != nil {
		return Verdict{}, err
	}
	unknown := p.state.First
	for place := range c.places {
		if p.v.From == 0 || place.Seq < p.v.From {
			unknown = max(unknown, place.Seq+1)
		}
	}
	if err := p.unsent(unknown); err != nil {
		return Verdict{}, err
	}
	if p.v.From != 0 || len(p.v.Holes) > 0 {
		p.v.Kind = Lost
	}
	return p.v, nil
}

// pass is the work of one Verify.
type pass struct {
	ctx   context.Context
	s     Stream
	l     Ledger
	o     Options
	c     *Confirmed
	state State
	seen  Observation
	v     Verdict

	wrong       uint64 // the lowest sequence of an adopted stream at which another message was found, or 0
	deleted     []Range
	deletedRead bool
	survivors   survivors
}

// finding is what is at a place.
type finding int

const (
	confirmed    finding = iota
	late                 // the id is there, stored later than the mark says
	otherID              // another message, or none because the stream ends before
	nothing              // no message
	incomparable         // the record cannot be compared
)

// look asks for places. With an error it returns what it learned until then.
func (p *pass) look(places []Place) (map[Place]finding, error) {
	found := make(map[Place]finding, len(places))
	records := make(map[Place]Record, len(places))
	var wanted []Wanted
	for _, place := range places {
		if place.Seq > p.state.Last {
			found[place] = otherID
			continue
		}
		r, known, err := p.l.Record(place)
		if err != nil {
			return found, err
		}
		if !known {
			found[place] = incomparable
			continue
		}
		records[place] = r
		wanted = append(wanted, Wanted{Seq: place.Seq, Size: r.Size})
	}
	if len(wanted) == 0 {
		return found, nil
	}
	answers, err := p.s.Messages(p.ctx, wanted)
	offsets := make(map[Place]time.Duration)
	for place, r := range records {
		a, answered := answers[place.Seq]
		switch {
		case !answered:
		case !a.Found:
			found[place] = nothing
		case a.ID != r.ID:
			found[place] = otherID
		default:
			found[place] = confirmed
			if offset := a.Stored.Sub(r.Marked); !a.Stored.IsZero() && offset > clockTolerance {
				offsets[place] = offset
			}
		}
	}
	// When all are late by the same time, it is the clocks that differ.
	if !alike(offsets) || len(offsets) < count(found, confirmed) {
		for place := range offsets {
			found[place] = late
		}
	}
	return found, err
}

func count(found map[Place]finding, what finding) (n int) {
	for _, f := range found {
		if f == what {
			n++
		}
	}
	return n
}

// alike says whether several offsets are about the same.
func alike(offsets map[Place]time.Duration) bool {
	if len(offsets) < 2 {
		return false
	}
	var all []time.Duration
	for _, d := range offsets {
		all = append(all, d)
	}
	return slices.Max(all)-slices.Min(all) <= clockTolerance
}

// holds says whether a stream of another identity has events at their sequences, and the
// lowest at which it has something else.
func (p *pass) holds() (holds bool, wrong uint64, err error) {
	places, err := p.l.Newest(p.state.Last+1, aroundObserved)
	if err != nil {
		return false, 0, err
	}
	for _, from := range []uint64{p.state.First, p.state.First + (p.state.Last-min(p.state.First, p.state.Last))/2} {
		more, err := p.l.From(from, aroundObserved)
		if err != nil {
			return false, 0, err
		}
		for _, m := range more {
			if m.Seq <= p.state.Last {
				places = append(places, m)
			}
		}
	}
	found, err := p.look(unique(places))
	if err != nil {
		return false, 0, err
	}
	for place, f := range found {
		if f == otherID && place.Seq <= p.state.Last && (wrong == 0 || place.Seq < wrong) {
			wrong = place.Seq
		}
	}
	return count(found, confirmed)+count(found, late) > 0, wrong, nil
}

func unique(places []Place) []Place {
	slices.SortFunc(places, func(a, b Place) int {
		if a.Seq < b.Seq {
			return -1
		}
		return int(min(a.Seq-b.Seq, 1))
	})
	return slices.Compact(places)
}

// hole is the range without messages that a sequence is in.
func (p *pass) hole(seq uint64) (Range, bool, error) {
	if err := p.readDeleted(); err != nil {
		return Range{}, false, err
	}
	i, in := slices.BinarySearchFunc(p.deleted, seq, func(r Range, seq uint64) int {
		switch {
		case r.Last < seq:
			return -1
		case r.First > seq:
			return 1
		}
		return 0
	})
	if !in {
		return Range{}, false, nil
	}
	return p.deleted[i], true, nil
}

// maxDeleted bounds the list of deleted messages that a pass reads.
const maxDeleted = 1 << 20

// readDeleted reads the list once.
func (p *pass) readDeleted() (err error) {
	if p.deletedRead || p.state.Deleted == 0 || p.state.Deleted > maxDeleted {
		return nil
	}
	p.deleted, err = p.s.Deleted(p.ctx)
	p.deletedRead = err == nil
	return err
}

const (
	headsPage = 1000
	// maxHeads bounds how many messages above the highest known sequence are read.
	maxHeads = 10_000
)

// unsent finds pending records that the stream has from a sequence on: their acknowledgement was lost with
// the process, or the journal is an older copy of itself. Within the duplicate window a
// repeat would be harmless; behind it, it would be stored twice.
func (p *pass) unsent(from uint64) error {
	any, err := p.l.HasUnsent()
	if err != nil || !any {
		return err
	}
	stored := make(map[uint64]bool) // records: the stream may have one twice
	from = max(from, 1)
	for read := 0; from <= p.state.Last && read < maxHeads; {
		heads, err := p.s.Heads(p.ctx, from, headsPage)
		if err != nil {
			return err
		}
		for _, m := range heads {
			if m.ID == "" {
				continue
			}
			record, ok, err := p.l.Unsent(m.ID)
			if err != nil {
				return err
			}
			if ok && !stored[record] {
				stored[record] = true
				p.v.Stored = append(p.v.Stored, Stored{Seq: m.Seq, Record: record, At: m.Stored})
			}
		}
		if read += len(heads); len(heads) < headsPage {
			break
		}
		from = heads[len(heads)-1].Seq + 1
	}
	return nil
}
