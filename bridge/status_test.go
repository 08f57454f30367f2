package bridge_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// stuckDisk is a disk that stops answering writes for a while.
type stuckDisk struct {
	mu      sync.Mutex
	answers chan struct{} // nil while it answers
}

func (d *stuckDisk) MaybeError(op errorfs.Op) error {
	d.mu.Lock()
	answers := d.answers
	d.mu.Unlock()
	if answers != nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		<-answers
	}
	return nil
}

func (d *stuckDisk) String() string { return "stuck" }

func (d *stuckDisk) stick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers = make(chan struct{})
}

func (d *stuckDisk) answer() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.answers)
	d.answers = nil
}

// The status page waited for the loop, which waited for the disk: exactly when
// somebody wanted to see it. Time stands still in a bubble unless somebody waits.
func TestStatusDoesNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk, m, registry := new(stuckDisk), &memory{created: "1"}, prometheus.NewRegistry()
		b, stop := runInBubble(t, errorfs.Wrap(vfs.NewMem(), disk), m, func(o *bridge.Options) { o.Registerer = registry })
		for _, id := range []string{"a", "b"} {
			if _, err := b.Accept(t.Context(), delivery(id, id)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second) // and what was published is on disk
		disk.stick()
		m.rollBack(1) // the next session has to heal, which waits for the disk
		m.cut()
		time.Sleep(5 * time.Second)
		answered := make(chan struct{})
		go func() { b.CancelReplay(); close(answered) }()
		synctest.Wait()
		select {
		case <-answered:
			t.Fatal("the loop answers: it does not wait for the disk, and this test shows nothing")
		default:
		}
		before := time.Now()
		s := b.Status(t.Context())
		ready := b.Ready()
		if _, err := registry.Gather(); err != nil {
			t.Error(err)
		}
		if waited := time.Since(before); waited != 0 {
			t.Errorf("status, readiness and metrics waited for %v", waited)
		}
		if s.NATS.Up || !s.Accepting || ready != nil {
			t.Errorf("NATS up: %v, accepting: %v, ready: %v; want a session that is not yet published through", s.NATS.Up, s.Accepting, ready)
		}
		disk.answer()
		<-answered
		time.Sleep(5 * time.Second)
		if s := b.Status(t.Context()); s.Pending != 0 || !s.NATS.Up || len(m.stored()) != 2 {
			t.Errorf("after the disk answers: %d pending, NATS up: %v, the stream has %v", s.Pending, s.NATS.Up, m.stored())
		}
		stop()
	})
}
