package persat

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Event is one message: the data of a NATS message, which is the body of
// Persat's request.
//
// Nothing in it says when the thing happened, to which account it belongs or
// which of two events came first (documented: the body has no id, time, account
// or number of its own). The order of the stream is the order of arrival, and
// an old snapshot can arrive more than a day late, when a retry brings it.
//
// Clients, WorkOrders, Deliveries, Routes and Forms read the payload: an object
// as one of them, an array as all. They do not ask for the event's own kind, so
// that an event under a name nobody has seen yet can be read as what its payload
// turns out to be. A payload that is neither object nor array, or has an item
// that is no object, is an error.
type Event struct {
	// Type is the event type, as in "workorder.closed".
	Type string `json:"eventType"`
	// Payload is what the event carries, byte for byte; nil when the body has
	// none. The documentation shows an object, and an array in bulk events.
	Payload json.RawMessage `json:"payload"`
	// Raw is the whole body; see Object.
	Raw Object

	// Kind is the kind of thing that the event is about; see Envelope.
	Kind Kind
	// Action is what the type says has happened: all behind its first dot.
	Action string
	// Entities are the identities in the payload; see Envelope.
	Entities []string
}

// Parse reads a message's data. It is an error when ReadEnvelope says that the
// data is no event, never that its type, its kind or a field is one that this
// package does not know. Parse keeps nothing of data.
func Parse(data []byte) (*Event, error) {
	data = withoutMark(data)
	envelope, err := ReadEnvelope(data)
	if err != nil {
		return nil, fmt.Errorf("parse event: %w", err)
	}
	event := new(Event)
	if err := readObject(data, event); err != nil {
		return nil, fmt.Errorf("parse event: %w", err)
	}
	_, event.Action, _ = strings.Cut(envelope.Type, ".")
	event.Kind = envelope.Kind
	event.Entities = envelope.Entities
	return event, nil
}

// UnmarshalJSON is Parse.
func (e *Event) UnmarshalJSON(data []byte) error {
	event, err := Parse(data)
	if err != nil {
		return err
	}
	*e = *event
	return nil
}

// MarshalJSON writes the event as a body, equal to what was parsed but for the
// order of members and white space.
func (e Event) MarshalJSON() ([]byte, error) { return writeObject(e) }

// Clients reads the payload of a client event.
func (e *Event) Clients() ([]Client, error) { return readObjects[Client](e.Payload) }

// WorkOrders reads the payload of a work order event.
func (e *Event) WorkOrders() ([]WorkOrder, error) { return readObjects[WorkOrder](e.Payload) }

// Deliveries reads the payload of a delivery event.
func (e *Event) Deliveries() ([]Delivery, error) { return readObjects[Delivery](e.Payload) }

// Routes reads the payload of a delivery route event.
func (e *Event) Routes() ([]Route, error) { return readObjects[Route](e.Payload) }

// Forms reads the payload of a form event.
func (e *Event) Forms() ([]Form, error) { return readObjects[Form](e.Payload) }
