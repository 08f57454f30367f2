package bridge

import "testing"

func TestMatchesType(t *testing.T) {
	for _, c := range []struct {
		pattern, eventType string
		want               bool
	}{
		{"workorder.closed", "workorder.closed", true},
		{"workorder.closed", "workorder.closedx", false},
		{"workorder", "workorder.closed", false},
		{"workorder.*", "workorder.closed", true},
		{"workorder.*", "workorder.state.changed", false},
		{"workorder.*", "workorder", false},
		{"*.closed", "workorder.closed", true},
		{"*.closed", "workorder.created", false},
		{"workorder.>", "workorder.state.changed", true},
		{"workorder.>", "workorder", false},
		{">", "workorder", true},
		{">", "", false},
		{"*", "", false},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.b.d", false},
		{"a.>.c", "a.b.c", false},
	} {
		if got := matchesType(c.pattern, c.eventType); got != c.want {
			t.Errorf("matchesType(%q, %q): got %v, want %v", c.pattern, c.eventType, got, c.want)
		}
	}
}

func TestFailures(t *testing.T) {
	var f failures
	for i := range uint64(maxFailing + 1) {
		f.add(i, FailedAttempt{Reason: "first"})
	}
	for range maxFailures + 5 {
		f.add(7, FailedAttempt{Reason: "again"})
	}
	if got := f.of(0); got != nil {
		t.Errorf("of the record that failed longest ago: got %v, want nothing", got)
	}
	if got := f.of(7); len(got) != maxFailures || got[0].Reason != "again" {
		t.Errorf("got %d failures, the first %q; want the newest %d", len(got), got[0].Reason, maxFailures)
	}
	if len(f.byRecord) != maxFailing || len(f.order) != maxFailing {
		t.Errorf("got %d records, want %d", len(f.byRecord), maxFailing)
	}
}
