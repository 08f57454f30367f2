package persat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTypeBytes keeps a subject far below the 4096 bytes at which a NATS server
// closes the connection of the client that publishes on it.
const maxTypeBytes = 128

// Envelope is what the bridge needs to know of a body.
type Envelope struct {
	// Type is the eventType. CheckType has passed it, so it can be appended to
	// a subject prefix.
	Type string
	// Entities are the identities in the payload, as text, in order of
	// appearance and without repeats; nil when there are none. A number and a
	// string of the same digits are one identity. The text is the sender's,
	// any characters and any length: it is no part of a subject.
	Entities []string
}

// ReadEnvelope reads the body of a delivery without building it. It returns an
// error when the body cannot be published as an event: when it is not one valid
// JSON object in valid UTF-8, when eventType is missing or CheckType refuses
// it, or when eventType or payload appears twice, because parsers differ in
// which of two they believe. The error's text is short and fit to be shown to
// the sender.
//
// The identity of a client event is uid_client, else _id; of any other event
// _id, else uid_client; in the payload itself or, when that is an array, in
// each of its items. It is a string or a number. What has none is an event all
// the same: an identity only decides what waits for what, and one that cannot
// be told must not cost the event. So an object that names one of its two keys
// twice has none either.
func ReadEnvelope(body []byte) (Envelope, error) {
	if err := checkJSON(body); err != nil {
		return Envelope{}, err
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	if body[0] != '{' {
		return Envelope{}, errors.New("not a JSON object")
	}

	var eventType, payload []byte
	for c := inside(body); c.next(); {
		key, value := c.member()
		switch string(unquote(key)) {
		case "eventType":
			if eventType != nil {
				return Envelope{}, errors.New("eventType appears twice")
			}
			eventType = value
		case "payload":
			if payload != nil {
				return Envelope{}, errors.New("payload appears twice")
			}
			payload = value
		}
	}

	switch {
	case eventType == nil:
		return Envelope{}, errors.New("no eventType")
	case eventType[0] != '"':
		return Envelope{}, errors.New("eventType is not a string")
	}
	e := Envelope{Type: string(unquote(eventType))}
	if err := CheckType(e.Type); err != nil {
		return Envelope{}, err
	}
	e.Entities = entities(kindOf(e.Type), payload)
	return e, nil
}

// CheckType reports why eventType cannot be the end of a NATS subject, or nil:
// it takes letters, digits, "_" and "-" of ASCII, in words between single dots,
// at most 128 bytes.
func CheckType(eventType string) error {
	switch {
	case eventType == "":
		return errors.New("eventType is empty")
	case len(eventType) > maxTypeBytes:
		return fmt.Errorf("eventType is longer than %d bytes", maxTypeBytes)
	}
	afterDot := true
	for i := range len(eventType) {
		dot := eventType[i] == '.'
		if dot && afterDot || !dot && !isWordByte(eventType[i]) {
			return typeCharsError(eventType)
		}
		afterDot = dot
	}
	if afterDot {
		return typeCharsError(eventType)
	}
	return nil
}

func isWordByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || isDigit(b) || b == '_' || b == '-'
}

// typeCharsError quotes the type, but not so much of it that a stranger could
// write into a log or a page at length.
func typeCharsError(eventType string) error {
	const shown = 40
	if len(eventType) > shown {
		eventType = strings.ToValidUTF8(eventType[:shown], "") + "…"
	}
	return fmt.Errorf("eventType %q: only A-Z a-z 0-9 _ - between single dots", eventType)
}

// checkJSON reports why body is not one JSON value in UTF-8. Positions count
// bytes from 1.
func checkJSON(body []byte) error {
	if !json.Valid(body) {
		err := json.Unmarshal(body, new(json.RawMessage))
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return fmt.Errorf("not JSON: %w at byte %d", syntax, syntax.Offset)
		}
		return fmt.Errorf("not JSON: %w", err)
	}
	// encoding/json lets invalid UTF-8 pass inside strings; RFC 8259 does not.
	if !utf8.Valid(body) {
		return fmt.Errorf("not JSON: invalid UTF-8 at byte %d", invalidUTF8(body)+1)
	}
	return nil
}

// invalidUTF8 returns the index of the first byte of b that is not UTF-8.
func invalidUTF8(b []byte) int {
	at := 0
	for at < len(b) {
		r, size := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// entities returns the identities in a payload, which is nil when the body has
// none.
func entities(kind Kind, payload []byte) []string {
	if len(payload) == 0 {
		return nil
	}
	switch payload[0] {
	case '{':
		if id := identity(kind, payload); id != "" {
			return []string{id}
		}
	case '[':
		return itemEntities(kind, payload)
	}
	return nil
}

func itemEntities(kind Kind, payload []byte) []string {
	var ids []string
	// A set, because a bulk event of a few megabytes has so many items that
	// looking each up in the list would hold a processor for minutes.
	seen := make(map[string]struct{})
	for c := inside(payload); c.next(); {
		item := c.value()
		if item[0] != '{' {
			continue
		}
		id := identity(kind, item)
		if id == "" {
			continue
		}
		if _, repeated := seen[id]; repeated {
			continue
		}
		seen[id] = struct{}{}
		ids = append(ids, id)
	}
	return ids
}

// identity returns the identity of one object, or "".
func identity(kind Kind, object []byte) string {
	var id, uidClient []byte
	for c := inside(object); c.next(); {
		key, value := c.member()
		switch string(unquote(key)) {
		case "_id":
			if id != nil {
				return ""
			}
			id = value
		case "uid_client":
			if uidClient != nil {
				return ""
			}
			uidClient = value
		}
	}
	first, second := id, uidClient
	if kind == KindClient {
		first, second = uidClient, id
	}
	if text := identityText(first); text != "" {
		return text
	}
	return identityText(second)
}

// identityText returns a string's text or a number's literal, a copy of either,
// and "" for any other value.
func identityText(value []byte) string {
	switch {
	case len(value) == 0:
		return ""
	case value[0] == '"':
		return string(unquote(value))
	case value[0] == '-' || isDigit(value[0]):
		return string(value)
	}
	return ""
}
