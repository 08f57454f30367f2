package admin

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const (
	sampleEvery = 5 * time.Second
	keepSamples = int(time.Hour / sampleEvery)
)

// History is the last hour of the bridge, as far as this process has seen it.
type History struct {
	Version string    `json:"version,omitempty"`
	Started time.Time `json:"started"`
	// Interval is from one sample to the next.
	Interval float64  `json:"interval_seconds"`
	Samples  []Sample `json:"samples"`
	// Types and Refused are counts since Started and of the last hour.
	Types   []TypeCount    `json:"types"`
	Refused []RefusedCount `json:"refused"`
}

// Sample is what happened between the one before it and At, and how things stood
// then.
type Sample struct {
	At        time.Time `json:"at"`
	Accepted  uint64    `json:"accepted"`
	Published uint64    `json:"published"`
	Refused   uint64    `json:"refused"`
	Pending   int       `json:"pending"`
	// The latencies are in seconds; nil when nothing came to be measured.
	AcceptMedian  *float64 `json:"accept_p50,omitempty"`
	AcceptP99     *float64 `json:"accept_p99,omitempty"`
	PublishMedian *float64 `json:"publish_p50,omitempty"`
	PublishP99    *float64 `json:"publish_p99,omitempty"`
}

// TypeCount counts the events of one type.
type TypeCount struct {
	Source       string `json:"source"`
	Type         string `json:"type"`
	Accepted     uint64 `json:"accepted"`
	Published    uint64 `json:"published"`
	AcceptedHour uint64 `json:"accepted_hour"`
}

// RefusedCount counts the requests refused for one reason.
type RefusedCount struct {
	Source string `json:"source"`
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
	Hour   uint64 `json:"hour"`
}

// history reads the metrics every few seconds and keeps an hour of them, so that
// the page has its charts at once, after a reload too. It reads what Prometheus
// reads, and so cannot tell a different story.
type history struct {
	gatherer prometheus.Gatherer
	started  time.Time
	minutes  *minutes

	mu      sync.Mutex
	samples []Sample  // the oldest first, keepSamples at most
	ring    []reading // the readings of the samples, one more in front
}

// reading is the metrics at one moment, as far as they matter here. All but pending
// only grow while the process lives.
type reading struct {
	at                time.Time
	pending           float64
	accepted          map[labels]float64
	published         map[labels]float64
	refused           map[labels]float64
	acceptDuration    buckets
	publishedDuration buckets
}

// labels are a source, and a type or a reason.
type labels struct{ source, name string }

// buckets is a histogram: counts up to and including each bound.
type buckets map[float64]uint64

func newHistory(g prometheus.Gatherer) *history {
	return &history{gatherer: g, started: time.Now().UTC(), minutes: newMinutes()}
}

// run takes samples until ctx ends.
func (h *history) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		h.take(time.Now().UTC())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (h *history) take(now time.Time) {
	if h.gatherer == nil {
		return
	}
	families, err := h.gatherer.Gather()
	if err != nil && len(families) == 0 {
		return // what is wrong with the metrics, /metrics says
	}
	next := read(now, families)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ring) > 0 {
		last := &h.ring[len(h.ring)-1]
		h.samples = append(h.samples, sampleOf(*last, next))
		h.minutes.live(last, &next)
		last.thin()
	}
	h.ring = append(h.ring, next)
	if over := len(h.samples) - keepSamples; over > 0 {
		h.samples = slices.Delete(h.samples, 0, over)
		h.ring = slices.Delete(h.ring, 0, over)
	}
}

// get is the history after a moment.
func (h *history) get(after time.Time) History {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := len(h.samples)
	for from > 0 && h.samples[from-1].At.After(after) {
		from--
	}
	got := History{
		Started: h.started, Interval: sampleEvery.Seconds(), Samples: append([]Sample{}, h.samples[from:]...), // [] in JSON, also when there is none
		Types: []TypeCount{}, Refused: []RefusedCount{},
	}
	if len(h.ring) == 0 {
		return got
	}
	oldest, newest := h.ring[0], h.ring[len(h.ring)-1]
	for l, n := range newest.accepted {
		got.Types = append(got.Types, TypeCount{
			Source: l.source, Type: l.name, Accepted: count(n), Published: count(newest.published[l]), AcceptedHour: count(n - oldest.accepted[l]),
		})
	}
	slices.SortFunc(got.Types, func(a, b TypeCount) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Type, b.Type))
	})
	for l, n := range newest.refused {
		if n > 0 {
			got.Refused = append(got.Refused, RefusedCount{Source: l.source, Reason: l.name, Count: count(n), Hour: count(n - oldest.refused[l])})
		}
	}
	slices.SortFunc(got.Refused, func(a, b RefusedCount) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Reason, b.Reason))
	})
	return got
}

