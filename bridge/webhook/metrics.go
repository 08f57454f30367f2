package webhook

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// otherSource is the source label of requests to unknown paths and sources.
const otherSource = "other"

// codes are the statuses of the package documentation, and no others.
var codes = []int{
	http.StatusOK, http.StatusAccepted,
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
	http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusTooManyRequests, http.StatusServiceUnavailable,
}

type metrics struct {
	requests *prometheus.CounterVec
	rejected *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persat_bridge_requests_total",
			Help: "Requests on the public listener, by status code of the answer.",
		}, []string{"source", "code"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persat_bridge_rejected_total",
			Help: "Requests that were not taken, by reason.",
		}, []string{"source", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "persat_bridge_accept_duration_seconds",
			Help:    "Time from the end of a request's headers to its answer, of requests answered 2xx.",
			Buckets: []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"source"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.rejected, m.duration} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// counters are the metrics of one source, looked up once: all of them exist
// from the start, at zero.
type counters struct {
	requests map[int]prometheus.Counter
	rejected map[Reason]prometheus.Counter
	duration prometheus.Observer
}

func (m *metrics) source(name string) *counters {
	c := &counters{
		requests: make(map[int]prometheus.Counter, len(codes)),
		rejected: make(map[Reason]prometheus.Counter, len(reasons)),
	}
	for _, code := range codes {
		c.requests[code] = m.requests.WithLabelValues(name, strconv.Itoa(code))
	}
	for _, reason := range reasons {
		c.rejected[reason] = m.rejected.WithLabelValues(name, string(reason))
	}
	if name != otherSource {
		c.duration = m.duration.WithLabelValues(name)
	}
	return c
}
