package pull

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// position is how far a source has been pulled. It is in the journal as JSON.
type position struct {
	// Iterator is the endpoint's own mark; empty before the first page, and after the
	// endpoint has forgotten it.
	Iterator string `json:"iterator,omitempty"`
	// Time is that of the newest item before the position, or of the start. Without an
	// iterator the endpoint is asked for what came after it; zero asks for everything.
	Time time.Time `json:"time,omitzero"`
}

func parsePosition(text []byte) (position, error) {
	var at position
	if err := json.Unmarshal(text, &at); err != nil {
		return at, fmt.Errorf("pull position in the journal is damaged: %w", err)
	}
	return at, nil
}

func (at position) text() []byte {
	text, _ := json.Marshal(at) // no value of this type fails
	return text
}

// slack is how much earlier than the newest item pulling begins again when only a time
// is known: items are in the order of sending, not of their timestamps.
const slack = time.Minute

// after is the time to ask for without an iterator; zero for none.
func (at position) after() time.Time {
	if at.Time.IsZero() {
		return at.Time
	}
	return at.Time.Add(-slack)
}

// Start is where the first fetch of a source begins: Latest (the zero value), Earliest,
// or a time.
type Start struct {
	earliest bool
	at       time.Time
}

// Latest begins with what is sent from now on, Earliest with all that the endpoint has.
var (
	Latest   = Start{}
	Earliest = Start{earliest: true}
)

// ParseStart reads "latest", "earliest" or a time in RFC 3339.
func ParseStart(s string) (Start, error) {
	switch s {
	case "", "latest":
		return Latest, nil
	case "earliest":
		return Earliest, nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return Start{}, errors.New("neither latest nor earliest nor a time: write it like 2026-02-12T12:00:00Z")
	}
	return Start{at: at}, nil
}

func (s Start) position(now time.Time) position {
	switch {
	case s.earliest:
		return position{}
	case s.at.IsZero():
		return position{Time: now.UTC()}
	}
	return position{Time: s.at.UTC()}
}
