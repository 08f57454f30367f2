package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

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

// What a stranger has written must not clear the operator's screen, change its title,
// or show its bytes in another order.
func TestVisibly(t *testing.T) {
	for text, want := range map[string]string{
		"añejo, 48\n\tx":        "añejo, 48\n\tx",
		"\x1b]0;owned\x07":      `\u001b]0;owned\u0007`,
		"\u009b2J":              `\u009b2J`,
		"\x9b2J":                `\ufffd2J`,
		"a\rb\x7f":              `a\u000db\u007f`,
		"\u202ecod.exe":         `\u202ecod.exe`,
		"zero\u200bwidth\ufeff": `zero\u200bwidth\ufeff`,
		"\U000e0041":            `\udb40\udc41`,
	} {
		if got := visibly(text); got != want {
			t.Errorf("visibly(%q): got %q, want %q", text, got, want)
		}
	}
}

// steersTerminal says whether a text does more than show glyphs. U+FFFD is one.
func steersTerminal(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r != utf8.RuneError && steers(r) })
}

// Every command that prints what came from outside does so visibly, as text and as JSON.
func TestStrangersBytesOnTheTerminal(t *testing.T) {
	t.Parallel()
	const evil = "\u009b2J\u202e\x7f"
	b := newBridgeProcess(t)
	b.Start()
	// Quarantined: a body that is not usable, with an entity that is not to be trusted.
	for id, body := range map[string]string{
		"a": `{"eventType":5,"payload":{"_id":"x\u001b]0;t","n":"` + evil + `"}}`,
		"b": "\x1b[2Jnot JSON \x9b",
	} {
		if code, a := signed(t, testSecret, id, time.Now(), body).post(t, b.url); code != 202 || a.Status != "quarantined" {
			t.Fatal(code, a)
		}
	}
	b.post("c", `{"eventType":"workorder.created","payload":{"_id":"x\u001b]0;t\u202e","n":"`+evil+`"}}`)
	b.drained()
	for _, args := range []string{"dead list --all", "dead show --all", "dead show --all --json", "dead list --json"} {
		code, out, errs := b.tool(strings.Fields(args)...)
		if code != exitDone || steersTerminal(out+errs) {
			t.Errorf("%s: exit code %d, %q", args, code, out+errs)
		}
	}
	for _, args := range []string{"--since 1h", "--since 1h --json"} {
		g := startTail(t, b.nats, strings.Fields(args)...)
		lines := g.waitFor(1)
		g.stop()
		if got := lines[0]; !strings.Contains(got, "workorder.created") || steersTerminal(got) {
			t.Errorf("tail %s: %q", args, got)
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
