package persat

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// shape is what the types of this package say of a member: the JSON types that it may
// have, and, of an object or the items of an array, the members within.
type shape struct {
	types   []string
	members map[string]*shape // nil: not described, so not looked into
}

// shapes are those of the payload objects, by kind.
var shapes = map[Kind]*shape{
	KindClient:    shapeOf(reflect.TypeFor[Client]()),
	KindWorkOrder: shapeOf(reflect.TypeFor[WorkOrder]()),
	KindDelivery:  shapeOf(reflect.TypeFor[Delivery]()),
	KindRoute:     shapeOf(reflect.TypeFor[Route]()),
	KindForm:      shapeOf(reflect.TypeFor[Form]()),
}

func shapeOf(t reflect.Type) *shape {
	switch t {
	case reflect.TypeFor[ID]():
		return &shape{types: []string{"string", "number"}}
	case reflect.TypeFor[FormValues]():
		return &shape{types: []string{"object"}}
	case reflect.TypeFor[json.RawMessage]():
		return &shape{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.Slice:
		return &shape{types: []string{"array"}, members: shapeOf(t.Elem()).members}
	case reflect.Map:
		return &shape{types: []string{"object"}}
	case reflect.Bool:
		return &shape{types: []string{"boolean"}}
	case reflect.Int, reflect.Float64:
		return &shape{types: []string{"number"}}
	case reflect.Struct:
		s := &shape{types: []string{"object"}, members: make(map[string]*shape)}
		for i := range t.NumField() {
			if name := memberName(t.Field(i)); name != "" {
				s.members[name] = shapeOf(t.Field(i).Type)
			}
		}
		return s
	}
	return &shape{types: []string{"string"}}
}

// jsonType names the JSON type of a value.
func jsonType(value []byte) string {
	switch value[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// drift calls report for each member of an object that s does not describe, or
// describes with other types, by its path. It looks into no member that s does not
// describe, for its names may be data.
func (s *shape) drift(path string, object []byte, report func(path, jsonType string, want []string)) {
	if s == nil || s.members == nil {
		return
	}
	scan := newScanner(object)
	scan.open()
	for first := true; scan.more('}', first); first = false {
		name, value := string(unquote(scan.key())), scan.value(1)
		if len(value) == 0 {
			return
		}
		at, got := path+"."+memberText(name), jsonType(value)
		member := s.members[name]
		switch {
		case member == nil:
			report(at, got, nil)
			continue
		case got == "null":
			continue
		case len(member.types) > 0 && !slices.Contains(member.types, got):
			report(at, got, member.types)
			continue
		}
		switch got {
		case "object":
			member.drift(at, value, report)
		case "array":
			for _, item := range itemsOf(value) {
				if item[0] == '{' {
					member.drift(at+"[]", item, report)
				}
			}
		}
	}
}

func itemsOf(array []byte) (items [][]byte) {
	s := newScanner(array)
	s.open()
	for first := true; s.more(']', first); first = false {
		if item := s.value(1); len(item) > 0 {
			items = append(items, item)
		}
	}
	return items
}

// memberText is a member's name, cut where it is too long to be one.
func memberText(name string) string {
	const most = 64
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}
