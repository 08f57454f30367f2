package bridge_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// The stream has another event under the id of a pending one: an id that was used again
// after the journal had forgotten it, or a fresh journal beside an old stream. It is not
// what was accepted; an attempt makes a dead letter of that, and adoption must not swallow it.
func TestOtherBytesUnderAnIDAreNotAdopted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	testwait.Eventually(t, "the stream is there", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	r.stop()
	js, hangUp := r.js()
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "persat.workorder.created", Data: []byte(`{"other":true}`),
		Header: nats.Header{"Nats-Msg-Id": {"persat:a"}, "ce-id": {"a"}}}); err != nil {
		t.Fatal(err)
	}
	hangUp()
	r.stopNATS()
	r.open(true)
	r.accept(delivery("a", "1"), bridge.Accepted)
	r.startNATS()
	r.drained()
	if dead, stored := r.bridge.Status(t.Context()).Dead, len(r.messages()); dead == 0 && stored == 1 {
		t.Error("the event was answered 2xx, and is neither in the stream nor a dead letter")
	}
}
