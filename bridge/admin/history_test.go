package admin

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestHistory(t *testing.T) {
	registry := prometheus.NewRegistry()
	accepted := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "persat_bridge_accepted_total"}, []string{"source", "type"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "persat_bridge_rejected_total"}, []string{"source", "reason"})
	pending := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "persat_bridge_pending_events"}, []string{"source"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "persat_bridge_accept_duration_seconds", Buckets: []float64{.1, 1}}, []string{"source"})
	registry.MustRegister(accepted, refused, pending, duration)
	accepted.WithLabelValues("persat", "other")
	accepted.WithLabelValues("persat", "workorder.created").Add(100) // before the first reading

	h := newHistory(registry)
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	take := func() { h.take(at); at = at.Add(sampleEvery) }
	take()
	accepted.WithLabelValues("persat", "workorder.created").Add(3)
	refused.WithLabelValues("persat", "timestamp").Inc()
	pending.WithLabelValues("persat").Set(7)
	pending.WithLabelValues("other").Set(1)
	for range 10 {
		duration.WithLabelValues("persat").Observe(0.05)
	}
	take()
	take()

	got := h.get(time.Time{})
	if len(got.Samples) != 2 {
		t.Fatalf("got %d samples of three readings, want 2", len(got.Samples))
	}
	first, second := got.Samples[0], got.Samples[1]
	if first.Accepted != 3 || first.Refused != 1 || first.Pending != 8 {
		t.Errorf("got %+v, want 3 accepted, 1 refused, 8 pending", first)
	}
	if first.AcceptMedian == nil || math.Abs(*first.AcceptMedian-0.05) > 1e-9 {
		t.Errorf("median of the first sample: got %v, want 0.05", first.AcceptMedian)
	}
	if second.Accepted != 0 || second.AcceptMedian != nil || second.Pending != 8 {
		t.Errorf("got %+v, want nothing new and still 8 pending", second)
	}
	if after := h.get(first.At); len(after.Samples) != 1 || !after.Samples[0].At.Equal(second.At) {
		t.Errorf("after the first: got %v", after.Samples)
	}
	want := []TypeCount{{Source: "persat", Type: "other"}, {Source: "persat", Type: "workorder.created", Accepted: 103, AcceptedHour: 3}}
	if len(got.Types) != 2 || got.Types[0] != want[0] || got.Types[1] != want[1] {
		t.Errorf("got types %+v, want %+v", got.Types, want)
	}

	for range 2 * keepSamples {
		take()
	}
	got = h.get(time.Time{})
	if len(got.Samples) != keepSamples || len(h.ring) != keepSamples+1 {
		t.Errorf("got %d samples and %d readings, want an hour of them", len(got.Samples), len(h.ring))
	}
	if got.Types[1].AcceptedHour != 0 || got.Types[1].Accepted != 103 {
		t.Errorf("two hours later: got %+v, want nothing in the last hour", got.Types[1])
	}
	if len(got.Refused) != 1 || got.Refused[0].Hour != 0 || got.Refused[0].Count != 1 {
		t.Errorf("two hours later: got %+v", got.Refused)
	}
}

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	for name, test := range map[string]struct {
		q           float64
		before, now buckets
		want        float64
	}{
		"in the first bucket": {0.5, nil, buckets{1: 10, 2: 10, inf: 10}, 0.5},
		"in the second":       {0.99, nil, buckets{1: 0, 2: 100, inf: 100}, 1.99},
		"above the last":      {0.99, nil, buckets{1: 0, 2: 0, inf: 5}, 2},
		"only what is new":    {0.5, buckets{1: 100, 2: 100, inf: 100}, buckets{1: 100, 2: 110, inf: 110}, 1.5},
	} {
		got := quantile(test.q, test.before, test.now)
		if got == nil || math.Abs(*got-test.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	if got := quantile(0.5, buckets{1: 1, inf: 1}, buckets{1: 1, inf: 1}); got != nil {
		t.Errorf("of nothing: got %v, want none", *got)
	}
}
