package bridge_test

import (
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// A replay of only some of what the stream lacks once cleared the notice of all.
func TestReplayOfSomeThatTheStreamLacks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		r.accept(delivery(id, id), bridge.Accepted)
		r.drained()
	}
	r.stop()
	js, hangUp := r.js()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{2, 4} {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	hangUp()
	r.stopNATS()
	r.startNATS()
	r.open(true)
	notices := func() string { return strings.Join(r.bridge.Status(t.Context()).Notices, "\n") }
	testwait.Eventually(t, "two events are missing", func() bool { return strings.Contains(notices(), "lacks 2 events") })
	replay := func(f bridge.Filter) {
		t.Helper()
		f.Missing = true
		if _, err := r.bridge.StartReplay(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		testwait.Eventually(t, "replayed", func() bool { return !r.bridge.ReplayNow().Running })
		if now := r.bridge.ReplayNow(); now.Published != 1 {
			t.Errorf("got %+v, want one event published", now)
		}
	}
	replay(bridge.Filter{IDs: []string{"b"}})
	if !strings.Contains(notices(), "lacks 1 event ") {
		t.Errorf("one event is still missing: %q", notices())
	}
	replay(bridge.Filter{})
	if strings.Contains(notices(), "lacks") {
		t.Errorf("nothing is missing any more: %q", notices())
	}
	if has := len(r.messages()); has != 5 {
		t.Errorf("the stream has %d messages, want 5", has)
	}
}

// The notice of what nobody could decide was gone after a restart, as soon as retention had
// dropped the bodies: nobody heard of the events again.
func TestNoticeOfUndecidedOutlivesTheBodies(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptMany(0, 20)
	r.drained()
	found := time.Now().Add(-80 * time.Hour).UTC().Format(time.RFC3339)
	if err := r.journal.NoteUndecided(`{"records":[{"First":3,"Last":7}],"events":5,"found":"` + found + `"}`); err != nil {
		t.Fatal(err)
	}
	notices := func() string {
		t.Helper()
		r.stop()
		r.open(true, func(o *bridge.Options) { o.Publisher = m })
		return strings.Join(r.bridge.Status(t.Context()).Notices, "\n")
	}
	if got := notices(); !strings.Contains(got, "lacks 5 events") || !strings.Contains(got, "replay --missing") {
		t.Errorf("with the bodies: got notices %q", got)
	}
	if _, _, err := r.journal.DropPublished(1 << 30); err != nil {
		t.Fatal(err)
	}
	if got := notices(); !strings.Contains(got, "5 events cannot be published again") || strings.Contains(got, "replay --missing") {
		t.Errorf("without the bodies: got notices %q", got)
	}
}
