package bridge_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// runInBubble runs a bridge whose disk is fs, so that nothing in a synctest bubble waits
// for anything outside of it. stop ends it.
func runInBubble(t *testing.T, fs vfs.FS, p bridge.Publisher, change ...func(*bridge.Options)) (b *bridge.Bridge, stop func()) {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: "journal", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	o := bridge.Options{Journal: j, Publisher: p, Sources: []string{"persat"}}
	for _, f := range change {
		f(&o)
	}
	b, err = bridge.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return b, func() {
		cancel()
		running.Wait()
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
}

// silent never answers an attempt of type "slow" before its session is closed or
// answer is called, and holds those of type "held".
type silent struct {
	*memory
	mu      sync.Mutex
	waiting []func()
}

func (s *silent) Connect(ctx context.Context) (bridge.Session, error) {
	in, err := s.memory.Connect(ctx)
	return silentSession{in, s}, err
}

// answer ends the attempts that wait, and says how many there were.
func (s *silent) answer() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, done := range s.waiting {
		done()
	}
	n := len(s.waiting)
	s.waiting = nil
	return n
}

type silentSession struct {
	bridge.Session
	s *silent
}

func (s silentSession) Publish(e *bridge.Event, done func(bridge.Receipt, error)) {
	f := &bridge.Failure{Class: bridge.Held, Reason: "no acknowledgement in time"}
	switch e.Type {
	case "slow":
		s.s.mu.Lock()
		defer s.s.mu.Unlock()
		s.s.waiting = append(s.s.waiting, func() { done(bridge.Receipt{}, f) })
	case "held":
		go done(bridge.Receipt{}, f)
	default:
		s.Session.Publish(e, done)
	}
}

// A stop waited for the acknowledgement of one attempt while another event was due
// again: the loop, which sent nothing any more, woke up for it without a pause and used
// a processor until the first attempt had timed out. In a bubble a loop that never waits
// keeps synctest.Wait from returning.
func TestStopWaitsWithoutSpinning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &silent{memory: &memory{created: "1"}}
		b, stop := runInBubble(t, vfs.NewMem(), p)
		for _, eventType := range []string{"slow", "held"} {
			d := delivery(eventType, eventType)
			d.Type = eventType
			if _, err := b.Accept(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second) // both have been tried, and the second is due every now and then
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := p.answer(); n != 1 {
			t.Errorf("%d attempts wait for their acknowledgement, want 1", n)
		}
		<-stopped
	})
}
