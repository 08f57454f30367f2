package bridge_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge"
)

func pulled(id, entity string) bridge.Delivery {
	d := delivery(id, entity)
	d.Pulled = true
	d.Body = append(d.Body, ' ') // the polling endpoint serialises anew
	return d
}

func TestAcceptAll(t *testing.T) {
	r := newRig(t)
	r.open(true)
	r.accept(delivery("b", "2"), bridge.Accepted)
	unusable := delivery("c", "3")
	unusable.Unusable = "no eventType"
	got, err := r.bridge.AcceptAll(t.Context(), []bridge.Delivery{delivery("a", "1"), delivery("b", "2"), unusable, delivery("d", "1"), delivery("a", "1")})
	if err != nil {
		t.Fatal(err)
	}
	want := []bridge.Outcome{bridge.Accepted, bridge.Duplicate, bridge.Quarantined, bridge.Accepted, bridge.Duplicate}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.drained()
	var ids []string
	for _, m := range r.messages() {
		ids = append(ids, m.Header.Get("ce-id"))
	}
	if slices.Index(ids, "a") > slices.Index(ids, "d") || len(ids) != 3 {
		t.Errorf("got messages %q, want a, b and d, a before d", ids)
	}
}

// Push and pull bring one event in two serialisations. Whichever came first is the
// event, and the other is a repeat and no conflict.
func TestPulledAndPushedIsOneEvent(t *testing.T) {
	r := newRig(t)
	r.open(true)
	r.accept(delivery("pushed-first", "1"), bridge.Accepted)
	r.accept(pulled("pushed-first", "1"), bridge.Duplicate)
	r.accept(pulled("pulled-first", "1"), bridge.Accepted)
	r.accept(delivery("pulled-first", "1"), bridge.Duplicate)
	again := pulled("pulled-first", "1")
	again.Body = append(again.Body, ' ')
	r.accept(again, bridge.Duplicate)
	// Two webhooks with one id and other bytes are still a conflict.
	other := delivery("pushed-first", "1")
	other.Body = append(other.Body, ' ')
	r.accept(other, bridge.Quarantined)
	r.drained()
	if got := r.messages(); len(got) != 2 || string(got[1].Data) != string(pulled("pulled-first", "1").Body) {
		t.Errorf("got %d messages, want the two that came first", len(got))
	}

	// It is the journal that knows, so a restart changes nothing.
	r.stop()
	r.open(true)
	r.accept(delivery("pulled-first", "1"), bridge.Duplicate)
	r.accept(pulled("pushed-first", "1"), bridge.Duplicate)
}

func TestAcceptAllWhenDraining(t *testing.T) {
	r := newRig(t)
	r.open(false)
	r.bridge.Drain()
	if got, err := r.bridge.AcceptAll(t.Context(), []bridge.Delivery{delivery("a", "1")}); len(got) != 0 || !errors.Is(err, bridge.ErrStopping) {
		t.Errorf("got %v, %v, want nothing and ErrStopping", got, err)
	}
}
