package alert

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// condition is something that needs people. find says where it holds at the moment: how
// long it has to last is not its affair.
type condition struct {
	code string
	// over is how long the process has to have been watching before it can be seen that
	// the condition does not hold; 0 for what the state itself says.
	over time.Duration
	find func(a *Alerter, s *State, now time.Time) []finding
}

// finding is a place where a condition holds, with what is told of it.
type finding struct {
	source string // empty for the bridge as a whole
	count  int64
	at     time.Time
	reason string
}

const (
	// waitsTooLong is the age of the oldest pending event that is told.
	waitsTooLong = 5 * time.Minute
	// fullWithin is the room in the journal, as time, that is told while events wait.
	fullWithin = 6 * time.Hour
	// nearlyFull is the used part of the journal's limit that is told.
	nearlyFull = 0.95
	// refusalsOver is over how long requests are looked at that are all refused, and
	// refusalsFrom how many of them are told.
	refusalsOver, refusalsFrom = 15 * time.Minute, 3
	// overloadOver is over how long refusals for too many requests are looked at.
	overloadOver = 5 * time.Minute
	// slowOver is over how long the time to accept is looked at, and slowFrom what of it is
	// told: the sender gives up at 15 s.
	slowOver, slowFrom = 5 * time.Minute, 5.0
	// expiresWithin is how long before its end a certificate is told.
	expiresWithin = 7 * 24 * time.Hour
	// behindOver is for how long a consumer has had messages to do, and not fewer, when it
	// is told.
	behindOver = 45 * time.Minute
	// streamFullWithin is in how long the stream has its max_bytes when that is told.
	streamFullWithin = 3 * 24 * time.Hour
	// healedOver is how long a loss of the stream's is told of.
	healedOver = time.Hour
)

