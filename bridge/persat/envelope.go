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
	// Kind is the kind of thing that the event is about: by the first word of its
	// type or, when this package does not know that word, by the members of its
	// payload; KindOther when neither tells.
	Kind Kind
}

// OrderKind is the kind within which an identity names one entity: Kind or, when
// that is KindOther, the first word of the type.
func (e Envelope) OrderKind() string {
	if e.Kind != KindOther {
		return string(e.Kind)
	}
	word, _, _ := strings.Cut(e.Type, ".")
	return word
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
	var eventType []byte
	var objects []identifiers
	types, payloads := 0, 0
	body = withoutMark(body)
	s := newScanner(body)
	isObject, list := s.at() == '{', false
	if isObject {
		s.open()
	} else {
		s.value(0)
	}
	for first := true; isObject && s.more('}', first); first = false {
		switch string(unquote(s.key())) {
		case "eventType":
			types++
			eventType = s.value(1)
		case "payload":
			payloads++
			objects = s.payload()
		default:
			list = s.at() == '[' || list
			s.value(1)
		}
	}

	switch {
	case !s.end() || !utf8.Valid(body):
		return Envelope{}, notJSON(body)
	case !isObject && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")):
		return Envelope{}, errors.New("not a JSON object but an array: " + looksLikeABatch)
	case !isObject:
		return Envelope{}, errors.New("not a JSON object")
	case types == 0 && payloads == 0 && list:
		return Envelope{}, errors.New("no eventType, but a list: " + looksLikeABatch)
	case types == 0:
		return Envelope{}, errors.New("no eventType")
	case types > 1:
		return Envelope{}, errors.New("eventType appears twice")
	case payloads > 1:
		return Envelope{}, errors.New("payload appears twice")
	case eventType[0] != '"':
		return Envelope{}, errors.New("eventType is not a string")
	}
	e := Envelope{Type: string(unquote(eventType))}
	if err := CheckType(e.Type); err != nil {
		return Envelope{}, err
	}
	e.Kind = kindOf(e.Type)
	if e.Kind == KindOther {
		e.Kind = kindOfPayload(objects)
	}
	e.Entities = entities(e.Kind, objects)
	return e, nil
}

// looksLikeABatch is for a body that holds several events. A FIFO endpoint of Svix sends
// such; what its batches look like is not documented.
const looksLikeABatch = "it looks like a batch of a FIFO endpoint; register an ordinary endpoint in the sender's portal, which sends each event by itself"

// withoutMark takes a byte order mark off: RFC 8259 lets a parser ignore it.
func withoutMark(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) }

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

// notJSON says why body is not one JSON value in UTF-8. Positions count bytes
// from 1.
func notJSON(body []byte) error {
	err := json.Unmarshal(body, new(json.RawMessage))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("not JSON: %w at byte %d", syntax, syntax.Offset)
	}
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	// encoding/json lets invalid UTF-8 pass inside strings; RFC 8259 does not.
	return fmt.Errorf("not JSON: invalid UTF-8 at byte %d", invalidUTF8(body)+1)
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

// identifiers are the members that can identify an object, as they stand in the body;
// nil where there is none.
type identifiers struct {
	id, uidClient []byte
	twice         bool // one of them
	members       memberSet
}

// payload reads the payload, which comes next in the body, and returns what can
// identify the object that it is, or each of the objects in the array that it is.
func (s *scanner) payload() []identifiers {
	var all []identifiers
	switch s.at() {
	case '{':
		return append(all, s.identifiers(1))
	case '[':
		s.open()
		for first := true; s.more(']', first); first = false {
			if s.at() != '{' {
				s.value(2)
				continue
			}
			if i := s.identifiers(2); i.id != nil || i.uidClient != nil {
				all = append(all, i)
			}
		}
	default:
		s.value(1)
	}
	return all
}

// identifiers reads the object that comes next, which lies in so many containers.
func (s *scanner) identifiers(depth int) (i identifiers) {
	s.open()
	for first := true; s.more('}', first); first = false {
		member := &i.id
		switch key := unquote(s.key()); string(key) {
		case "_id":
		case "uid_client":
			member = &i.uidClient
		default:
			i.members |= memberOfKind(key)
			s.value(depth + 1)
			continue
		}
		i.twice = i.twice || *member != nil
		*member = s.value(depth + 1)
	}
	return i
}

// entities returns the identities of a payload's objects.
func entities(kind Kind, objects []identifiers) []string {
	if len(objects) == 1 {
		if id := objects[0].text(kind); id != "" {
			return []string{id}
		}
		return nil
	}
	var ids []string
	// A set, because a bulk event of a few megabytes has so many items that
	// looking each up in the list would hold a processor for minutes.
	seen := make(map[string]struct{}, len(objects))
	for _, object := range objects {
		id := object.text(kind)
		if _, repeated := seen[id]; repeated || id == "" {
			continue
		}
		seen[id] = struct{}{}
		ids = append(ids, id)
	}
	return ids
}

// text returns the identity of one object, or "".
func (i identifiers) text(kind Kind) string {
	if i.twice {
		return ""
	}
	first, second := i.id, i.uidClient
	if kind == KindClient {
		first, second = second, first
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
