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
		{"held", bridge.Status{Accepting: true, NATS: up, Pending: 7, Held: []bridge.HeldSubject{{Waiting: 2}, {Waiting: 3}}},
			admin.Warn, "Accepting; 7 events waiting, 5 held, nothing lost", "Repair what is named"},
		{"behind", bridge.Status{Accepting: true, NATS: up, Pending: 7, Sources: []bridge.SourceStatus{{OldestPending: ago(time.Minute)}}},
			admin.Warn, "Accepting and publishing; 7 events waiting, the oldest since 14:29, nothing lost", "Publishing is slower"},
		{"dead letters", bridge.Status{Accepting: true, NATS: up, Dead: 2},
			admin.Warn, "Accepting and publishing; nothing waiting, 2 dead letters to decide on, nothing lost", "Look at each reason."},
		{"the stream missing", bridge.Status{Accepting: true, NATS: up, StreamMissing: true},
			admin.Warn, "Accepting and publishing; nothing waiting, the stream is missing, nothing lost", "NATS does not find the stream"},
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
			if got.Level != c.level || got.Text != c.text || !strings.Contains(got.Advice, c.advice) || c.advice == "" && got.Advice != "" {
				t.Errorf("got %s: %q, %q\nwant %s: %q, %q", got.Level, got.Text, got.Advice, c.level, c.text, c.advice)
			}
		})
	}
}
