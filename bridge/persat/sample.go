package persat

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// samples holds one body for each event type of the catalogue: the documented
// fields with invented values. In each, the identity is the payload's first
// member; Sample finds it by that.
//
//go:embed samples/*.json
var samples embed.FS

// Sample returns a body as Persat would send it, on one line, for an event type
// of the catalogue. With an entity, that is the identity in its payload instead
// of the sample's own. The identity of a delivery route is a number, so its
// entity must be one as JSON writes it.
func Sample(eventType, entity string) ([]byte, error) {
	indented, err := samples.ReadFile("samples/" + eventType + ".json")
	if err != nil {
		return nil, fmt.Errorf("no sample of event type %q", eventType)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, indented); err != nil {
		return nil, fmt.Errorf("read sample of %s: %w", eventType, err)
	}
	if entity == "" {
		return compact.Bytes(), nil
	}
	return withEntity(compact.Bytes(), kindOf(eventType), entity)
}

// withEntity returns body with entity as the identity in its payload.
func withEntity(body []byte, kind Kind, entity string) ([]byte, error) {
	literal, err := identityLiteral(kind, entity)
	if err != nil {
		return nil, err
	}
	key := []byte(`"_id":`)
	if kind == KindClient {
		key = []byte(`"uid_client":`)
	}
	at := bytes.Index(body, key) + len(key)
	return slices.Concat(body[:at], literal, body[skipValue(body, at, maxDepth):]), nil
}

func identityLiteral(kind Kind, entity string) ([]byte, error) {
	if kind == KindRoute {
		if !isNumber(entity) {
			return nil, fmt.Errorf("entity %q: a delivery route is identified by a number", entity)
		}
		return []byte(entity), nil
	}
	if !utf8.ValidString(entity) {
		return nil, errors.New("entity is not valid UTF-8")
	}
	return json.Marshal(entity)
}

// isNumber reports whether s is a number as JSON writes it, nothing around it.
func isNumber(s string) bool {
	if s == "" || s[0] != '-' && !isDigit(s[0]) || !isDigit(s[len(s)-1]) {
		return false
	}
	return valid([]byte(s))
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }
