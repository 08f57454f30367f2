package admin

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// Range is how far back a history goes, and Step how much of it is one sample.
type Range struct{ Span, Step time.Duration }

// ranges are those that the history can be asked for.
var ranges = map[string]Range{
	"15m": {15 * time.Minute, time.Minute},
	"1h":  {time.Hour, time.Minute},
	"24h": {24 * time.Hour, 10 * time.Minute},
	"72h": {72 * time.Hour, 30 * time.Minute},
}

// Past is the history of a range, also from before this process started.
type Past struct {
	Started  time.Time `json:"started"`
	Interval float64   `json:"interval_seconds"`
	Samples  []Sample  `json:"samples"`
	// Types are the events accepted of each type, for each sample.
	Types []TypeSeries `json:"types"`
	// Complete is false while the journal is still being read for what was before.
	Complete bool `json:"complete"`
}

// TypeSeries are the events of one type.
type TypeSeries struct {
	Source   string   `json:"source"`
	Type     string   `json:"type"`
	Accepted []uint64 `json:"accepted"`
	Total    uint64   `json:"total"`
}

const (
	pastSpan = 72 * time.Hour
	// maxPastTypes bounds the types that are counted by themselves; the rest is "other".
	maxPastTypes = 100
)

// bounds are those of the latencies, in seconds.
var bounds = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120, 600, 3600, 21600, math.Inf(1)}

// latencies counts how many took at most so long and longer than the bound before.
type latencies [len(bounds)]uint32

func (l *latencies) add(seconds float64, n uint64) {
	i, _ := slices.BinarySearch(bounds[:], seconds)
	l[min(i, len(bounds)-1)] += uint32(n)
}

func (l *latencies) cumulative(into buckets) {
	sum := uint64(0)
	for i, n := range l {
		sum += uint64(n)
		into[bounds[i]] += sum
	}
}

// minute is what happened in one minute.
type minute struct {
	accepted, published, refused uint32
	// pending is how many waited at its end, when that was measured; else change is by how
	// many more or fewer they were than a minute before.
	pending   int32
	measured  bool
	change    int32
	accepting latencies
	endToEnd  latencies
	types     map[labels]uint32
}

// minutes is what the last three days were like: what this process has seen from its
// metrics, and what was before from the journal, which keeps events as long.
type minutes struct {
	mu       sync.Mutex
	of       map[int64]*minute // by minutes since 1970
	types    map[labels]struct{}
	complete bool
}

func newMinutes() *minutes {
	return &minutes{of: make(map[int64]*minute), types: make(map[labels]struct{})}
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// at returns a minute. m.mu is held.
func (m *minutes) at(t time.Time) *minute {
	k := minuteOf(t)
	if m.of[k] == nil {
		m.of[k] = &minute{}
	}
	return m.of[k]
}

// accepted counts events of a type. m.mu is held.
func (m *minutes) accepted(at *minute, l labels, n uint32) {
	if _, known := m.types[l]; !known {
		if len(m.types) >= maxPastTypes {
			l.name = "other"
		}
		m.types[l] = struct{}{}
	}
	if at.types == nil {
		at.types = make(map[labels]uint32)
	}
	at.types[l] += n
	at.accepted += n
}

// live adds what happened between two readings of the metrics.
func (m *minutes) live(before, now *reading) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.at(now.at)
	for l, n := range now.accepted {
		if more := count(n - before.accepted[l]); more > 0 {
			m.accepted(at, l, uint32(more))
		}
	}
	at.published += uint32(count(total(now.published) - total(before.published)))
	at.refused += uint32(count(total(now.refused) - total(before.refused)))
	at.pending, at.measured = int32(now.pending), true
	for _, d := range []struct {
		before, now buckets
		into        *latencies
	}{{before.acceptDuration, now.acceptDuration, &at.accepting}, {before.publishedDuration, now.publishedDuration, &at.endToEnd}} {
		below := uint64(0)
		for _, bound := range slices.Sorted(maps.Keys(d.now)) {
			upTo := d.now[bound] - d.before[bound]
			d.into.add(bound, upTo-below)
			below = upTo
		}
	}
	oldest := minuteOf(now.at.Add(-pastSpan))
	maps.DeleteFunc(m.of, func(k int64, _ *minute) bool { return k < oldest })
}

