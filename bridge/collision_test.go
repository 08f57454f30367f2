package bridge_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

func numberedIDs(letter string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("persat:%s%d", letter, i))
	}
	return ids
}

// The acknowledgement of the last event was lost; its repeat was acknowledged as a duplicate.
// Then the server lost power behind a connection that stayed up, and with it this event. The
// next event got its sequence, and its mark overwrote the position: nothing found the loss.
func TestEventAcknowledgedAsADuplicateIsNotLost(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	var lose atomic.Int32
	r := memoryRig(t, m, func(o *bridge.Options) { o.Publisher = lostAck{m, &lose} })
	r.acceptSeries("a", 5, "1")
	r.drained()
	lose.Store(1)
	r.accept(delivery("last", "1"), bridge.Accepted) // stored at 6, as the repeat's acknowledgement says
	r.drained()
	m.rollBack(5)
	r.acceptSeries("b", 5, "1")
	want := append(append(numberedIDs("a", 5), numberedIDs("b", 5)...), "persat:last")
	testwait.Eventually(t, "all are in the stream", func() bool { return len(m.stored()) == len(want) })
	r.drained()
	m.holdsOnce(t, want...)
}

// The process was killed before it had noted the acknowledgements of five events, and learned
// their stream sequences from the duplicates. Then the server lost three of them.
func TestEventsKnownFromDuplicatesAfterAKillAreNotLost(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.drained()
	r.stop()
	m.set(func() {
		for _, id := range numberedIDs("a", 5) {
			m.ids, m.bodies = append(m.ids, id), append(m.bodies, "x")
		}
	})
	r.open(false, func(o *bridge.Options) { o.Publisher = m })
	r.acceptSeries("a", 5, "1")
	r.stop()
	r.open(true, func(o *bridge.Options) { o.Publisher = m })
	r.drained()
	m.rollBack(2)
	r.acceptSeries("b", 5, "1")
	want := append(numberedIDs("a", 5), numberedIDs("b", 5)...)
	testwait.Eventually(t, "all are in the stream", func() bool { return len(m.stored()) == len(want) })
	r.drained()
	m.holdsOnce(t, want...)
}

// A client that may not read the stream's state cannot verify it. Two events at one stream
// sequence prove the loss without that.
func TestCollisionHealsAStreamThatCannotBeVerified(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	m.look = func(context.Context) error { return bridge.ErrNotPermitted }
	r := memoryRig(t, m)
	r.acceptSeries("a", 20, "")
	r.drained()
	m.rollBack(12)
	r.accept(delivery("b0", "1"), bridge.Accepted)
	want := append(numberedIDs("a", 20), "persat:b0")
	testwait.Eventually(t, "all are in the stream", func() bool { return len(m.stored()) == len(want) })
	r.drained()
	m.holdsOnce(t, want...)
	if noted, err := r.journal.RollbackNoted(); err != nil || noted != 0 {
		t.Errorf("after the heal a rollback is noted at %d (%v)", noted, err)
	}
}
