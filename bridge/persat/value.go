package persat

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ID is an identity or a reference, as text. Persat sends some as strings and
// some as numbers, and which is which differs between objects, so this package
// does not ask: 48 and "48" are both the ID "48". An object that was read and
// is written again keeps the type that each of its IDs came in; a changed ID is
// written as a string.
type ID string

// UnmarshalJSON takes a string, or a number by its literal text.
func (id *ID) UnmarshalJSON(data []byte) error {
	switch {
	case string(data) == "null":
		return nil
	case data[0] == '"':
		return json.Unmarshal(data, (*string)(id))
	case !isNumber(string(data)):
		return errors.New("an id is a string or a number")
	}
	*id = ID(data)
	return nil
}

// Timestamp is a time as Persat wrote it, as in "2021-07-28T18:52:00.000Z".
// It is text, because the Z cannot be believed everywhere: of some fields the
// documentation says that they hold local time all the same, of others it says
// nothing. Each field tells which; In and Instant read it the one way and the
// other.
type Timestamp string

// In reads the digits as the time of a clock on the wall in loc and pays no
// heed to the zone behind them.
func (t Timestamp) In(loc *time.Location) (time.Time, error) {
	at, err := t.Instant()
	if err != nil {
		return time.Time{}, err
	}
	year, month, day := at.Date()
	hour, minute, second := at.Clock()
	return time.Date(year, month, day, hour, minute, second, at.Nanosecond(), loc), nil
}

// Instant believes the zone that is written.
func (t Timestamp) Instant() (time.Time, error) {
	at, err := time.Parse(time.RFC3339, string(t))
	if err != nil {
		return time.Time{}, fmt.Errorf("read timestamp: %w", err)
	}
	return at, nil
}

// ClientRef is the client as another object mentions it. Documented.
type ClientRef struct {
	// UID is the client's identity, the one of the client events: join on it.
	// Documented.
	UID ID `json:"uid_client"`
	// ID is Persat's internal number. Documented; no client event is known
	// to carry it.
	ID ID `json:"id"`
	// Name is the company's name when the object was written. Documented.
	Name string `json:"name"`
	// Raw is the whole object; see Object.
	Raw Object
}

func (c *ClientRef) UnmarshalJSON(data []byte) error { return readObject(data, c) }
func (c ClientRef) MarshalJSON() ([]byte, error)     { return writeObject(c) }
