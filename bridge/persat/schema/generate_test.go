package schema_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// object is a JSON object whose members are written in the order of their names;
// nobody reads these files for their order.
type object = map[string]any

const dialect = "https://json-schema.org/draft/2020-12/schema"

// bundle is the schema of every body, with the definitions of all events and objects.
func (m *model) bundle() object {
	definitions := object{"any": anySchema()}
	rules := []any{ref("any")}
	for _, s := range m.structures {
		definitions[s.name] = s.schema()
	}
	for _, e := range m.events {
		definitions[e.Type] = eventSchema(e)
		rules = append(rules, object{
			"if":   object{"required": []string{"eventType"}, "properties": object{"eventType": object{"const": e.Type}}},
			"then": ref(e.Type),
		})
	}
	return object{
		"$schema":     dialect,
		"title":       "Events of Persat",
		"description": "The body of every event, by its eventType; one of a type that the catalogue does not have needs an envelope alone.",
		"allOf":       rules,
		"$defs":       definitions,
	}
}

// file is the schema of one event in a file of its own.
func file(name, title string) object {
	return object{"$schema": dialect, "title": title, "$ref": "../persat.json#/$defs/" + name}
}

func ref(name string) object { return object{"$ref": "#/$defs/" + name} }

// eventSchema is the schema of the bodies of one event.
func eventSchema(e persat.Entry) object {
	eventType := object{"const": e.Type, "title": "Event type", "x-confirmed": e.Confirmed}
	schema := object{
		"title":       e.Title,
		"description": strings.TrimSpace(e.Fires + ". " + e.Caveat),
		"x-confirmed": e.Confirmed,
		"type":        "object",
		"required":    []string{"eventType", "payload"},
		"properties":  object{"eventType": eventType, "payload": payload(e)},
	}
	if e.Assumed {
		schema["title"] = e.Title + " (name assumed)"
		schema["x-assumed"], eventType["x-assumed"] = true, true
		eventType["description"] = "A placeholder: nobody has read the name of this event, which may arrive under another."
	}
	return schema
}

func payload(e persat.Entry) object {
	name := objectTypes[e.Kind].Name()
	one := ref(name)
	identity := object{"required": []string{e.Identity}, "properties": object{e.Identity: object{"type": e.IdentityType}}}
	if !e.PayloadConfirmed {
		p := object{
			"title":       "Payload",
			"x-confirmed": false,
			"description": fmt.Sprintf("Expected: %s, of %s. That is inferred, so any value validates.", e.Payload, name),
			"anyOf":       []any{one, object{"type": "array", "items": one}, object{}},
		}
		if e.IdentityConfirmed {
			p["description"] = fmt.Sprintf("Expected: %s, of %s. That is inferred; but an object has %s, a %s.", e.Payload, name, e.Identity, e.IdentityType)
			p["if"], p["then"] = object{"type": "object"}, identity
		}
		return p
	}
	rules := []any{one}
	if e.IdentityConfirmed {
		rules = append(rules, identity)
	}
	if e.States != nil {
		rules = append(rules, object{"properties": object{"state": object{"enum": e.States}}})
	}
	if e.Payload == persat.ManyObjects {
		return object{"title": "Payload", "x-confirmed": true, "type": "array", "items": object{"allOf": rules}}
	}
	return object{"title": "Payload", "x-confirmed": true, "type": "object", "allOf": rules}
}

// schema is the definition of a structure.
func (s *structure) schema() object {
	properties := object{}
	for _, m := range s.members {
		properties[m.name] = m.schema()
	}
	return object{"type": "object", "title": s.title, "description": s.description, "properties": properties}
}

func (m *member) schema() object {
	schema := object{"title": m.title, "description": m.description, "x-confirmed": m.confirmed, "examples": []any{m.example}}
	if m.unit != "" {
		schema["x-unit"] = m.unit
	}
	if !m.confirmed || m.open {
		return schema
	}
	for keyword, value := range rules(m.goType) {
		schema[keyword] = value
	}
	return schema
}

// rules are the keywords that hold a value to a Go type.
func rules(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[persat.ID]():
		return object{"type": []string{"string", "number"}}
	case reflect.TypeFor[persat.FormValues]():
		return object{"type": "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return rules(t.Elem())
	case reflect.Struct:
		// In an allOf, because draft 07 ignores what stands beside a $ref.
		return object{"allOf": []any{ref(t.Name())}}
	case reflect.Slice:
		items := rules(t.Elem())
		if t.Elem().Kind() == reflect.Struct {
			items = ref(t.Elem().Name())
		}
		return object{"type": "array", "items": items}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Float64:
		return object{"type": "number"}
	}
	panic("no rules for " + t.String())
}

// anySchema is the schema of every published body.
func anySchema() object {
	return object{
		"title":       "Any event",
		"description": "Every body that the bridge publishes, of whatever event type. Persat sends all its events to an endpoint that does not choose, so types that nobody has described yet will arrive.",
		"type":        "object",
		"required":    []string{"eventType"},
		"properties": object{
			"eventType": object{"title": "Event type", "type": "string", "maxLength": 128, "pattern": `^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`, "description": "The event type; the subject has it behind its prefix.", "examples": []string{"workorder.closed"}},
			"payload":   object{"title": "Payload", "description": "An object, or in bulk events an array of objects.", "x-confirmed": true},
		},
	}
}

// write is the text of a schema's file.
func write(t *testing.T, schema object) []byte {
	t.Helper()
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}
