package main

import (
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

func TestAnnotate(t *testing.T) {
	on := style{true}
	for _, tt := range []struct {
		name, line, note string
		width            int
		want             string
	}{
		{"no terminal", "401 refused", strings.Repeat("word ", 40) + "end", 0, "401 refused  " + strings.Repeat("word ", 40) + "end"},
		{"it fits to the last column", "401 refused", "seven w", 20, "401 refused  seven w"},
		{"it does not", "401 refused", "seven wo", 19, "401 refused\n    seven wo"},
		{"between words", "401 refused", "a reason with many words", 14, "401 refused\n    a reason\n    with many\n    words"},
		{"a word longer than the line", "401", "an https://example.com/", 14, "401\n    an\n    https://example.com/"},
		{"paint takes no room", on.paint(red, "401") + " refused", "seven w", 20, on.paint(red, "401") + " refused  seven w"},
	} {
		if got := annotate(tt.line, tt.note, tt.width); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The tables fit into the narrowest terminal, with the longest event type and a state
// and a time of the longest.
func TestTablesFit80Columns(t *testing.T) {
	longest := ""
	for _, eventType := range persat.Types() {
		if len(eventType) > len(longest) {
			longest = eventType
		}
	}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.Local)
	accepted := 27 * float64(time.Hour/time.Millisecond)
	event := tailed{Stored: now.AddDate(0, 0, -1), Subject: "persat." + longest, Entities: []string{"Ferretería Ñandú 5% y más", "2", "3"}, State: "FINISHED_WITH_DEVIATION", LatencyMS: &accepted}
	sent := posting{label: longest, id: newDeliveryID(), answer: answer{code: 202, Status: "quarantined", took: 999 * time.Millisecond}}
	refused := posting{label: longest, id: newDeliveryID(), answer: answer{code: 400, Error: "signature headers missing", took: 9999 * time.Millisecond}}
	for what, text := range map[string]string{
		"demo":            demoRow("persat."+longest, "   202", millis(999*time.Millisecond), millis(9999*time.Millisecond), "1095", "1707684808389"),
		"send":            sent.line(style{}, 80),
		"send, refused":   refused.line(style{}, 80),
		"tail":            event.line(style{}, 80, now),
		"tail, one event": (&tailed{Stored: now, Subject: "persat.x", State: "CERRADA_OK"}).line(style{}, 80, now),
	} {
		for line := range strings.Lines(text) {
			if got := visible(strings.TrimRight(line, "\n")); got > 80 {
				t.Errorf("%s: %d columns: %q", what, got, line)
			}
		}
	}
	if got := event.line(style{}, 80, now); !strings.HasPrefix(got, "11-23 12:00 persat.") || !strings.Contains(got, "Ferreterí… +2 FINISHED_WITH…") || !strings.HasSuffix(got, " 27h0m0s") {
		t.Errorf("tail: got %q", got)
	}
}

// A line of tail has the date when it is of another day, be that an hour ago.
func TestTailShowsTheDay(t *testing.T) {
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.Local)
	event := tailed{Stored: midnight.Add(-30 * time.Minute), Subject: "persat.x"}
	for _, tt := range []struct {
		now   time.Time
		width int
		want  string
	}{
		{midnight.Add(-time.Minute), 0, "23:30:00.000  persat.x"},
		{midnight.Add(time.Minute), 0, "2026-11-23 23:30:00  persat.x"},
		{midnight.Add(-time.Minute), 80, "23:30:00    persat.x"},
		{midnight.Add(time.Minute), 80, "11-23 23:30 persat.x"},
	} {
		if got := event.line(style{}, tt.width, tt.now); !strings.HasPrefix(got, tt.want) {
			t.Errorf("at %s: got %q, want it to begin with %q", tt.now, got, tt.want)
		}
	}
}
