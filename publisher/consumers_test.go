package publisher

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

func TestConsumers(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, plain())
	for range 5 {
		if _, err := js.Publish(t.Context(), "persat.a", nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"billing", "idle"} {
		c, err := js.CreateConsumer(t.Context(), plain().Name, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: map[string]jetstream.DeliverPolicy{"billing": jetstream.DeliverAllPolicy, "idle": jetstream.DeliverNewPolicy}[name]})
		if err != nil {
			t.Fatal(err)
		}
		if name == "billing" { // two delivered and not acknowledged
			if _, err := c.Fetch(2); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, err := New(optionsFor(n.URL))
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.(bridge.ConsumerLister).Consumers(t.Context())
	if err != nil || len(got) != 2 || got[0].Name != "billing" || got[0].Pending+uint64(got[0].AckPending) != 5 || got[1] != (bridge.ConsumerInfo{Name: "idle", Durable: true}) {
		t.Errorf("got %+v (%v), want billing with five and idle with none", got, err)
	}
}

// Without the permission nothing else suffers, and it is named.
func TestConsumersNotPermitted(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, `accounts {A {jetstream: enabled, users: [
		{user: admin, password: admin},
		{user: bridge, password: bridge, permissions: {publish: {allow: [">"], deny: ["$JS.API.CONSUMER.LIST.>"]}}}]}}`)
	o := optionsFor(n.URL)
	o.Connect.User, o.Connect.Password = "bridge", "bridge"
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 { // also when it is known
		_, err := s.(bridge.ConsumerLister).Consumers(t.Context())
		if !errors.Is(err, bridge.ErrNotPermitted) || !strings.Contains(err.Error(), "$JS.API.CONSUMER.LIST.") {
			t.Errorf("got %v, want the permission that is missing", err)
		}
	}
}

func TestGrowthPerDay(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		kept time.Duration
		want int64
	}{{0, 0}, {30 * time.Minute, 0}, {12 * time.Hour, 2000}, {48 * time.Hour, 500}} {
		if got := growthPerDay(1000, now.Add(-c.kept), now); got != c.want {
			t.Errorf("1000 bytes in %v: got %d a day, want %d", c.kept, got, c.want)
		}
	}
}
