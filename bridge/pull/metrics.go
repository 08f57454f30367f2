package pull

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// metrics are those of one source.
type metrics struct {
	pulled map[bridge.Outcome]prometheus.Counter
}

// newMetrics registers them, all outcomes at zero. A nil registry keeps none.
func newMetrics(r prometheus.Registerer, source string, lag func() time.Duration) (*metrics, error) {
	labels := prometheus.Labels{"source": source}
	pulled := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name:        "persat_bridge_pulled_total",
		Help:        "Items fetched from the source's polling endpoint, by outcome.",
		ConstLabels: labels,
	}, []string{"outcome"})
	m := &metrics{pulled: make(map[bridge.Outcome]prometheus.Counter)}
	for _, outcome := range []bridge.Outcome{bridge.Accepted, bridge.Duplicate, bridge.Quarantined} {
		m.pulled[outcome] = pulled.WithLabelValues(outcome.String())
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{pulled, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "persat_bridge_pull_lag_seconds",
		Help:        "Age of the newest pulled item on disk; 0 when the endpoint has nothing more.",
		ConstLabels: labels,
	}, func() float64 { return lag().Seconds() })} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
