package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// BenchmarkObserved compares the accept throughput of a bridge that is traced and
// scraped with that of one that is neither. All are real processes on this machine
// and take turns, a fifth of a second each; on/off is the median over the rounds,
// so that what else happens here counts little; every-event/off is the same with
// OTEL_TRACES_SAMPLER=always_on; and same/off is that of a second bridge that is
// like the first: how far from 1 chance alone comes. Counters are counted in all
// of them, for a bridge cannot be without them.
//
//	go test -run '^$' -bench Observed -benchtime 1x ./cmd/persat-bridge
func BenchmarkObserved(b *testing.B) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer sink.Close()
	body, err := persat.Sample("workorder.finished", "")
	if err != nil {
		b.Fatal(err)
	}
	traced := func(env ...string) *bridgeProcess {
		return newBridgeProcess(b, append(env, "PERSAT_BRIDGE_TRACING_ENABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT="+sink.URL)...)
	}
	bridges := []*bridgeProcess{newBridgeProcess(b), newBridgeProcess(b), traced(), traced("OTEL_TRACES_SAMPLER=always_on")}
	names := []string{"", "same/off", "on/off", "every-event/off"}
	for _, target := range bridges {
		target.Start()
		load(b, target, body, time.Second) // warm
	}
	ratios := make([][]float64, len(bridges))
	for b.Loop() {
		for round := range 40 {
			accepted := make([]float64, len(bridges))
			for i := range bridges {
				i := (i + round) % len(bridges) // each has each place in the round
				accepted[i] = load(b, bridges[i], body, time.Second/5)
			}
			for i := range bridges {
				ratios[i] = append(ratios[i], accepted[i]/accepted[0])
			}
		}
	}
	for i := 1; i < len(bridges); i++ {
		slices.Sort(ratios[i])
		b.ReportMetric(ratios[i][len(ratios[i])/2], names[i])
	}
	b.ReportMetric(0, "ns/op")
}

// load posts for a while and returns how many events were accepted; it waits until
// the bridge has nothing left to do.
func load(b *testing.B, target *bridgeProcess, body []byte, long time.Duration) float64 {
	b.Helper()
	const connections = 16
	ctx, cancel := context.WithTimeout(b.Context(), long)
	defer cancel()
	s := newSender(target.url, testSecret, connections)
	defer s.close()
	var accepted atomic.Int64
	var senders sync.WaitGroup
	for range connections {
		senders.Go(func() {
			for ctx.Err() == nil {
				if a, err := s.post(context.WithoutCancel(ctx), newDeliveryID(), body); err == nil && a.ok() {
					accepted.Add(1)
				}
			}
		})
	}
	senders.Wait()
	if accepted.Load() == 0 {
		b.Fatalf("%s accepted nothing", target.url)
	}
	// This is a scrape, too: one for each round, whatever is compared.
	testwait.Eventually(b, "nothing pending", func() bool { return target.metric("persat_bridge_pending_events") == 0 })
	return float64(accepted.Load())
}
