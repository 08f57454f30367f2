package bridge

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
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

// A large body that is refused leaves the room to small ones.
func TestRefusedBodyTakesNoRoom(t *testing.T) {
	j, err := journal.Open(journal.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s := newSpace(j, int64(j.DiskBytes())+4<<20)
	if err := s.admit(3 << 20); err == nil {
		t.Fatal("the large one was let in")
	}
	if err := s.admit(1000); err != nil {
		t.Errorf("4 MiB of room, nothing was taken: %v; readyz says %v", err, s.err())
	}
}
