package schema_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// The files of the other languages: functions written by hand, and behind the mark
// the types of this model.
const (
	clients        = "../../../clients/"
	typescriptFile = clients + "typescript/persat.d.ts"
	pythonFile     = clients + "python/persat.py"
	generatedMark  = " Generated from here on: go test ./bridge/persat/schema -update\n"
)

// language is how one language writes types.
type language struct {
	comment func(indent, text string) string
	// structure opens a type of objects, member writes one of its members, and end
	// closes it.
	structure, end string
	member         func(name, goType string, required bool) string
	literal        func(text string) string
	indent         string // of a member
	list, named    string // of something, and by text
	union          func(types []string) string
	alias          func(name, of string) string
	basic          map[string]string // of unknown, text, number, boolean and null
}

var typescript = language{
	comment: func(indent, text string) string {
		return indent + "/** " + strings.ReplaceAll(text, "*/", "*\\/") + " */\n"
	},
	structure: "export interface %s {\n", end: "}\n",
	member: func(name, goType string, required bool) string {
		if !required {
			name += "?"
		}
		return name + ": " + goType + ";\n"
	},
	literal: func(text string) string { return `"` + text + `"` },
	indent:  "  ",
	list:    "%s[]", named: "Record<string, %s>",
	union: func(types []string) string { return strings.Join(types, " | ") },
	alias: func(name, of string) string { return "export type " + name + " = " + of + ";\n" },
	basic: map[string]string{"unknown": "unknown", "text": "string", "number": "number", "boolean": "boolean", "null": "null"},
}

var python = language{
	comment:   func(indent, text string) string { return wrap(indent+"#: ", text, 96) },
	structure: "class %s(TypedDict, total=False):\n",
	member: func(name, goType string, required bool) string {
		return name + ": " + goType + "\n"
	},
	literal: func(text string) string { return `Literal["` + text + `"]` },
	indent:  "    ",
	list:    "List[%s]", named: "Dict[str, %s]",
	union: func(types []string) string { return "Union[" + strings.Join(types, ", ") + "]" },
	alias: func(name, of string) string { return name + " = " + of + "\n" },
	basic: map[string]string{"unknown": "object", "text": "str", "number": "float", "boolean": "bool", "null": "None"},
}

// wrap breaks text at blanks into lines that begin with prefix.
func wrap(prefix, text string, width int) string {
	var b strings.Builder
	line := prefix
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) > width && line != prefix {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = prefix
		}
		line += word + " "
	}
	return b.String() + strings.TrimRight(line, " ") + "\n"
}

// types writes all types of the model.
func (l *language) types(m *model) string {
	var b strings.Builder
	gap := "\n"
	if l.end == "" {
		gap = "\n\n" // as Python has it between classes
	}
	b.WriteString("\n" + l.comment("", "An identity or a number that refers to something: 48 and \"48\" are the same."))
	b.WriteString(l.alias("ID", l.union([]string{l.basic["text"], l.basic["number"]})))
	b.WriteString("\n" + l.comment("", "A time as Persat wrote it. The Z cannot be believed everywhere: each member tells."))
	b.WriteString(l.alias("Timestamp", l.basic["text"]))
	b.WriteString("\n" + l.comment("", "The answers of a form, by keys of one version of its template. Values are strings, numbers or arrays."))
	b.WriteString(l.alias("FormValues", fmt.Sprintf(l.named, l.basic["unknown"])))
	for _, s := range m.structures {
		b.WriteString(gap + l.comment("", s.description) + fmt.Sprintf(l.structure, s.name))
		for _, member := range s.members {
			b.WriteString(l.comment(l.indent, member.text()))
			b.WriteString(l.indent + l.member(member.name, l.typeOf(member), false))
		}
		b.WriteString(l.end)
	}
	var names []string
	for _, e := range m.events {
		names = append(names, eventName(e))
		b.WriteString(gap + l.comment("", eventText(e)))
		b.WriteString(strings.Replace(fmt.Sprintf(l.structure, eventName(e)), ", total=False", "", 1))
		b.WriteString(l.indent + l.member("eventType", l.literal(e.Type), true))
		b.WriteString(l.indent + l.member("payload", l.payload(e), true))
		b.WriteString(l.end)
	}
	b.WriteString(gap + l.comment("", "Every event of the catalogue; eventType tells which one it is."))
	b.WriteString(l.alias("PersatEvent", l.union(names)))
	return b.String()
}

// text is all that a comment can say of a member.
func (m *member) text() string {
	text := m.description
	if m.unit != "" {
		text += " Unit: " + m.unit + "."
	}
	if example := compact(m.example); len(example) <= 60 {
		text += " Example: " + example
	}
	return text
}

func compact(value json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		panic(err) // not reached: it is from a sample
	}
	return b.String()
}

func eventText(e persat.Entry) string {
	text := e.Title + "."
	if e.Assumed {
		text = e.Title + " (name assumed: it may arrive under another)."
	}
	text += " " + e.Fires + "."
	if e.Caveat != "" {
		text += " " + e.Caveat
	}
	if !e.PayloadConfirmed {
		text += " Payload: " + string(e.Payload) + ", which is inferred."
	}
	return text
}

// eventName is the name of an event's type, as in WorkOrderClosed.
func eventName(e persat.Entry) string {
	_, action, _ := strings.Cut(e.Type, ".")
	return objectTypes[e.Kind].Name() + strings.ToUpper(action[:1]) + action[1:]
}

// payload is what an event carries. What nobody has read may be either.
func (l *language) payload(e persat.Entry) string {
	name := objectTypes[e.Kind].Name()
	many := fmt.Sprintf(l.list, name)
	switch {
	case !e.PayloadConfirmed:
		return l.union([]string{name, many})
	case e.Payload == persat.ManyObjects:
		return many
	}
	return name
}

func (l *language) typeOf(m *member) string {
	if string(m.example) == "null" {
		return l.union([]string{l.goType(m.goType), l.basic["null"]})
	}
	return l.goType(m.goType)
}

// goType is the language's name of a Go type.
func (l *language) goType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[persat.ID](), reflect.TypeFor[persat.Timestamp](), reflect.TypeFor[persat.FormValues]():
		return t.Name()
	case reflect.TypeFor[json.RawMessage]():
		return l.basic["unknown"]
	}
	switch t.Kind() {
	case reflect.Pointer:
		return l.goType(t.Elem())
	case reflect.Struct:
		return t.Name()
	case reflect.Slice:
		return fmt.Sprintf(l.list, l.goType(t.Elem()))
	case reflect.Map:
		return fmt.Sprintf(l.named, l.goType(t.Elem()))
	case reflect.String:
		return l.basic["text"]
	case reflect.Bool:
		return l.basic["boolean"]
	case reflect.Int, reflect.Float64:
		return l.basic["number"]
	}
	panic("no type for " + t.String())
}

// withTypes is a language's file with the types of the model behind the mark.
func withTypes(t *testing.T, name string, l *language, m *model) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	written, _, ok := bytes.Cut(text, []byte(generatedMark))
	if !ok {
		t.Fatalf("%s has no line %q", name, generatedMark)
	}
	return append(written, generatedMark+l.types(m)...)
}
