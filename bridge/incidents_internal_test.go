package bridge

import (
	"testing"
	"time"

	"go.uber.org/zap"
)

// The last event of a held subject becomes a dead letter (its probe was rejected, or it
// spent its attempts): nothing waits, and nothing is held.
func TestGateGoesWithItsLastTask(t *testing.T) {
	b := &Bridge{o: Options{Log: zap.NewNop()}}
	r := newRunner(b)
	r.enter(&task{seq: 1}, &Event{Source: "persat", Type: "a", Entities: []string{"1"}})
	task1 := r.ready[0]
	g := task1.gate
	g.closed, g.since, g.reason = true, time.Now().Add(-time.Hour), "the stream is full"
	r.finish(task1)
	r.showHeld()
	if len(r.gates) != 0 || r.holding != nil {
		t.Errorf("%d gates are left with %d tasks, holding %+v: status shows a held subject with 0 waiting for ever", len(r.gates), g.tasks, r.holding)
	}
}
