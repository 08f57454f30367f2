package schema_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// model is all that the schemas and the types of other languages are made from: the
// catalogue, the Go types of package persat with their comments, and the samples.
type model struct {
	events     []persat.Entry
	structures []*structure // those that another one needs come before it
}

// structure is one type of JSON object.
type structure struct {
	name        string
	title       string
	description string
	members     []*member
	goType      reflect.Type
}

// member is one member of a structure, by its JSON name.
type member struct {
	name        string
	title       string
	description string
	unit        string // of a number; "" for the rest
	example     json.RawMessage
	confirmed   bool
	goType      reflect.Type
	// open says that the member is documented, but not its JSON type.
	open bool
}

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

// titles are those that do not follow from the member's name.
var titles = map[string]string{
	"Client.street_nbr":           "Street number",
	"Client.uid_client":           "Client's identity",
	"ClientRef.uid_client":        "Client's identity",
	"Delivery.delivery_data":      "Goods and outcome",
	"DeliveryData.wt":             "Receiving window",
	"Form.df_data":                "Answers",
	"Route.deliveries":            "Stops",
	"WorkOrder.wo_data":           "Job and outcome",
	"WorkOrderAssignation.date":   "Day",
	"WorkOrderData.wo_instance":   "Repetition",
	"WorkOrderData.wo_rule_id":    "Rule of repetition",
	"_id":                         "Identity",
	"assignation_info":            "Assignment",
	"closing_info":                "Closing",
	"extra_info":                  "More for the driver",
	"formvalues":                  "Answers",
	"labels_ids":                  "Labels",
	"starts_min":                  "Start",
	"Delivery.source_tag":         "Source",
	"DeliveryResults.log":         "Changes",
	"Departure.name":              "Place of departure",
	"Position.location":           "Longitude and latitude",
	"DeviceAssignation.device_id": "Device number",
}

// units are those of the members that are numbers.
var units = map[string]string{
	"Client.latitude":                            "degrees",
	"Client.longitude":                           "degrees",
	"DeliveryData.service_time":                  "minutes",
	"DeliveryData.wt":                            "minutes after midnight",
	"Departure.planned_departure_time":           "minutes after midnight",
	"Position.location":                          "degrees",
	"Stop.planned_arrival_time":                  "minutes after midnight",
	"WorkOrderAssignation.responsibles_required": "technicians",
	"WorkOrderAssignation.starts_min":            "minutes after midnight",
	"WorkOrderData.service_time":                 "minutes",
}

// readModel reads what package persat says.
func readModel(t *testing.T) *model {
	t.Helper()
	m := &model{events: persat.Catalogue()}
	comments := readComments(t)
	for _, e := range m.events {
		m.add(objectTypes[e.Kind], comments)
	}
	for _, e := range m.events {
		body, err := persat.Sample(e.Type, "")
		if err != nil {
			t.Fatal(err)
		}
		var sample struct{ Payload json.RawMessage }
		if err := json.Unmarshal(body, &sample); err != nil {
			t.Fatal(err)
		}
		m.readExamples(t, objectTypes[e.Kind], sample.Payload)
	}
	return m
}

// structure returns the one of a Go type, or nil.
func (m *model) structure(t reflect.Type) *structure {
	for _, s := range m.structures {
		if s.goType == t {
			return s
		}
	}
	return nil
}

// objectType is the structure that a value of a Go type holds, directly, behind a
// pointer, in a list or in a map; nil when it holds none.
func objectType(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct {
		return t
	}
	return nil
}

// add adds t and what it needs.
func (m *model) add(t reflect.Type, comments map[string]string) {
	if m.structure(t) != nil {
		return
	}
	s := &structure{name: t.Name(), title: spaced(t.Name()), description: describe(comments[t.Name()], t), goType: t}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("json")
		if name == "" {
			continue
		}
		if inner := objectType(f.Type); inner != nil {
			m.add(inner, comments)
		}
		comment := comments[t.Name()+"."+f.Name]
		word := status(comment)
		if word == "" {
			word = status(comments[t.Name()])
		}
		s.members = append(s.members, &member{
			name: name, title: title(s.name, name), description: describe(comment, t), unit: units[s.name+"."+name],
			confirmed: word == "Documented", goType: f.Type, open: openMembers[s.name+"."+name],
		})
	}
	m.structures = append(m.structures, s)
}

// readExamples takes the example of each member from where a sample first has it.
func (m *model) readExamples(t *testing.T, of reflect.Type, value json.RawMessage) {
	t.Helper()
	switch of.Kind() {
	case reflect.Pointer:
		m.readExamples(t, of.Elem(), value)
		return
	case reflect.Slice, reflect.Map:
		var items []json.RawMessage
		if of.Kind() == reflect.Slice && json.Unmarshal(value, &items) == nil && len(items) > 0 {
			m.readExamples(t, of.Elem(), items[0])
		}
		var named map[string]json.RawMessage
		if of.Kind() == reflect.Map && json.Unmarshal(value, &named) == nil {
			m.readExamples(t, of.Elem(), named["1"])
		}
		return
	}
	s := m.structure(of)
	if s == nil || len(value) == 0 {
		return
	}
	if value[0] == '[' {
		m.readExamples(t, reflect.SliceOf(of), value)
		return
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(value, &object); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	for _, member := range s.members {
		found, ok := object[member.name]
		if !ok {
			continue
		}
		if member.example == nil || string(member.example) == "null" {
			member.example = found
		}
		m.readExamples(t, member.goType, found)
	}
}

// title is a member's name in words.
func title(structure, name string) string {
	for _, key := range []string{structure + "." + name, name} {
		if text := titles[key]; text != "" {
			return text
		}
	}
	words := strings.Split(name, "_")
	for i, word := range words {
		if word == "id" {
			words[i] = "number"
		}
	}
	text := strings.Join(words, " ")
	return strings.ToUpper(text[:1]) + text[1:]
}

// spaced writes the words of a type's name apart.
func spaced(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
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
	"A deletion carries UID", "A deletion carries `uid_client`",
	"WorkOrder.Created", "`created` of a work order",
	"as Client.CompanyDescription is", "as `company_description` of a client is",
	": see Catalogue", "",
)

// describe makes a description of the comment of t or of one of its fields: the
// fields stand in it under their JSON names.
func describe(comment string, t reflect.Type) string {
	text := forGo.Replace(comment)
	for _, verb := range []string{" is ", " are "} {
		if rest, ok := strings.CutPrefix(text, t.Name()+verb); ok {
			text = strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("json")
		if name == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(text, f.Name+" "); ok {
			text = "`" + name + "` " + rest
		}
		if isGoName(f.Name) {
			text = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(text, "`"+name+"`")
		}
	}
	return text
}

// isGoName says that a field's name is none that a sentence could have.
func isGoName(name string) bool {
	return strings.ContainsFunc(name[1:], unicode.IsUpper) && name != "ID"
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
