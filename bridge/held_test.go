package bridge

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestHeldIsTwoLines: a stream that is full holds every type of event. That is one
// thing to repair, so it is one line, and one when it has ended.
func TestHeldIsTwoLines(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	b := &Bridge{o: Options{Log: zap.New(core)}}
	r := newRunner(b)
	lines := func(want int) []observer.LoggedEntry {
		t.Helper()
		got := logs.TakeAll()
		if len(got) != want {
			t.Errorf("got %d lines, want %d: %v", len(got), want, got)
		}
		return got
	}
	for i := range 12 {
		g := &gate{gateKey: gateKey{"persat", fmt.Sprint(i)}, closed: true, since: time.Now().Add(-showHeldAfter + time.Second), reason: "the stream is full", tasks: 10}
		r.gates[g.gateKey] = g
	}
	r.showHeld()
	lines(0)
	if n := b.heldCount("persat"); n != 0 {
		t.Errorf("held after 29 seconds: got %d, want none", n)
	}
	for _, g := range r.gates {
		g.since = g.since.Add(-time.Second)
	}
	r.showHeld()
	r.showHeld()
	lines(1)
	if n := b.heldCount("persat"); n != 120 {
		t.Errorf("held: got %d, want 120", n)
	}
	r.gates[gateKey{"persat", "7"}].reason = "no permission"
	r.showHeld()
	lines(1)
	r.gates[gateKey{"persat", "7"}].reason = "the stream is full"
	r.showHeld()
	lines(0)
	for _, g := range r.gates {
		r.openGate(g)
	}
	r.showHeld()
	r.showHeld()
	if end := lines(1); len(end) == 1 && (end[0].ContextMap()["events"] != int64(120) || end[0].ContextMap()["held"].(time.Duration) < showHeldAfter) {
		t.Errorf("the last line says %v, want how long and how many", end[0].ContextMap())
	}
	if n := b.heldCount("persat"); n != 0 {
		t.Errorf("held afterwards: got %d, want none", n)
	}
}
