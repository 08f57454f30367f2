package admin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
)

func TestSentenceOfRefusedRequests(t *testing.T) {
	refused := []admin.RefusedRequests{{Count: 2}, {Count: 1}}
	for _, c := range []struct {
		accepted uint64
		level    admin.Level
		text     string
	}{
		{0, admin.Warn, "Ready; no event has arrived yet, 3 requests were refused"},
		{1, admin.Good, "Accepting and publishing; nothing waiting"},
	} {
		status := bridge.Status{Accepting: true, NATS: bridge.Link{Up: true}, Accepted: c.accepted}
		if got := admin.NewSentence(status, refused, time.UTC); got.Level != c.level || got.Text != c.text {
			t.Errorf("with %d accepted: got %s: %q, want %s: %q", c.accepted, got.Level, got.Text, c.level, c.text)
		}
	}
}

func TestSentence(t *testing.T) {
	now := time.Date(2026, 11, 26, 14, 30, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	room := func(seconds float64) *float64 { return &seconds }
	up := bridge.Link{Up: true, Since: *ago(time.Hour)}
	away := bridge.Link{Since: *ago(time.Hour), Attempts: 3, Reason: "connection refused"}
	for _, c := range []struct {
		name         string
		status       bridge.Status
		level        admin.Level
		text, advice string
	}{
		{"all is well", bridge.Status{Accepting: true, NATS: up, Accepted: 9},
			admin.Good, "Accepting and publishing; nothing waiting", ""},
		{"before the first event", bridge.Status{Accepting: true, NATS: up},
			admin.Good, "Ready; no event has arrived yet", ""},
		{"events on their way", bridge.Status{Accepting: true, NATS: up, Pending: 3, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Second)}}},
			admin.Good, "Accepting and publishing; nothing waiting", ""},
		{"before the first attempt has ended", bridge.Status{Accepting: true},
			admin.Warn, "Accepting; connecting to NATS, nothing waiting, nothing lost", ""},
		{"NATS away", bridge.Status{Accepting: true, NATS: away, Pending: 1, Sources: []bridge.SourceStatus{{}, {OldestPending: ago(26 * time.Hour)}}},
			admin.Warn, "Accepting; NATS away since 13:30, 1 event waiting, the oldest since 2026-11-25 12:30, nothing lost", "Bring NATS back. "},
		{"the reason of the last attempt", bridge.Status{Accepting: true, NATS: away},
			admin.Warn, "Accepting; NATS away since 13:30, nothing waiting, nothing lost", "by themselves, in order, when it answers. Last attempt: connection refused."},
		{"before the first acknowledgement", bridge.Status{Accepting: true, NATS: up, Pending: 3, Sources: []bridge.SourceStatus{{OldestPending: ago(5 * time.Second)}}},
			admin.Good, "Accepting; 3 events waiting, the oldest for 5 s", ""},
		{"nothing published for a moment", bridge.Status{Accepting: true, NATS: up, Pending: 3, LastPublished: ago(8 * time.Second), Sources: []bridge.SourceStatus{{OldestPending: ago(8 * time.Second)}}},
			admin.Good, "Accepting; 3 events waiting, the oldest for 8 s", ""},
		{"nothing published for long", bridge.Status{Accepting: true, NATS: up, Pending: 3, LastPublished: ago(time.Minute), Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}},
			admin.Warn, "Accepting; 3 events waiting, the oldest since 14:29, nothing published since 14:29, nothing lost", "After an outage this passes by itself"},
		{"attempts fail", bridge.Status{Accepting: true, NATS: up, Pending: 1, LastPublished: ago(time.Minute), LastFailure: &bridge.FailedAttempt{At: *ago(time.Second), Reason: "odd"}, Sources: []bridge.SourceStatus{{OldestPending: ago(9 * time.Second)}}},
			admin.Warn, "Accepting; 1 event waiting, nothing published since 14:29, nothing lost", "look into NATS for this error: odd."},
		{"a failure before the last acknowledgement", bridge.Status{Accepting: true, NATS: up, Pending: 1, LastPublished: ago(8 * time.Second), LastFailure: &bridge.FailedAttempt{At: *ago(time.Minute), Reason: "odd"}, Sources: []bridge.SourceStatus{{OldestPending: ago(8 * time.Second)}}},
			admin.Good, "Accepting; 1 event waiting, the oldest for 8 s", ""},
		{"refused a second ago", bridge.Status{Accepting: true, NATS: up, Pending: 1, Refused: 1, Held: []bridge.HeldSubject{{Waiting: 1, Reason: "the stream is full"}}, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Second)}}},
			admin.Warn, "Accepting; 1 event waiting: 1 refused, nothing lost", "Reason: the stream is full."},
		{"some refused, others behind them", bridge.Status{Accepting: true, NATS: up, Pending: 720, Refused: 60, Queued: 660, Held: []bridge.HeldSubject{{Waiting: 20, Reason: "no permission"}, {Waiting: 40, Reason: "the stream is full"}}, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}},
			admin.Warn, "Accepting; 720 events waiting: 60 refused, 660 queued behind them, the oldest since 14:29, nothing lost", "Reason: the stream is full."},
		{"some refused, others flow", bridge.Status{Accepting: true, NATS: up, Pending: 7, Refused: 2, LastPublished: ago(time.Second), Held: []bridge.HeldSubject{{Waiting: 2}}},
			admin.Warn, "Accepting; 7 events waiting: 2 refused, nothing lost", "Repair what NATS refuses events for"},
		{"only a replay is refused", bridge.Status{Accepting: true, NATS: up, Held: []bridge.HeldSubject{{Waiting: 3, Reason: "the stream is full"}}},
			admin.Warn, "Accepting; nothing waiting, nothing lost", "the stream is full"},
		{"counts of two moments", bridge.Status{Accepting: true, NATS: up, Pending: 5, Refused: 9, Queued: 4, Held: []bridge.HeldSubject{{Waiting: 9, Reason: "the stream is full"}}},
			admin.Warn, "Accepting; 5 events waiting: 5 refused, nothing lost", "the stream is full."},
		{"behind", bridge.Status{Accepting: true, NATS: up, Pending: 7, LastPublished: ago(time.Second), Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}},
			admin.Warn, "Accepting and publishing; 7 events waiting, the oldest since 14:29, nothing lost", "After an outage this passes by itself"},
		{"the journal fills", bridge.Status{Accepting: true, NATS: up, Pending: 7, LastPublished: ago(time.Second), Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}, JournalBytes: 83, JournalLimit: 100, JournalRoom: room(5 * 3600)},
			admin.Warn, "Accepting and publishing; 7 events waiting, the oldest since 14:29, the journal is 83 % full, room for 5 h at the present rate, nothing lost", "See why events wait"},
		{"the journal fills while NATS is away", bridge.Status{Accepting: true, NATS: away, Pending: 7, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}, JournalBytes: 83, JournalLimit: 100, JournalRoom: room(5 * 3600)},
			admin.Warn, "Accepting; NATS away since 13:30, 7 events waiting, the oldest since 14:29, the journal is 83 % full, room for 5 h at the present rate, nothing lost", "Bring NATS back."},
		{"events wait and the journal does not grow", bridge.Status{Accepting: true, NATS: up, Pending: 7, LastPublished: ago(time.Minute), Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}, JournalBytes: 80, JournalLimit: 100},
			admin.Warn, "Accepting; 7 events waiting, the oldest since 14:29, nothing published since 14:29, the journal is 80 % full, nothing lost", "raise journal.max_bytes"},
		// It was told to repair what kept events from being published, and none was kept.
		{"the journal is large and nothing waits", bridge.Status{Accepting: true, NATS: up, Accepted: 9, JournalBytes: 83, JournalLimit: 100, JournalRoom: room(5 * 3600)},
			admin.Good, "Accepting and publishing; nothing waiting, the journal is 83 % full", "Nothing is in danger"},
		{"the journal is large and dead letters are there", bridge.Status{Accepting: true, NATS: up, Accepted: 9, Dead: 2, JournalBytes: 83, JournalLimit: 100},
			admin.Warn, "Accepting and publishing; nothing waiting, the journal is 83 % full, 2 dead letters to decide on, nothing lost", "Look at each reason"},
		{"the journal is nearly full though nothing waits", bridge.Status{Accepting: true, NATS: up, Accepted: 9, Dead: 2, JournalBytes: 96, JournalLimit: 100},
			admin.Warn, "Accepting and publishing; nothing waiting, the journal is 96 % full, 2 dead letters to decide on, nothing lost", "Decide on the dead letters"},
		{"the journal has room", bridge.Status{Accepting: true, NATS: up, Accepted: 9, JournalBytes: 79, JournalLimit: 100, JournalRoom: room(60)},
			admin.Good, "Accepting and publishing; nothing waiting", ""},
		{"dead letters", bridge.Status{Accepting: true, NATS: up, Accepted: 9, Dead: 2},
			admin.Warn, "Accepting and publishing; nothing waiting, 2 dead letters to decide on, nothing lost", "Look at each reason and decide: replay what can be published, have the rest sent again, or discard."},
		{"the stream missing", bridge.Status{Accepting: true, NATS: up, Accepted: 9, StreamMissing: true},
			admin.Warn, "Accepting; the stream is missing, nothing waiting", "NATS does not find the stream"},
		{"events wait for the missing stream", bridge.Status{Accepting: true, NATS: up, StreamMissing: true, Pending: 3, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}},
			admin.Warn, "Accepting; the stream is missing, 3 events waiting, the oldest since 14:29", "NATS does not find the stream"},
		{"the more urgent advice first", bridge.Status{Accepting: true, NATS: away, Dead: 2},
			admin.Warn, "Accepting; NATS away since 13:30, nothing waiting, 2 dead letters to decide on, nothing lost", "Bring NATS back."},
		{"refusing", bridge.Status{Refusing: "the journal is full", NATS: away, Dead: 1},
			admin.Bad, "Not accepting events; NATS away since 13:30, nothing waiting, 1 dead letter to decide on, nothing lost", "The journal is full. Senders get a 503 and repeat for more than a day, so nothing is lost yet. Bring NATS back. Last attempt: connection refused."},
		{"refusing for what NATS refuses", bridge.Status{Refusing: "the journal is full", NATS: up, Pending: 1, Refused: 1, Held: []bridge.HeldSubject{{Waiting: 1, Reason: "the stream is full"}}},
			admin.Bad, "Not accepting events; 1 event waiting: 1 refused, nothing lost", "Reason: the stream is full."},
		{"lost by the stream", bridge.Status{Accepting: true, NATS: up, Accepted: 20, Gone: 12},
			admin.Bad, "Accepting and publishing; the stream has lost 12 events that the bridge no longer keeps, nothing waiting", "The lost events cannot be published again from here"},
		{"one lost by the stream, while NATS is away", bridge.Status{Accepting: true, NATS: away, Accepted: 20, Gone: 1},
			admin.Bad, "Accepting; the stream has lost 1 event that the bridge no longer keeps, NATS away since 13:30, nothing waiting", "Bring NATS back. "},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.status.Time = now
			got := admin.NewSentence(c.status, nil, time.UTC)
			if got.Facts == nil || got.Remedies == nil {
				t.Errorf("got %+v, want lists: the page goes through them", got)
			}
			if got.Level != c.level || got.Text != c.text || !strings.Contains(got.Advice, c.advice) || c.advice == "" && got.Advice != "" {
				t.Errorf("got %s: %q, %q\nwant %s: %q, %q", got.Level, got.Text, got.Advice, c.level, c.text, c.advice)
			}
		})
	}
}
