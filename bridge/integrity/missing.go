package integrity

import "time"

const (
	// restartTime is how long a server's restart takes at most for a hole at the end of what
	// was observed to be its work and not an operator's.
	restartTime = 10 * time.Minute
	// maxSurveyed bounds the places that say what the shape of a hole means.
	maxSurveyed = 1 << 20
	// placesPage is how many places are read at a time.
	placesPage = 1000
	// maxHoleRecords bounds the records of a hole that are looked at.
	maxHoleRecords = 10_000
)

// missing finds what is not in the stream below the first rolled-back sequence, and
// decides about it.
func (p *pass) missing() error {
	if p.state.Limits.RemovedOnceHandled { // every message goes, when is its consumers' affair
		return nil
	}
	if p.unbroken() && p.seen.First == p.state.First && p.seen.Deleted == p.state.Deleted {
		return nil
	}
	if err := p.front(); err != nil {
		return err
	}
	if p.state.Deleted > maxDeleted {
		p.v.Unexamined = true
		return nil
	}
	if p.state.Limits.MaxPerSubject > 0 && p.unbroken() {
		return nil // it deletes all the time; what the limit took shows when it has to be known
	}
	if err := p.readDeleted(); err != nil {
		return err
	}
	for _, hole := range p.deleted {
		hole.Last = min(hole.Last, p.end())
		places, err := p.placesIn(hole)
		if err != nil {
			return err
		}
		if len(places) == 0 {
			continue
		}
		if err := p.decide(hole, places); err != nil {
			return err
		}
	}
	return nil
}

// end is the last sequence that was not rolled back.
func (p *pass) end() uint64 {
	if p.v.From != 0 {
		return min(p.state.Last, p.v.From-1)
	}
	return p.state.Last
}

func (p *pass) unbroken() bool { return !p.v.Adopted && p.seen.Unbroken(p.state, p.o.Now) }

// front decides about what has gone from the beginning of the stream. A limit and a purge
// do that; a server that lost its first block does it, too.
func (p *pass) front() error {
	if p.state.First == 0 || p.seen.Identity != "" && p.state.First <= p.seen.First {
		return nil
	}
	newest, err := p.l.Newest(min(p.state.First, p.end()+1), 1)
	if err != nil || len(newest) == 0 || newest[0].Seq < p.seen.First {
		return err
	}
	r, known, err := p.l.Record(newest[0])
	if err != nil {
		return err
	}
	gone := Range{First: max(p.seen.First, 1), Last: newest[0].Seq}
	limits := p.state.Limits
	switch {
	case p.unbroken():
		p.v.Deleted = append(p.v.Deleted, gone)
	case !known,
		limits.MaxPerSubject > 0 && p.state.Messages >= limits.MaxPerSubject, // it leaves so many of a subject
		limits.MaxAge > 0 && p.o.Now.Sub(r.Marked) >= limits.MaxAge-restartTime/10,
		limits.MaxMessages > 0 && p.state.Messages >= limits.MaxMessages,
		limits.MaxBytes > 0 && limits.Bytes >= limits.MaxBytes-limits.MaxBytes/4:
		// A limit took them; the journal's retention takes their records.
	default:
		p.v.Undecided = append(p.v.Undecided, gone)
	}
	return nil
}

func (p *pass) placesIn(hole Range) ([]Place, error) {
	var all []Place
	for from := hole.First; from <= hole.Last && len(all) < maxHoleRecords; {
		places, err := p.l.From(from, placesPage)
		if err != nil {
			return nil, err
		}
		for _, place := range places {
			if !hole.Has(place.Seq) {
				return all, nil
			}
			all = append(all, place)
		}
		if len(places) < placesPage {
			break
		}
		from = places[len(places)-1].Seq + 1
	}
	return all, nil
}

// decide says of a hole with events of ours whether it was lost or deleted.
func (p *pass) decide(hole Range, places []Place) error {
	if p.unbroken() {
		p.v.Deleted = append(p.v.Deleted, hole)
		return nil
	}
	records, err := p.records(places)
	if err != nil {
		return err
	}
	if err := p.survey(); err != nil {
		return err
	}
	if p.state.Limits.MaxPerSubject > 0 {
		var rest []Record
		for _, r := range records {
			if p.survivors.last[r.Subject] < hole.First { // else the limit took it
				rest = append(rest, r)
			}
		}
		if records = rest; len(records) == 0 {
			p.v.Deleted = append(p.v.Deleted, hole)
			return nil
		}
	}
	atEnd, err := p.atEnd(hole)
	if err != nil {
		return err
	}
	if atEnd || p.survivors.ruleOutDeletion(hole, records) {
		p.v.Holes = append(p.v.Holes, hole)
	} else {
		p.v.Undecided = append(p.v.Undecided, hole)
	}
	return nil
}

// atEnd says whether a hole reaches the end of what was acknowledged, and the stream was
// observed a moment before.
func (p *pass) atEnd(hole Range) (bool, error) {
	if p.seen.Identity == "" || p.o.Now.Sub(p.seen.At).Abs() > restartTime || hole.Last < min(p.seen.Last, p.end()) {
		return false, nil
	}
	_, behind, err := p.presentFrom(hole.Last+1, p.end()+1)
	return !behind, err
}

func (p *pass) records(places []Place) ([]Record, error) {
	var records []Record
	for _, place := range places {
		r, known, err := p.l.Record(place)
		if err != nil {
			return nil, err
		}
		if known {
			records = append(records, r)
		}
	}
	return records, nil
}

// survivors are the subjects and entities of the events that are still there, by the
// sequences of their first and last.
type survivors struct {
	first, last map[string]uint64 // of subjects
	entity      map[string]uint64 // the first of each entity
}

// survey goes through what is there, once.
func (p *pass) survey() error {
	if p.survivors.first != nil {
		return nil
	}
	s := survivors{make(map[string]uint64), make(map[string]uint64), make(map[string]uint64)}
	for from, n := p.state.First, 0; n < maxSurveyed; n += placesPage {
		places, err := p.l.From(from, placesPage)
		if err != nil {
			return err
		}
		there, err := p.outsideHoles(places)
		if err != nil {
			return err
		}
		for _, place := range there {
			if place.Seq > p.end() {
				continue
			}
			r, known, err := p.l.Record(place)
			if err != nil {
				return err
			}
			if !known {
				continue
			}
			if s.first[r.Subject] == 0 {
				s.first[r.Subject] = place.Seq
			}
			s.last[r.Subject] = place.Seq
			for _, e := range r.Entities {
				if s.entity[e] == 0 {
					s.entity[e] = place.Seq
				}
			}
		}
		if len(places) < placesPage {
			break
		}
		from = places[len(places)-1].Seq + 1
	}
	p.survivors = s
	return nil
}

// ruleOutDeletion says whether neither a purge nor an erasure explains a hole: events of
// several entities are gone from it, of whose subjects and of which earlier ones are still
// there.
func (s survivors) ruleOutDeletion(hole Range, records []Record) bool {
	earlier := func(first map[string]uint64, key string) bool { return first[key] != 0 && first[key] < hole.First }
	entities := make(map[string]bool)
	for _, r := range records {
		for _, e := range r.Entities {
			if earlier(s.first, r.Subject) && earlier(s.entity, e) {
				entities[e] = true
			}
		}
	}
	return len(entities) >= 2
}
