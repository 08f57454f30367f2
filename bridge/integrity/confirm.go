package integrity

import (
	"context"
	"time"
)

// Confirmation is the result of a check.
type Confirmation struct {
	State State
	// RolledBackAt is a sequence that was rolled back, or 0.
	RolledBackAt uint64
	// Recreated: the stream has another identity.
	Recreated bool
	// Unsure: only a whole pass can say what became of the stream.
	Unsure string
}

// Confirm makes one check: no retry, no log, no write.
func Confirm(ctx context.Context, s Stream, l Ledger, c Check, now time.Time) (Confirmation, error) {
	p := pass{ctx: ctx, s: s, l: l, o: Options{Now: now}}
	var err error
	if p.state, err = s.State(ctx); err != nil {
		return Confirmation{}, err
	}
	result := Confirmation{State: p.state}
	if !p.state.Exists {
		return result, nil // the attempts show it
	}
	known, err := l.Identity()
	if err != nil || known != "" && known != p.state.Identity {
		result.Recreated = err == nil
		return result, err
	}
	if c.Heard > p.state.Last { // whosever it was: a replay's sequence is in no record
		result.RolledBackAt = p.state.Last + 1
		return result, nil
	}
	if p.seen, err = l.Observed(); err != nil {
		return result, err
	}
	if p.seen.Host != "" && p.state.Host != "" && p.seen.Identity == p.state.Identity && p.seen.Host != p.state.Host {
		result.Unsure = "another server process has the stream"
		return result, nil
	}
	// A place with a record: the newest sequence may be a replay's or another publisher's.
	for below, n := c.Seq+1, 0; n < aroundObserved; n++ {
		places, err := l.Newest(below, 1)
		if err != nil || len(places) == 0 {
			return result, err
		}
		found, err := p.look(places)
		if err != nil {
			return result, err
		}
		switch found[places[0]] {
		case otherID:
			result.RolledBackAt = places[0].Seq
			return result, nil
		case nothing:
			if !p.unbroken() && !p.state.Limits.RemovedOnceHandled && places[0].Seq >= p.state.First {
				result.Unsure = "a message is missing"
				return result, nil
			}
		case confirmed:
			return result, nil
		}
		below = places[0].Seq // this one says nothing of those before it
	}
	return result, nil
}

// Observe compares a state with what was observed last, and says what follows. A verdict
// of the kind Intact names what was taken away on purpose; again is true when only a whole
// pass can say why something is missing.
func Observe(ctx context.Context, s Stream, l Ledger, heard uint64, now time.Time) (v Verdict, again bool, err error) {
	p := pass{ctx: ctx, s: s, l: l, o: Options{Now: now}}
	if p.state, err = s.State(ctx); err != nil {
		return Verdict{}, false, err
	}
	p.v.State = p.state
	if !p.state.Exists {
		p.v.Kind = Absent
		return p.v, false, nil
	}
	if p.seen, err = l.Observed(); err != nil {
		return Verdict{}, false, err
	}
	known, err := l.Identity()
	if err != nil {
		return Verdict{}, false, err
	}
	sameStream := p.seen.Identity == p.state.Identity
	switch changed := p.seen.First != p.state.First || p.seen.Deleted != p.state.Deleted; {
	case known != "" && known != p.state.Identity,
		sameStream && p.state.Last < max(p.seen.Last, heard),
		sameStream && p.seen.Host != p.state.Host && p.seen.Host != "" && p.state.Host != "",
		changed && !p.unbroken() && !p.state.Limits.RemovedOnceHandled:
		return p.v, true, nil
	}
	return p.v, false, p.missing()
}