// recorded adds an event of the journal that was accepted before this process started.
func (m *minutes) recorded(r *bridge.Record, started time.Time) {
	at := m.at(r.Accepted)
	m.accepted(at, labels{r.Source, r.Type}, 1)
	at.change++
	if r.At == nil || !r.At.Before(started) {
		return // it waited until this process, which counts it itself
	}
	end := m.at(*r.At)
	end.change--
	if r.State == journal.Published {
		end.published++
		end.endToEnd.add(max(r.At.Sub(r.Accepted).Seconds(), 0), 1)
	}
}

// pastReader lists events, as *bridge.Bridge does.
type pastReader interface {
	Events(ctx context.Context, q bridge.EventQuery) (bridge.EventList, error)
}

const (
	// pastPage is how many records are read at a time.
	pastPage = 5000
	// pastPause is how long the reader rests after each page: nobody is in a hurry, and the
	// disk is for those who write.
	pastPause = 20 * time.Millisecond
)

// fill reads from the journal what was before started. It ends with ctx, at the end of the
// journal, or where that is three days old.
func (m *minutes) fill(ctx context.Context, from pastReader, started time.Time) {
	for before := uint64(0); ; {
		list, err := from.Events(ctx, bridge.EventQuery{Before: before, Limit: pastPage})
		if err != nil || ctx.Err() != nil {
			return // what is wrong with the journal, others say
		}
		m.mu.Lock()
		for i := range list.Records {
			if r := &list.Records[i]; r.Accepted.Before(started) && started.Sub(r.Accepted) < pastSpan {
				m.recorded(r, started)
			}
		}
		m.mu.Unlock()
		if before = list.More; before == 0 || list.Looked > 0 && started.Sub(list.Reached) > pastSpan {
			break
		}
		select {
		case <-time.After(pastPause):
		case <-ctx.Done():
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complete = true
}

// get is the history of a range until now.
func (m *minutes) get(r Range, now time.Time) Past {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := int(r.Span / r.Step)
	end := now.Truncate(r.Step).Add(r.Step)
	begin := end.Add(-r.Span)
	past := Past{Interval: r.Step.Seconds(), Samples: make([]Sample, n), Types: []TypeSeries{}, Complete: m.complete}
	waiting := m.waiting()
	perStep := int64(r.Step / time.Minute)
	series := make(map[labels][]uint64)
	for i := range past.Samples {
		s := &past.Samples[i]
		s.At = begin.Add(time.Duration(i+1) * r.Step).UTC()
		if s.At.After(now) {
			s.At = now.UTC()
		}
		accepting, endToEnd := make(buckets), make(buckets)
		first := minuteOf(begin) + int64(i)*perStep
		for k := first; k < first+perStep; k++ {
			at := m.of[k]
			if at == nil {
				continue
			}
			s.Accepted += uint64(at.accepted)
			s.Published += uint64(at.published)
			s.Refused += uint64(at.refused)
			at.accepting.cumulative(accepting)
			at.endToEnd.cumulative(endToEnd)
			for l, count := range at.types {
				if series[l] == nil {
					series[l] = make([]uint64, n)
				}
				series[l][i] += uint64(count)
			}
		}
		s.Pending = waiting(min(first+perStep-1, minuteOf(now)))
		s.AcceptMedian, s.AcceptP99 = quantile(0.5, nil, accepting), quantile(0.99, nil, accepting)
		s.PublishMedian, s.PublishP99 = quantile(0.5, nil, endToEnd), quantile(0.99, nil, endToEnd)
	}
	for l, accepted := range series {
		t := TypeSeries{Source: l.source, Type: l.name, Accepted: accepted}
		for _, n := range accepted {
			t.Total += n
		}
		past.Types = append(past.Types, t)
	}
	slices.SortFunc(past.Types, func(a, b TypeSeries) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Type, b.Type))
	})
	return past
}

// waiting returns how many events waited at the end of a minute. Minutes have to be asked
// for in order. m.mu is held.
func (m *minutes) waiting() func(k int64) int {
	keys := slices.Sorted(maps.Keys(m.of))
	i, pending := 0, 0
	return func(k int64) int {
		for ; i < len(keys) && keys[i] <= k; i++ {
			at := m.of[keys[i]]
			if pending += int(at.change); at.measured {
				pending = int(at.pending)
			}
		}
		return max(pending, 0)
	}
}
