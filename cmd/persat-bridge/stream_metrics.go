package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
)

const (
	// streamEvery is from one look at the stream to the next, and streamSeldom the same
	// where the NATS user may not list consumers: its server logs each attempt.
	streamEvery, streamSeldom = 15 * time.Second, 10 * time.Minute
	// streamPatience is how long a look may take.
	streamPatience = 5 * time.Second
)

var (
	descStreamMessages = prometheus.NewDesc("persat_bridge_stream_messages", "Messages in the stream; absent while NATS does not answer.", nil, nil)
	descStreamBytes    = prometheus.NewDesc("persat_bridge_stream_bytes", "What the messages of the stream take; absent while NATS does not answer.", nil, nil)
	descStreamLimit    = prometheus.NewDesc("persat_bridge_stream_limit_bytes", "The size at which the stream takes no more events: its max_bytes when it discards new messages; 0 without such a limit.", nil, nil)
	descConsumerLag    = prometheus.NewDesc("persat_bridge_consumer_pending_messages", "Messages of the stream that a durable consumer has not been given yet. The hundred consumers that are most behind, where the NATS user may list them.", []string{"consumer"}, nil)
	descConsumerOpen   = prometheus.NewDesc("persat_bridge_consumer_unacknowledged_messages", "Messages that a durable consumer was given and has not acknowledged.", []string{"consumer"}, nil)
)

// streamMetrics looks at the stream now and then, so that a scrape waits for nobody.
//
// Its label is the one that takes a value from outside: the name of a consumer, which those
// choose who may create consumers in NATS, and no sender of webhooks. Only durable ones
// have it, because clients invent a name for each of the others at each start, and a
// hundred of them at most.
type streamMetrics struct {
	look func(context.Context) (bridge.StreamInfo, error)
	seen atomic.Pointer[bridge.StreamInfo] // nil: NATS does not answer
}

// run looks until ctx ends.
func (m *streamMetrics) run(ctx context.Context) {
	for {
		asked, cancel := context.WithTimeout(ctx, streamPatience)
		info, err := m.look(asked)
		cancel()
		wait := streamEvery
		switch {
		case err != nil:
			m.seen.Store(nil)
		default:
			m.seen.Store(&info)
			if info.ConsumersError != "" {
				wait = streamSeldom
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// Describe implements prometheus.Collector.
func (m *streamMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descStreamMessages, descStreamBytes, descStreamLimit, descConsumerLag, descConsumerOpen} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (m *streamMetrics) Collect(c chan<- prometheus.Metric) {
	info := m.seen.Load()
	if info == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descStreamMessages, float64(info.Messages))
	gauge(descStreamBytes, float64(info.Bytes))
	limit := int64(0)
	if info.Discard == "new" {
		limit = info.MaxBytes
	}
	gauge(descStreamLimit, float64(limit))
	for _, consumer := range info.ConsumerList {
		if consumer.Durable {
			gauge(descConsumerLag, float64(consumer.Pending), consumer.Name)
			gauge(descConsumerOpen, float64(consumer.AckPending), consumer.Name)
		}
	}
}
