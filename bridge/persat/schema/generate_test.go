package schema_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// object is a JSON object whose members are written in the order of their names;
// nobody reads these files for their order.
type object = map[string]any

// objectTypes are the Go types of a payload object.
var objectTypes = map[persat.Kind]reflect.Type{
	persat.KindClient:    reflect.TypeFor[persat.Client](),
	persat.KindWorkOrder: reflect.TypeFor[persat.WorkOrder](),
	persat.KindDelivery:  reflect.TypeFor[persat.Delivery](),
	persat.KindRoute:     reflect.TypeFor[persat.Route](),
	persat.KindForm:      reflect.TypeFor[persat.Form](),
}

// openMembers are documented, but their JSON type is not.
var openMembers = map[string]bool{
	"Client.uid_client":         true, // what is known differs between events: see persat.Entry
	"Client.last_updated":       true, // documented for updates only
	"WorkOrderData.wo_rule_id":  true,
	"WorkOrderData.wo_instance": true,
	"Delivery._id":              true, // as Client.uid_client
	"Delivery.source_tag":       true,
	"Delivery.assignation_info": true,
	"DeliveryData.capacity":     true,
}

// generator makes schemas from the Go types of package persat.
type generator struct {
	comments map[string]string // of types, "Client", and fields, "Client.UID"
	defs     object
}

// eventSchema is the schema of the bodies of one event.
func (g *generator) eventSchema(e persat.Entry) object {
	g.defs = object{}
	eventType := object{"const": e.Type, "x-confirmed": e.Confirmed}
	schema := object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       e.Title,
		"description": strings.TrimSpace(e.Fires + ". " + e.Caveat),
		"x-confirmed": e.Confirmed,
		"type":        "object",
		"required":    []string{"eventType", "payload"},
		"properties":  object{"eventType": eventType, "payload": g.payload(e)},
		"$defs":       g.defs,
	}
	if e.Assumed {
		schema["title"] = e.Title + " (name assumed)"
		schema["x-assumed"], eventType["x-assumed"] = true, true
		eventType["description"] = "A placeholder: nobody has read the name of this event, which may arrive under another."
	}
	return schema
}

func (g *generator) payload(e persat.Entry) object {
	t := objectTypes[e.Kind]
	one := g.ref(t)
	identity := object{"required": []string{e.Identity}, "properties": object{e.Identity: object{"type": e.IdentityType}}}
	if !e.PayloadConfirmed {
		p := object{
			"x-confirmed": false,
			"description": fmt.Sprintf("Expected: %s, of %s. That is inferred, so any value validates.", e.Payload, t.Name()),
			"anyOf":       []any{one, object{"type": "array", "items": one}, object{}},
		}
		if e.IdentityConfirmed {
			p["description"] = fmt.Sprintf("Expected: %s, of %s. That is inferred; but an object has %s, a %s.", e.Payload, t.Name(), e.Identity, e.IdentityType)
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
		return object{"x-confirmed": true, "type": "array", "items": object{"allOf": rules}}
	}
	return object{"x-confirmed": true, "type": "object", "allOf": rules}
}

// ref makes sure that t is defined, and refers to it.
func (g *generator) ref(t reflect.Type) object {
	if _, ok := g.defs[t.Name()]; !ok {
		g.defs[t.Name()] = object{} // so that a type within itself would end
		properties := object{}
		comment := ""
		for i := range t.NumField() {
			f := t.Field(i)
			name := f.Tag.Get("json")
			if name == "" {
				continue
			}
			if own := g.comments[t.Name()+"."+f.Name]; own != "" {
				comment = own // else it is the one that opens a group of fields
			}
			properties[name] = g.member(t, f, name, comment)
		}
		g.defs[t.Name()] = object{"type": "object", "description": describe(g.comments[t.Name()], t.Name()), "properties": properties}
	}
	return object{"$ref": "#/$defs/" + t.Name()}
}

func (g *generator) member(t reflect.Type, f reflect.StructField, name, comment string) object {
	confirmed := status(comment)
	if confirmed == "" {
		confirmed = status(g.comments[t.Name()])
	}
	member := object{"description": describe(comment, f.Name), "x-confirmed": confirmed == "Documented"}
	if confirmed != "Documented" || openMembers[t.Name()+"."+name] {
		return member
	}
	for keyword, value := range g.rules(f.Type) {
		member[keyword] = value
	}
	return member
}

// rules are the keywords that hold a value to a Go type.
func (g *generator) rules(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[persat.ID]():
		return object{"type": []string{"string", "number"}}
	case reflect.TypeFor[persat.FormValues]():
		return object{"type": "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.rules(t.Elem())
	case reflect.Struct:
		// In an allOf, because draft 07 ignores what stands beside a $ref.
		return object{"allOf": []any{g.ref(t)}}
	case reflect.Slice:
		items := g.rules(t.Elem())
		if t.Elem().Kind() == reflect.Struct {
			items = g.ref(t.Elem())
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

var statusWord = regexp.MustCompile(`(?:^|[.:] )(Documented|Inferred|Unknown)\b`)

// status is the word by which a comment of package persat says on what it
// stands; "" when it leaves that to its type.
func status(comment string) string {
	if m := statusWord.FindStringSubmatch(comment); m != nil {
		return m[1]
	}
	return ""
}

// forGo are the parts of comments that only help who reads the value in Go.
var forGo = strings.NewReplacer(
	": read it with Timestamp.In", "",
	" Zero can mean that there is no position: ask Raw.", "",
	", so loop over Event.Deliveries", "",
	", so loop over Event.Routes", "",
	", so it is left as it came", "",
	"; nil ", "; absent ",
	" Nil when", " Absent when",
	" WorkOrder.Created", " a work order's created",
	" Client.CompanyDescription", " company_description",
	", as CompanyDescription is", ", as company_description is",
	" UID ", " uid_client ",
)

// describe makes a description of a comment.
func describe(comment, name string) string {
	text := forGo.Replace(comment)
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(text, name+verb); ok {
			text = strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	return text
}

// anySchema is the schema of every published body.
func anySchema() object {
	return object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "Any event",
		"description": "Every body that the bridge publishes, of whatever event type. Persat sends all its events to an endpoint that does not choose, so types that nobody has described yet will arrive.",
		"type":        "object",
		"required":    []string{"eventType"},
		"properties": object{
			"eventType": object{"type": "string", "maxLength": 128, "pattern": `^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`, "description": "The event type; the subject ends in it."},
			"payload":   object{"description": "An object, or in bulk events an array of objects.", "x-confirmed": true},
		},
	}
}

// readComments reads the comments of package persat's types and fields.
func readComments(t *testing.T) map[string]string {
	t.Helper()
	comments := make(map[string]string)
	for _, file := range []string{"client", "delivery", "form", "route", "value", "workorder"} {
		f, err := parser.ParseFile(token.NewFileSet(), "../"+file+".go", nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range f.Decls {
			if d, ok := declaration.(*ast.GenDecl); ok && d.Tok == token.TYPE {
				readTypeComments(d, comments)
			}
		}
	}
	return comments
}

func readTypeComments(d *ast.GenDecl, comments map[string]string) {
	for _, spec := range d.Specs {
		s := spec.(*ast.TypeSpec)
		comments[s.Name.Name] = oneLine(d.Doc)
		structure, ok := s.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range structure.Fields.List {
			for _, name := range f.Names {
				comments[s.Name.Name+"."+name.Name] = oneLine(f.Doc)
			}
		}
	}
}

func oneLine(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

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