// conditions are in the order in which they are told when several begin at once.
var conditions = []condition{
	{"not_ready", 0, func(_ *Alerter, s *State, _ time.Time) []finding {
		if s.Accepting {
			return nil
		}
		return []finding{{reason: s.Refusing}}
	}},
	{"nats_away", 0, func(_ *Alerter, s *State, _ time.Time) []finding {
		if s.NATS.Up {
			return nil
		}
		return []finding{{count: int64(s.Pending), at: s.NATS.Since, reason: s.NATS.Reason}}
	}},
	{"events_held", 0, func(_ *Alerter, s *State, _ time.Time) []finding {
		return bySource(s.Held, func(h bridge.HeldSubject) (string, finding) {
			return h.Source, finding{count: int64(h.Waiting), at: h.Since, reason: h.Reason}
		})
	}},
	{"events_waiting", 0, func(_ *Alerter, s *State, now time.Time) []finding {
		return bySource(s.Sources, func(source bridge.SourceStatus) (string, finding) {
			if at := source.OldestPending; at != nil && now.Sub(*at) > waitsTooLong {
				return source.Name, finding{count: int64(source.Pending), at: *at}
			}
			return "", finding{}
		})
	}},
	{"journal_nearly_full", 0, func(_ *Alerter, s *State, _ time.Time) []finding {
		if used := share(s); used > nearlyFull {
			return []finding{{count: int64(100 * used)}}
		}
		return nil
	}},
	{"journal_filling", 0, func(_ *Alerter, s *State, now time.Time) []finding {
		waits := slices.ContainsFunc(s.Sources, func(source bridge.SourceStatus) bool {
			return source.OldestPending != nil && now.Sub(*source.OldestPending) > waitsTooLong
		})
		if room := s.JournalRoom; waits && room != nil && *room < fullWithin.Seconds() {
			return []finding{{count: int64(100 * share(s)), at: now.Add(time.Duration(*room * float64(time.Second))).Truncate(time.Minute)}}
		}
		return nil
	}},
	{"dead_letters", 0, func(_ *Alerter, s *State, _ time.Time) []finding {
		return bySource(s.Sources, func(source bridge.SourceStatus) (string, finding) {
			if source.Dead == 0 {
				return "", finding{}
			}
			return source.Name, finding{count: int64(source.Dead)}
		})
	}},
	{"only_refusals", refusalsOver, func(a *Alerter, s *State, now time.Time) (found []finding) {
		before := a.past.at(now.Add(-refusalsOver))
		for _, source := range slices.Sorted(maps.Keys(s.Counters.Unauthentic)) {
			refused := s.Counters.Unauthentic[source] - before.Unauthentic[source]
			if refused > refusalsFrom && s.Counters.Taken[source] == before.Taken[source] {
				found = append(found, finding{source: source, count: int64(refused)})
			}
		}
		return found
	}},
	{"no_events", 0, func(a *Alerter, s *State, now time.Time) []finding {
		return bySource(s.Sources, func(source bridge.SourceStatus) (string, finding) {
			last := source.LastEvent
			if last == nil || now.Sub(last.At) < a.o.Silence {
				return "", finding{}
			}
			// After a long stop the sender has an hour to come back, unless it was silent before.
			if a.known[key{"no_events", source.Name}] == nil && now.Sub(a.started) < min(a.o.Silence, time.Hour) {
				return "", finding{}
			}
			return source.Name, finding{at: last.At, reason: last.Type}
		})
	}},
	{"pull_failing", 0, func(_ *Alerter, s *State, _ time.Time) []finding {
		return bySource(s.Pulls, func(p FailingPull) (string, finding) {
			return p.Source, finding{at: p.Since, reason: p.Reason}
		})
	}},
	{"accept_slow", slowOver, func(a *Alerter, s *State, now time.Time) []finding {
		slow := quantile99(a.past.at(now.Add(-slowOver)).AcceptDuration, s.Counters.AcceptDuration)
		if slow <= slowFrom {
			return nil
		}
		return []finding{{count: int64(slow)}}
	}},
	{"overloaded", overloadOver, func(a *Alerter, s *State, now time.Time) []finding {
		n := s.Counters.Overloaded - a.past.at(now.Add(-overloadOver)).Overloaded
		if n <= 0 {
			return nil
		}
		return []finding{{count: int64(n)}}
	}},
	{"certificate", 0, func(_ *Alerter, s *State, now time.Time) []finding {
		if s.CertificateExpires.IsZero() || s.CertificateExpires.Sub(now) > expiresWithin {
			return nil
		}
		return []finding{{at: s.CertificateExpires}}
	}},
	{"consumer_behind", behindOver, func(a *Alerter, s *State, now time.Time) (found []finding) {
		if s.Stream == nil || s.Stream.ConsumersError != "" {
			return a.stillSeen("consumer_behind")
		}
		for name, messages := range behind(s) {
			before, least, known := a.past.behind(name, now.Add(-behindOver))
			if known && least > 0 && messages >= before || !known && messages > 0 && a.known[key{"consumer_behind", name}] != nil {
				found = append(found, finding{source: name, count: int64(messages)})
			}
		}
		slices.SortFunc(found, func(x, y finding) int { return cmp.Compare(x.source, y.source) })
		return found
	}},
	{"stream_filling", 0, func(a *Alerter, s *State, now time.Time) []finding {
		if s.Stream == nil {
			return a.stillSeen("stream_filling")
		}
		at, ok := streamFull(s.Stream, now)
		if !ok || at.Sub(now) > streamFullWithin {
			return nil
		}
		return []finding{{count: int64(100 * float64(s.Stream.Bytes) / float64(s.Stream.MaxBytes)), at: at.Truncate(time.Minute)}}
	}},
	{"stream_lost_events", healedOver, func(a *Alerter, s *State, now time.Time) []finding {
		n := s.Counters.Healed - a.past.at(now.Add(-healedOver)).Healed
		if n <= 0 {
			return nil
		}
		return []finding{{count: int64(n)}}
	}},
}

// bySource joins what is found of the parts of each source: the counts are added, the
// earliest time and its reason stay.
func bySource[T any](parts []T, find func(T) (source string, f finding)) (found []finding) {
	for _, part := range parts {
		source, f := find(part)
		if source == "" {
			continue
		}
		f.source = source
		i := slices.IndexFunc(found, func(other finding) bool { return other.source == source })
		if i < 0 {
			found = append(found, f)
			continue
		}
		f.count += found[i].count
		if !f.at.Before(found[i].at) {
			f.at, f.reason = found[i].at, found[i].reason
		}
		found[i] = f
	}
	return found
}

