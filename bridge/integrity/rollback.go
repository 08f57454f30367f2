package integrity

import "slices"

// rollback finds the first sequence that was rolled back.
func (p *pass) rollback() error {
	noted, err := p.l.RollbackNoted()
	if err != nil {
		return err
	}
	places, err := p.candidates()
	if err != nil {
		return err
	}
	if len(places) == 0 {
		p.v.From = noted // nothing is there to publish again: the note goes
		return nil
	}
	lowest, err := p.lowestLost(places)
	if err != nil {
		return err
	}
	for _, seq := range []uint64{noted, p.wrong} {
		if seq != 0 && (lowest == 0 || seq < lowest) {
			lowest = seq
		}
	}
	if lowest != 0 {
		p.v.From, err = p.firstLost(lowest)
	}
	return err
}

// candidates are the places where a rollback shows: the newest, and those on both sides
// of the last sequence that was observed. Whatever was acknowledged since a rollback lies
// above that, however much it is.
func (p *pass) candidates() ([]Place, error) {
	places, err := p.l.Newest(0, p.o.Newest)
	if err != nil {
		return nil, err
	}
	if p.seen.Last != 0 {
		below, err := p.l.Newest(p.seen.Last+1, aroundObserved)
		if err != nil {
			return nil, err
		}
		above, err := p.l.From(p.seen.Last+1, p.o.Newest)
		if err != nil {
			return nil, err
		}
		places = slices.Concat(places, below, above)
	}
	return unique(places), nil
}

// lowestLost is the lowest of some places that was rolled back, or 0. The highest is asked
// for last, whatever was found before: while it is there, all that was found is.
func (p *pass) lowestLost(places []Place) (uint64, error) {
	highest := places[len(places)-1]
	for i := len(places) - 1; i >= 0 && places[i].Seq <= p.state.Last; i-- {
		highest = places[i]
		break
	}
	again := len(p.c.places) > 0
	lowest := uint64(0)
	ask := func(places []Place) (anchored bool, err error) {
		found, err := p.look(places)
		for place, f := range found {
			switch f {
			case otherID:
				if lowest == 0 || place.Seq < lowest {
					lowest = place.Seq
				}
			case confirmed:
				p.c.add(place)
			}
		}
		return count(found, confirmed) > 0, err
	}
	rest := slices.DeleteFunc(slices.Clone(places), func(place Place) bool { return place == highest || p.c.has(place) })
	if _, err := ask(rest); err != nil {
		return 0, err
	}
	if _, err := ask([]Place{highest}); err != nil {
		return 0, err
	}
	if lowest != 0 && again { // what the passes before have found may have been lost since
		p.c.forget()
		return p.lowestLost(places)
	}
	if lowest != 0 {
		return lowest, nil
	}
	// A message that was stored after its mark is another publisher's of the same event, and
	// a hole has none: they say nothing of those before them. From the newest on, go down to
	// one that does.
	for n, below := 0, uint64(0); lowest == 0 && n < maxDown; n += p.o.Newest {
		older, err := p.l.Newest(below, p.o.Newest)
		if err != nil || len(older) == 0 {
			return 0, err
		}
		there, err := p.outsideHoles(older)
		if err != nil {
			return 0, err
		}
		known := slices.ContainsFunc(there, p.c.has)
		if anchored, err := ask(slices.DeleteFunc(there, p.c.has)); err != nil || anchored || known {
			return lowest, err
		}
		if below = older[len(older)-1].Seq; below <= p.state.First {
			break
		}
	}
	return lowest, nil
}

// outsideHoles are the places at which there is a message.
func (p *pass) outsideHoles(places []Place) ([]Place, error) {
	var there []Place
	for _, place := range places {
		_, in, err := p.hole(place.Seq)
		if err != nil {
			return nil, err
		}
		if !in && place.Seq >= p.state.First {
			there = append(there, place)
		}
	}
	return there, nil
}

// firstLost searches between the first sequence and one that was rolled back for the
// lowest that was. What lies before it is there, or in a hole, which is decided apart.
func (p *pass) firstLost(lost uint64) (uint64, error) {
	low, high := uint64(0), lost // the answer is in (low, high], or lost
	if p.state.First > 0 && p.state.First <= lost {
		low = p.state.First - 1
	}
	for low+1 < high {
		middle := low + (high-low)/2
		place, ok, err := p.presentFrom(middle, high)
		if err != nil {
			return 0, err
		}
		if !ok {
			high = middle
			continue
		}
		found, err := p.look([]Place{place})
		if err != nil {
			return 0, err
		}
		if found[place] == otherID {
			high, lost = place.Seq, place.Seq
		} else {
			low = place.Seq
		}
	}
	return lost, nil
}

// presentFrom is the lowest place in a range that is not in a hole.
func (p *pass) presentFrom(seq, end uint64) (Place, bool, error) {
	for {
		places, err := p.l.From(seq, 1)
		if err != nil || len(places) == 0 || places[0].Seq >= end {
			return Place{}, false, err
		}
		hole, in, err := p.hole(places[0].Seq)
		if err != nil || !in {
			return places[0], err == nil, err
		}
		seq = hole.Last + 1
	}
}
