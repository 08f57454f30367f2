package bridge

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The results of an attempt, as a label.
const (
	resultOK        = "ok"
	resultDuplicate = "duplicate"
)

type metrics struct {
	accepted        *prometheus.CounterVec
	duplicates      *prometheus.CounterVec
	published       *prometheus.CounterVec
	attempts        *prometheus.CounterVec
	publishDuration prometheus.Histogram
	healed          prometheus.Counter
	batches         [2]prometheus.Counter // by way

	// sources has the counters of the configured sources, looked up once.
	sources map[string]*sourceCounters
}

// sourceCounters are the counters of one source.
type sourceCounters struct {
	accepted, published map[string]prometheus.Counter // by type; "other" for all that is not known
	duplicates          prometheus.Counter
	attempts            map[string]prometheus.Counter // by result
}

// of returns the counters of a source. One that is not configured any more, and of which
// there are still events, is looked up each time.
func (m *metrics) of(b *Bridge, source string) *sourceCounters {
	if c := m.sources[source]; c != nil {
		return c
	}
	return m.lookUp(b, source)
}

func (m *metrics) lookUp(b *Bridge, source string) *sourceCounters {
	c := &sourceCounters{
		accepted:   make(map[string]prometheus.Counter),
		published:  make(map[string]prometheus.Counter),
		duplicates: m.duplicates.WithLabelValues(source),
		attempts:   make(map[string]prometheus.Counter),
	}
	for _, t := range append([]string{otherType}, b.o.Types...) {
		c.accepted[t], c.published[t] = m.accepted.WithLabelValues(source, t), m.published.WithLabelValues(source, t)
	}
	for _, result := range []string{resultOK, resultDuplicate, LinkDown.String(), Held.String(), Rejected.String(), Unknown.String(), Undecided.String()} {
		c.attempts[result] = m.attempts.WithLabelValues(source, result)
	}
	return c
}

// otherType is the label of event types that are not known: no label takes a value from
// outside.
const otherType = "other"

func ofType(counters map[string]prometheus.Counter, eventType string) prometheus.Counter {
	if c := counters[eventType]; c != nil {
		return c
	}
	return counters[otherType]
}

// newMetrics makes the metrics of b and starts every label set that can be known
// at zero: a rate over a counter that appears with its first event misses it.
func newMetrics(b *Bridge) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persat_bridge_accepted_total",
			Help: "Events made durable, quarantined ones included, repeats not. They are answered 2xx, unless accept.wait_for is stream and JetStream did not answer in time.",
		}, []string{"source", "type"}),
		duplicates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persat_bridge_duplicates_total",
			Help: "Deliveries that were accepted before.",
		}, []string{"source"}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persat_bridge_published_total",
			Help: "Acknowledgements by JetStream, those of replays and of repeats included.",
		}, []string{"source", "type"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "persat_bridge_publish_attempts_total",
			Help: "Attempts to publish, by their result: ok, duplicate, link_down, held, rejected, unknown, or undecided: of a batch that was not stored as a whole.",
		}, []string{"source", "result"}),
		publishDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "persat_bridge_publish_duration_seconds",
			Help:    "Time from the acceptance of an event to JetStream's acknowledgement, waits included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120, 600, 3600, 21600},
		}),
		healed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "persat_bridge_healed_events_total",
			Help: "Events published again because the stream had lost them after acknowledging them.",
		}),
	}
	batches := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "persat_bridge_publish_batches_total",
		Help: "Groups of events that were sent at once: as one atomic batch (batch), or one by one (single).",
	}, []string{"mode"})
	m.batches = [2]prometheus.Counter{single: batches.WithLabelValues(single.String()), together: batches.WithLabelValues(together.String())}
	m.sources = make(map[string]*sourceCounters, len(b.o.Sources))
	for _, source := range b.o.Sources {
		m.sources[source] = m.lookUp(b, source)
	}
	if b.o.Registerer != nil {
		b.o.Registerer.MustRegister(m.accepted, m.duplicates, m.published, m.attempts, m.publishDuration, m.healed, batches, gauges{b})
	}
	return m
}

// sent counts a group of n events.
func (m *metrics) sent(w way, n int) {
	if n > 0 {
		m.batches[w].Inc()
	}
}

var (
	descPending   = prometheus.NewDesc("persat_bridge_pending_events", "Events on disk that JetStream has not acknowledged yet.", []string{"source"}, nil)
	descOldest    = prometheus.NewDesc("persat_bridge_oldest_pending_age_seconds", "Age of the oldest pending event; 0 without one.", []string{"source"}, nil)
	descHeld      = prometheus.NewDesc("persat_bridge_held_events", "Events, replayed ones included, of subjects that have been held for 30 seconds: an operator has to repair something.", []string{"source"}, nil)
	descDead      = prometheus.NewDesc("persat_bridge_dead_events", "Dead letters.", []string{"source"}, nil)
	descLast      = prometheus.NewDesc("persat_bridge_last_event_timestamp_seconds", "When the newest event was accepted, in seconds since 1970; 0 when the journal has none.", []string{"source"}, nil)
	descBytes     = prometheus.NewDesc("persat_bridge_journal_bytes", "What the tables of the journal take on disk; its log, up to 80 MB, comes on top.", nil, nil)
	descLimit     = prometheus.NewDesc("persat_bridge_journal_limit_bytes", "The size of the journal at which no more events are taken (journal.max_bytes); 0 without a limit.", nil, nil)
	descReady     = prometheus.NewDesc("persat_bridge_ready", "1 while events are taken: what /readyz says.", nil, nil)
	descConnected = prometheus.NewDesc("persat_bridge_nats_connected", "1 while there is a session with NATS.", nil, nil)
)

// gauges reads the state of a bridge when it is asked for.
type gauges struct{ b *Bridge }

func (g gauges) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPending, descOldest, descHeld, descDead, descLast, descBytes, descLimit, descReady, descConnected} {
		c <- d
	}
}

func (g gauges) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	b := g.b
	for _, source := range b.sources() {
		gauge(descPending, float64(b.backlog.pending(source)), source)
		age := 0.0
		if oldest := b.backlog.oldest(source); !oldest.IsZero() {
			age = max(time.Since(oldest).Seconds(), 0)
		}
		gauge(descOldest, age, source)
		gauge(descHeld, float64(b.view.Load().heldEvents(source)), source)
		gauge(descDead, float64(b.dead.of(source)), source)
		last := 0.0
		if e := b.lastEvents.of(source); e != nil {
			last = float64(e.At.UnixMilli()) / 1000
		}
		gauge(descLast, last, source)
	}
	gauge(descBytes, float64(b.space.bytes()))
	gauge(descLimit, float64(b.o.MaxBytes))
	gauge(descReady, oneIf(b.Ready() == nil))
	gauge(descConnected, oneIf(b.link.state().Up))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
