package admin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
)

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
		{"all is well", bridge.Status{Accepting: true, NATS: up},
			admin.Good, "Accepting and publishing; nothing waiting", ""},
		{"events on their way", bridge.Status{Accepting: true, NATS: up, Pending: 3, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Second)}}},
			admin.Good, "Accepting and publishing; nothing waiting", ""},
		{"before the first attempt has ended", bridge.Status{Accepting: true},
			admin.Warn, "Accepting; connecting to NATS, 0 events waiting, nothing lost", ""},
		{"NATS away", bridge.Status{Accepting: true, NATS: away, Pending: 1, Sources: []bridge.SourceStatus{{}, {OldestPending: ago(26 * time.Hour)}}},
			admin.Warn, "Accepting; NATS away since 13:30, 1 event waiting, the oldest since 2026-11-25 12:30, nothing lost", "Bring NATS back. "},
		{"the reason of the last attempt", bridge.Status{Accepting: true, NATS: away},
			admin.Warn, "Accepting; NATS away since 13:30, 0 events waiting, nothing lost", "by themselves, in order, when it answers. Last attempt: connection refused."},
		{"before the first acknowledgement", bridge.Status{Accepting: true, NATS: up, Pending: 3, Sources: []bridge.SourceStatus{{OldestPending: ago(5 * time.Second)}}},
			admin.Good, "Accepting; 3 events waiting, nothing published yet", ""},
		{"nothing published any more", bridge.Status{Accepting: true, NATS: up, Pending: 3, LastPublished: ago(8 * time.Second), Sources: []bridge.SourceStatus{{OldestPending: ago(8 * time.Second)}}},
			admin.Good, "Accepting; 3 events waiting, nothing published since 14:29", ""},
		{"nothing published for long", bridge.Status{Accepting: true, NATS: up, Pending: 3, LastPublished: ago(time.Minute), Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}},
			admin.Warn, "Accepting; 3 events waiting, the oldest since 14:29, nothing published since 14:29, nothing lost", "Publishing is slower"},
		{"attempts fail", bridge.Status{Accepting: true, NATS: up, Pending: 1, LastPublished: ago(time.Minute), LastFailure: &bridge.FailedAttempt{At: *ago(time.Second), Reason: "odd"}, Sources: []bridge.SourceStatus{{OldestPending: ago(9 * time.Second)}}},
			admin.Warn, "Accepting; 1 event waiting, nothing published since 14:29, nothing lost", "are repeated. Last attempt: odd."},
		{"a failure before the last acknowledgement", bridge.Status{Accepting: true, NATS: up, Pending: 1, LastPublished: ago(8 * time.Second), LastFailure: &bridge.FailedAttempt{At: *ago(time.Minute), Reason: "odd"}, Sources: []bridge.SourceStatus{{OldestPending: ago(8 * time.Second)}}},
			admin.Good, "Accepting; 1 event waiting, nothing published since 14:29", ""},
		{"refused a second ago", bridge.Status{Accepting: true, NATS: up, Pending: 1, Refused: 1, Held: []bridge.HeldSubject{{Waiting: 1, Reason: "the stream is full"}}, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Second)}}},
			admin.Warn, "Accepting; 1 event waiting: 1 refused, nothing lost", "NATS says: the stream is full."},
		{"some refused, others behind them", bridge.Status{Accepting: true, NATS: up, Pending: 720, Refused: 60, Queued: 660, Held: []bridge.HeldSubject{{Waiting: 20, Reason: "no permission"}, {Waiting: 40, Reason: "the stream is full"}}, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}},
			admin.Warn, "Accepting; 720 events waiting: 60 refused, 660 queued behind them, the oldest since 14:29, nothing lost", "NATS says: the stream is full."},
		{"some refused, others flow", bridge.Status{Accepting: true, NATS: up, Pending: 7, Refused: 2, LastPublished: ago(time.Second), Held: []bridge.HeldSubject{{Waiting: 2}}},
			admin.Warn, "Accepting; 7 events waiting: 2 refused, nothing lost", "Repair what NATS refuses events for"},
		{"only a replay is refused", bridge.Status{Accepting: true, NATS: up, Held: []bridge.HeldSubject{{Waiting: 3, Reason: "the stream is full"}}},
			admin.Warn, "Accepting; 0 events waiting, nothing lost", "the stream is full"},
		{"counts of two moments", bridge.Status{Accepting: true, NATS: up, Pending: 5, Refused: 9, Queued: 4, Held: []bridge.HeldSubject{{Waiting: 9, Reason: "the stream is full"}}},
			admin.Warn, "Accepting; 5 events waiting: 5 refused, nothing lost", "the stream is full."},
		{"behind", bridge.Status{Accepting: true, NATS: up, Pending: 7, LastPublished: ago(time.Second), Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}},
			admin.Warn, "Accepting and publishing; 7 events waiting, the oldest since 14:29, nothing lost", "Publishing is slower"},
		{"the journal fills", bridge.Status{Accepting: true, NATS: up, JournalBytes: 83, JournalLimit: 100, JournalRoom: room(5 * 3600)},
			admin.Warn, "Accepting and publishing; nothing waiting, the journal is 83 % full, room for 5 h at the present rate, nothing lost", "raise journal.max_bytes"},
		{"the journal is large and does not grow", bridge.Status{Accepting: true, NATS: up, JournalBytes: 80, JournalLimit: 100},
			admin.Warn, "Accepting and publishing; nothing waiting, the journal is 80 % full, nothing lost", "raise journal.max_bytes"},
		{"the journal has room", bridge.Status{Accepting: true, NATS: up, JournalBytes: 79, JournalLimit: 100, JournalRoom: room(60)},
			admin.Good, "Accepting and publishing; nothing waiting", ""},
		{"dead letters", bridge.Status{Accepting: true, NATS: up, Dead: 2},
			admin.Warn, "Accepting and publishing; nothing waiting, 2 dead letters to decide on, nothing lost", "Look at each reason."},
		{"the stream missing", bridge.Status{Accepting: true, NATS: up, StreamMissing: true},
			admin.Warn, "Accepting; nothing waiting, the stream is missing", "NATS does not find the stream"},
		{"the more urgent advice first", bridge.Status{Accepting: true, NATS: away, Dead: 2},
			admin.Warn, "Accepting; NATS away since 13:30, 0 events waiting, 2 dead letters to decide on, nothing lost", "Bring NATS back."},
		{"refusing", bridge.Status{Refusing: "the journal is full", NATS: away, Dead: 1},
			admin.Bad, "Not accepting events; NATS away since 13:30, 0 events waiting, 1 dead letter to decide on, nothing lost", "the journal is full. Senders get a 503"},
		{"lost by the stream", bridge.Status{Accepting: true, NATS: up, Gone: 12},
			admin.Bad, "Accepting and publishing; nothing waiting, 12 events lost by the stream and no longer kept here", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.status.Time = now
			got := admin.NewSentence(c.status, time.UTC)
			if got.Facts == nil || got.Remedies == nil {
				t.Errorf("got %+v, want lists: the page goes through them", got)
			}
			if got.Level != c.level || got.Text != c.text || !strings.Contains(got.Advice, c.advice) || c.advice == "" && got.Advice != "" {
				t.Errorf("got %s: %q, %q\nwant %s: %q, %q", got.Level, got.Text, got.Advice, c.level, c.text, c.advice)
			}
		})
	}
}
