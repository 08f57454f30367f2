package persat

import (
	"bytes"
	"encoding/json"
)

// Snapshot is one object of a payload: an entity as it was when Persat wrote
// the event. It is for who keeps or shows entities without caring what they
// are; Clients, WorkOrders and the like are for who does.
type Snapshot struct {
	// Entity is the identity, found as ReadEnvelope finds it; empty when the
	// object has none.
	Entity string
	// State is where the entity stands: the text of the member state, or, as in
	// forms, the name in it; empty when there is neither.
	State string
	// Data is the object, byte for byte.
	Data json.RawMessage
}

// Snapshots returns the objects of the payload: itself, or the items of an
// array in their order. What is no object is left out.
func (e *Event) Snapshots() []Snapshot {
	payload := bytes.TrimLeft(e.Payload, " \t\r\n")
	if !valid(payload) { // of an event built by hand
		return nil
	}
	kind := kindOf(e.Type)
	if kind == KindOther {
		kind = kindOfPayload(newScanner(payload).payload())
	}
	switch payload[0] {
	case '{':
		return []Snapshot{snapshot(kind, payload)}
	case '[':
		var all []Snapshot
		s := newScanner(payload)
		s.open()
		for first := true; s.more(']', first); first = false {
			if item := s.value(1); item[0] == '{' {
				all = append(all, snapshot(kind, item))
			}
		}
		return all
	}
	return nil
}

func snapshot(kind Kind, object []byte) Snapshot {
	return Snapshot{Entity: newScanner(object).identifiers(0).text(kind), State: stateOf(object), Data: object}
}

// stateOf reads the member state, or the member name of the object there.
func stateOf(object []byte) string {
	state := memberOf(object, "state")
	if len(state) > 0 && state[0] == '{' {
		state = memberOf(state, "name")
	}
	if len(state) > 0 && state[0] == '"' {
		return string(unquote(state))
	}
	return ""
}

// memberOf returns the value of the object's first member of that name, or nil.
func memberOf(object []byte, name string) []byte {
	s := newScanner(object)
	s.open()
	for first := true; s.more('}', first); first = false {
		if key, value := s.key(), s.value(1); string(unquote(key)) == name {
			return value
		}
	}
	return nil
}
