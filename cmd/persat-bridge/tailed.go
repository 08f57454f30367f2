package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// tailed is one message as 'tail --json' prints it.
type tailed struct {
	Sequence uint64    `json:"sequence"`
	Stored   time.Time `json:"stored"`
	Subject  string    `json:"subject"`
	Type     string    `json:"type"`
	Entities []string  `json:"entities"`
	// State is that of the entities, when they all have the same.
	State string `json:"state,omitempty"`
	// LatencyMS is from the acceptance by the webhook to the stream, in
	// milliseconds; null when the message does not say when it was accepted.
	LatencyMS *float64 `json:"latency_ms"`
	// Replay is the number of the replay that sent it again; 0 for none.
	Replay  int               `json:"replay,omitempty"`
	Headers map[string]string `json:"headers"`
	Data    json.RawMessage   `json:"data"`
}

// readTailed reads a message of whoever published it: what is no event of
// Persat's is shown all the same.
func readTailed(m jetstream.Msg) (*tailed, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	t := &tailed{
		Sequence: meta.Sequence.Stream,
		Stored:   meta.Timestamp.UTC(),
		Subject:  m.Subject(),
		Entities: []string{},
		Headers:  make(map[string]string),
		Data:     m.Data(),
	}
	for name, values := range m.Headers() {
		t.Headers[name] = values[0]
	}
	t.Replay, _ = strconv.Atoi(t.Headers["Persat-Replay"]) // of whoever published it: 0 when it is no number
	t.Type = decodeHeader(t.Headers["ce-type"])
	if accepted, err := time.Parse(time.RFC3339Nano, t.Headers["ce-time"]); err == nil {
		ms := float64(meta.Timestamp.Sub(accepted).Microseconds()) / 1000
		t.LatencyMS = &ms
	}
	if entity := decodeHeader(t.Headers["ce-subject"]); entity != "" {
		t.Entities = []string{entity}
	}
	if event, err := persat.Parse(m.Data()); err == nil {
		t.Type = event.Type
		if event.Entities != nil {
			t.Entities = event.Entities
		}
		t.State = commonState(event)
	} else if !json.Valid(m.Data()) {
		if t.Data, err = json.Marshal(string(m.Data())); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// decodeHeader undoes the percent-encoding of a CloudEvents header.
func decodeHeader(value string) string {
	if text, err := url.PathUnescape(value); err == nil {
		return text
	}
	return value
}

func commonState(event *persat.Event) string {
	snapshots := event.Snapshots()
	for _, s := range snapshots {
		if s.State != snapshots[0].State {
			return ""
		}
	}
	if len(snapshots) == 0 {
		return ""
	}
	return snapshots[0].State
}

// wideTail is from where on the table of tail has room for whole subjects and times.
const wideTail = 107

// line is the message for people. What a stranger wrote in it cannot steer the
// terminal. It is as wide as its content when width is 0, and else no wider than that,
// or than 80.
func (t *tailed) line(paint style, width int, now time.Time) string {
	entity := ""
	if len(t.Entities) > 0 {
		entity = t.Entities[0]
	}
	more := ""
	if n := len(t.Entities) - 1; n > 0 {
		more = " +" + strconv.Itoa(n)
	}
	latency := "-"
	if t.LatencyMS != nil {
		latency = brief(time.Duration(*t.LatencyMS * float64(time.Millisecond)))
	}
	replay := ""
	if t.Replay > 0 {
		replay = fmt.Sprintf(" r%d", t.Replay)
	}
	stored, today := t.Stored.Local(), sameDay(t.Stored, now)
	if width == 0 || width >= wideTail {
		layout := "15:04:05.000"
		if !today {
			layout = time.DateTime
		}
		return fmt.Sprintf("%s  %-30s  %-18s %-24s %10s%s", paint.paint(faint, stored.Format(layout)), shown(t.Subject, 80), shown(entity, 28)+more, shown(t.State, 40), latency, replay)
	}
	layout := "15:04:05"
	if !today {
		layout = "01-02 15:04"
	}
	room := max(width, 80) - 80
	return fmt.Sprintf("%s %-29s %-13s %-*s %9s%s", paint.paint(faint, fmt.Sprintf("%-11s", stored.Format(layout))),
		shown(t.Subject, 29), shown(entity, 13-len(more))+more, 14+room-len(replay), shown(t.State, 14+room-len(replay)), latency, replay)
}

// sameDay compares the days of this host.
func sameDay(a, b time.Time) bool {
	return a.Local().Format(time.DateOnly) == b.Local().Format(time.DateOnly)
}

// brief is a duration in few characters: to the tenth of a millisecond when it is
// short, to the second when it is long.
func brief(d time.Duration) string {
	if d < 10*time.Second {
		return millis(d)
	}
	return d.Round(time.Second).String()
}

// shown is text on one line, shortened, without control characters.
func shown(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
