package bridge_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/integrity"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// complete checks that events 0 to n-1 are in the stream once and in order.
func (r *rig) complete(n int) {
	r.t.Helper()
	last := make(map[string]int)
	seen := make(map[string]bool)
	for _, m := range r.messages() {
		id, entity := m.Header["Nats-Msg-Id"][0], m.Header["ce-subject"][0]
		if seen[id] {
			r.t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		var i int
		if _, err := fmt.Sscanf(id, "persat:msg_%d", &i); err != nil {
			r.t.Fatal(err)
		}
		if before, ok := last[entity]; ok && before > i {
			r.t.Errorf("entity %s: event %d is after %d", entity, i, before)
		}
		last[entity] = i
	}
	if len(seen) != n {
		r.t.Errorf("got %d events in the stream, want %d", len(seen), n)
	}
}

// observed waits until the bridge has noted how the stream is.
func (r *rig) observed() {
	r.t.Helper()
	js, hangUp := r.js()
	defer hangUp()
	r.observedOf(js)
}

func (r *rig) observedOf(js jetstream.JetStream) {
	r.t.Helper()
	stream, err := js.Stream(r.t.Context(), "PERSAT")
	if err != nil {
		r.t.Fatal(err)
	}
	state := stream.CachedInfo().State
	testwait.Eventually(r.t, "observed", func() bool {
		var o integrity.Observation
		text, err := r.journal.Observed()
		if err != nil {
			r.t.Fatal(err)
		}
		return text != "" && json.Unmarshal([]byte(text), &o) == nil && o.Messages == state.Msgs && o.Last == state.LastSeq && o.First == state.FirstSeq
	})
}

func healed(t *testing.T, g prometheus.Gatherer) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "persat_bridge_healed_events_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no metric of healed events")
	return 0
}

// TestPowerLossOfNATS takes the tail of the stream away, as a host does that loses
// power before JetStream has synced.
func TestPowerLossOfNATS(t *testing.T) {
	t.Parallel()
	for _, run := range []string{"bridge stays up", "bridge restarts too", "others have published meanwhile"} {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			withMetrics := func(o *bridge.Options) { o.Registerer = registry }
			r := newRig(t)
			r.open(true, withMetrics)
			r.acceptMany(0, 300)
			r.drained()
			kept := r.keepStore()
			r.acceptMany(300, 300)
			r.drained()
			if run == "bridge restarts too" {
				r.stop()
			}
			r.stopNATS()
			r.putBack(kept)
			if run == "others have published meanwhile" {
				r.stop()
				r.startNATS()
				js, hangUp := r.js()
				for i := range 400 { // past the end of what we know
					if _, err := js.Publish(t.Context(), "persat.other.publisher", fmt.Append(nil, i)); err != nil {
						t.Fatal(err)
					}
				}
				if err := js.DeleteStream(t.Context(), "NONE"); err == nil {
					t.Fatal("deleted what is not there")
				}
				hangUp()
				registry = prometheus.NewRegistry()
				r.open(true, withMetrics)
				testwait.Eventually(t, "healed", func() bool { return healed(t, registry) == 300 })
				r.drained()
				if got := len(r.messages()); got != 1000 {
					t.Errorf("got %d messages, want 1000", got)
				}
				return
			}
			if run == "bridge restarts too" {
				registry = prometheus.NewRegistry()
				r.open(true, withMetrics)
				r.acceptMany(600, 10) // accepted before NATS is back: must come after
			}
			r.startNATS()
			testwait.Eventually(t, "healed", func() bool { return healed(t, registry) == 300 })
			r.drained()
			if run == "bridge restarts too" {
				r.complete(610)
				return
			}
			r.complete(600)
		})
	}
}

// TestDeletedOnPurposeIsNotHealed empties the stream in every way that is not a
// loss.
func TestDeletedOnPurposeIsNotHealed(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(*testing.T, jetstream.JetStream, jetstream.Stream){
		"purged": func(t *testing.T, _ jetstream.JetStream, s jetstream.Stream) {
			if err := s.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"newest message deleted": func(t *testing.T, _ jetstream.JetStream, s jetstream.Stream) {
			if err := s.DeleteMsg(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
		},
		"limited to the newest ten": func(t *testing.T, js jetstream.JetStream, s jetstream.Stream) {
			config := s.CachedInfo().Config
			config.MaxMsgs = 10
			if _, err := js.UpdateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			r := newRig(t)
			r.open(true, func(o *bridge.Options) { o.Registerer = registry })
			r.acceptMany(0, 100)
			r.drained()
			js, hangUp := r.js()
			stream, err := js.Stream(t.Context(), "PERSAT")
			if err != nil {
				t.Fatal(err)
			}
			remove(t, js, stream)
			hangUp()
			r.observed()
			left := len(r.messages())
			r.stopNATS()
			r.startNATS()
			r.accept(delivery("after", "1"), bridge.Accepted)
			r.drained()
			if got := healed(t, registry); got != 0 {
				t.Errorf("%v events healed, want none", got)
			}
			want := left + 1
			if name == "limited to the newest ten" {
				want = 10
			}
			if got := len(r.messages()); got != want {
				t.Errorf("got %d messages, want %d", got, want)
			}
		})
	}
}

func TestConsumedFromWorkQueueIsNotHealed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	r := newRig(t)
	js, hangUp := r.js()
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		t.Fatal(err)
	}
	r.open(true, func(o *bridge.Options) { o.Registerer = registry })
	r.acceptMany(0, 50)
	r.drained()
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "work"})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(50)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	hangUp()
	r.stopNATS()
	r.startNATS()
	r.accept(delivery("after", "1"), bridge.Accepted)
	r.drained()
	if got := healed(t, registry); got != 0 {
		t.Errorf("%v events healed, want none", got)
	}
}
