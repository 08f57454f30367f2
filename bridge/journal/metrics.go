package journal

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	syncDuration prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		syncDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "persat_bridge_journal_sync_duration_seconds",
			Help:    "Time of one commit of the journal: write and fsync, for all requests that wait for it.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
		}),
	}
	if r != nil {
		r.MustRegister(m.syncDuration)
	}
	return m
}
