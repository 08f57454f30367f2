package bridge_test

import (
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// A sender repairs an event that could not be published, and sends it again under the
// same id. It once became a dead letter too, "used before for other bytes".
func TestCorrectedRepeatIsAccepted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	broken := bridge.Delivery{Source: "persat", ID: "a", Body: []byte(`{"eventType":NaN}`), Unusable: "not JSON"}
	good, other := delivery("a", "1"), delivery("a", "1")
	other.Body = append(other.Body, ' ')
	r.accept(broken, bridge.Quarantined)
	r.accept(good, bridge.Accepted)
	r.accept(good, bridge.Duplicate)
	r.accept(broken, bridge.Duplicate)
	// JetStream would drop a second correction as a duplicate of the first.
	r.accept(other, bridge.Quarantined)
	r.accept(other, bridge.Duplicate)
	// Another one that cannot be published is kept, too.
	worse := broken
	worse.Body = []byte("worse")
	r.accept(worse, bridge.Quarantined)
	r.drained()
	if got := r.messages(); len(got) != 1 || string(got[0].Data) != string(good.Body) {
		t.Errorf("got %d messages, want the corrected event alone", len(got))
	}
	if status := r.bridge.Status(t.Context()); status.Dead != 3 {
		t.Errorf("got %d dead letters, want 3", status.Dead)
	}
}