func read(at time.Time, families []*dto.MetricFamily) reading {
	r := reading{at: at, accepted: make(map[labels]float64), published: make(map[labels]float64), refused: make(map[labels]float64),
		acceptDuration: make(buckets), publishedDuration: make(buckets)}
	counters := func(f *dto.MetricFamily, into map[labels]float64, label string) {
		for _, m := range f.GetMetric() {
			into[labels{labelOf(m, "source"), labelOf(m, label)}] += m.GetCounter().GetValue()
		}
	}
	histogram := func(f *dto.MetricFamily, into buckets) {
		for _, m := range f.GetMetric() {
			for _, b := range m.GetHistogram().GetBucket() {
				into[b.GetUpperBound()] += b.GetCumulativeCount()
			}
			into[math.Inf(1)] += m.GetHistogram().GetSampleCount()
		}
	}
	for _, f := range families {
		switch f.GetName() {
		case "persat_bridge_accepted_total":
			counters(f, r.accepted, "type")
		case "persat_bridge_published_total":
			counters(f, r.published, "type")
		case "persat_bridge_rejected_total":
			counters(f, r.refused, "reason")
		case "persat_bridge_pending_events":
			for _, m := range f.GetMetric() {
				r.pending += m.GetGauge().GetValue()
			}
		case "persat_bridge_accept_duration_seconds":
			histogram(f, r.acceptDuration)
		case "persat_bridge_publish_duration_seconds":
			histogram(f, r.publishedDuration)
		}
	}
	return r
}

// thin drops what only the newest reading is asked for: there are 720 others.
func (r *reading) thin() {
	r.published, r.acceptDuration, r.publishedDuration = nil, nil, nil
	for _, m := range []map[labels]float64{r.accepted, r.refused} {
		maps.DeleteFunc(m, func(_ labels, n float64) bool { return n == 0 })
	}
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func sampleOf(before, now reading) Sample {
	return Sample{
		At:            now.at,
		Accepted:      count(total(now.accepted) - total(before.accepted)),
		Published:     count(total(now.published) - total(before.published)),
		Refused:       count(total(now.refused) - total(before.refused)),
		Pending:       int(now.pending),
		AcceptMedian:  quantile(0.5, before.acceptDuration, now.acceptDuration),
		AcceptP99:     quantile(0.99, before.acceptDuration, now.acceptDuration),
		PublishMedian: quantile(0.5, before.publishedDuration, now.publishedDuration),
		PublishP99:    quantile(0.99, before.publishedDuration, now.publishedDuration),
	}
}

func total(m map[labels]float64) float64 {
	sum := 0.0
	for _, v := range m {
		sum += v
	}
	return sum
}

func count(v float64) uint64 { return uint64(max(v, 0)) }

// quantile estimates q of what a histogram has taken in between two readings, as
// Prometheus does: evenly spread inside a bucket, and what is above the last bound
// at that bound. nil when it has taken in nothing.
func quantile(q float64, before, now buckets) *float64 {
	bounds := slices.Sorted(maps.Keys(now))
	if len(bounds) == 0 {
		return nil
	}
	all := now[bounds[len(bounds)-1]] - before[bounds[len(bounds)-1]]
	if all == 0 {
		return nil
	}
	rank, below, lower := q*float64(all), 0.0, 0.0
	for _, bound := range bounds {
		upTo := float64(now[bound] - before[bound])
		if upTo >= rank && !math.IsInf(bound, 1) {
			v := lower + (bound-lower)*(rank-below)/(upTo-below)
			return &v
		}
		if !math.IsInf(bound, 1) {
			below, lower = upTo, bound
		}
	}
	return &lower
}
