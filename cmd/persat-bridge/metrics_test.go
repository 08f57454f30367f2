package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// contractMetrics are the names that dashboards and alerts of others rely on, with
// their labels.
var contractMetrics = map[string]string{
	"persat_bridge_certificate_expiry_timestamp_seconds": "",
	"persat_bridge_requests_total":                       "code source",
	"persat_bridge_accepted_total":                       "source type",
	"persat_bridge_duplicates_total":                     "source",
	"persat_bridge_rejected_total":                       "reason source",
	"persat_bridge_accept_duration_seconds":              "source",
	"persat_bridge_journal_sync_duration_seconds":        "",
	"persat_bridge_published_total":                      "source type",
	"persat_bridge_publish_attempts_total":               "result source",
	"persat_bridge_publish_batches_total":                "mode",
	"persat_bridge_publish_duration_seconds":             "",
	"persat_bridge_pending_events":                       "source",
	"persat_bridge_oldest_pending_age_seconds":           "source",
	"persat_bridge_held_events":                          "source",
	"persat_bridge_dead_events":                          "source",
	"persat_bridge_last_event_timestamp_seconds":         "source",
	"persat_bridge_healed_events_total":                  "",
	"persat_bridge_journal_bytes":                        "",
	"persat_bridge_journal_limit_bytes":                  "",
	"persat_bridge_ready":                                "",
	"persat_bridge_nats_connected":                       "",
	"persat_bridge_build_info":                           "commit goversion version",
	"persat_bridge_stream_messages":                      "",
	"persat_bridge_stream_bytes":                         "",
	"persat_bridge_stream_limit_bytes":                   "",
	"persat_bridge_consumer_pending_messages":            "consumer",
	"persat_bridge_consumer_unacknowledged_messages":     "consumer",
}

// freshRegistry is the registry of a bridge that has not had a request yet, and has seen a
// stream with a consumer.
func freshRegistry(t *testing.T) *prometheus.Registry {
	t.Helper()
	level := zap.NewAtomicLevel()
	cfg, pair := demoConfig(t.TempDir(), newSecret()), newKeyPair(t, 1)
	cfg.Server.TLS.CertFile, cfg.Server.TLS.KeyFile = pair.cert, pair.key
	a, err := newApp(t.Context(), cfg, zap.NewNop(), &level)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.run(t.Context()); err != nil { // the context has ended: it closes everything
			t.Error(err)
		}
	})
	a.stream.seen.Store(&bridge.StreamInfo{ConsumerList: []bridge.ConsumerInfo{{Name: "billing", Durable: true}}})
	return a.registry
}

func TestMetrics(t *testing.T) {
	registry := freshRegistry(t)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("lint: %s: %s", p.Metric, p.Text)
	}
	families := gather(t, registry)
	for name, labels := range contractMetrics {
		f := families[name]
		if f == nil {
			t.Errorf("%s is not there before the first event", name)
			continue
		}
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName())
			}
			if got := strings.Join(got, " "); got != labels {
				t.Errorf("%s: got labels %q, want %q", name, got, labels)
			}
		}
	}
	for name := range families {
		if _, ok := contractMetrics[name]; !ok && strings.HasPrefix(name, "persat_bridge_") {
			t.Errorf("%s is in no contract", name)
		}
	}
	// A rate over a counter that appears with its first event misses that event.
	types := append([]string{"other"}, persat.Types()...)
	for _, name := range []string{"persat_bridge_accepted_total", "persat_bridge_published_total"} {
		var got []string
		for _, m := range families[name].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "type" {
					got = append(got, l.GetValue())
				}
			}
			if v := m.GetCounter().GetValue(); v != 0 {
				t.Errorf("%s begins at %v", name, v)
			}
		}
		slices.Sort(got)
		slices.Sort(types)
		if !slices.Equal(got, types) {
			t.Errorf("%s: got types %q, want %q", name, got, types)
		}
	}
}

func gather(t *testing.T, g prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		byName[f.GetName()] = f
	}
	return byName
}

// seriesNames are all names that a query can use.
func seriesNames(t *testing.T, g prometheus.Gatherer) []string {
	names := map[string]bool{"up": true} // Prometheus's own
	for name, f := range gather(t, g) {
		names[name] = true
		if f.GetType() == dto.MetricType_HISTOGRAM {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names[name+suffix] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