// stillSeen is what was found of a condition before it could not be seen any more, as when
// NATS went: it has not ended by that.
func (a *Alerter) stillSeen(code string) (found []finding) {
	for k, e := range a.known {
		if k.code == code && !e.recalled {
			found = append(found, e.finding)
		}
	}
	return found
}

// behind are the messages that each durable consumer has not acknowledged. The others have
// a new name at each start of their client.
func behind(s *State) map[string]uint64 {
	if s.Stream == nil {
		return nil
	}
	behind := make(map[string]uint64)
	for _, c := range s.Stream.ConsumerList {
		if c.Durable {
			behind[c.Name] = c.Pending + uint64(c.AckPending)
		}
	}
	return behind
}

// streamFull is when the stream has its max_bytes and takes no more; false when it has no
// such limit, discards old messages instead, or forgets messages before it gets there.
func streamFull(stream *bridge.StreamInfo, now time.Time) (time.Time, bool) {
	if stream == nil || stream.MaxBytes <= 0 || stream.Discard != "new" || stream.GrowthPerDay <= 0 {
		return time.Time{}, false
	}
	const day = float64(24 * time.Hour)
	growth, limit := float64(stream.GrowthPerDay)/day, float64(stream.MaxBytes) // bytes a nanosecond
	if stream.MaxAge > 0 && growth*float64(stream.MaxAge) < limit {
		return time.Time{}, false
	}
	return now.Add(time.Duration(min(max(limit-float64(stream.Bytes), 0)/growth, 365*day))), true
}

// share is the used part of the journal's limit; 0 without one.
func share(s *State) float64 {
	if s.JournalLimit <= 0 {
		return 0
	}
	return float64(s.JournalBytes) / float64(s.JournalLimit)
}

// quantile99 is the bound below which 99 % of what a histogram has taken in between two
// moments stay; 0 when it has taken in nothing.
func quantile99(before, now map[float64]uint64) float64 {
	all := now[math.Inf(1)] - before[math.Inf(1)]
	if all == 0 {
		return 0
	}
	last := 0.0
	for _, bound := range slices.Sorted(maps.Keys(now)) {
		if math.IsInf(bound, 1) {
			break
		}
		last = bound
		if float64(now[bound]-before[bound]) >= 0.99*float64(all) {
			return bound
		}
	}
	return last + 1 // beyond the last bound
}

// past is the last hour, a few moments a minute.
type past struct{ moments []moment }

type moment struct {
	at time.Time
	Counters
	behind map[string]uint64 // see behind
}

// pastEvery is from one moment to the next.
const pastEvery = 15 * time.Second

func (p *past) note(now time.Time, s *State) {
	if n := len(p.moments); n > 0 && now.Sub(p.moments[n-1].at) < pastEvery {
		return
	}
	p.moments = append(p.moments, moment{now, s.Counters, behind(s)})
	for len(p.moments) > 1 && now.Sub(p.moments[1].at) >= healedOver {
		p.moments = p.moments[1:]
	}
}

// at returns the counters at a time: those of the last moment before it, or of the first
// there is.
func (p *past) at(t time.Time) Counters {
	c := p.moments[0].Counters
	for _, m := range p.moments {
		if m.at.After(t) {
			break
		}
		c = m.Counters
	}
	return c
}

// behind returns how many messages a consumer had not acknowledged at a time, and the least
// of all moments since; known is false when it was not seen then. A moment in which the
// stream could not be seen says nothing.
func (p *past) behind(consumer string, since time.Time) (then, least uint64, known bool) {
	for _, m := range p.moments {
		n, seen := m.behind[consumer]
		switch {
		case seen && !m.at.After(since):
			then, least, known = n, n, true
		case seen:
			least = min(least, n)
		}
	}
	return then, least, known
}
