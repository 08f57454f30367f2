package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/persat/schema"
)

var update = flag.Bool("update", false, "write the schemas instead of comparing them")

// What is generated is checked in, and is what the catalogue, the types and the
// samples say.
func TestUpToDate(t *testing.T) {
	m := readModel(t)
	want := map[string][]byte{"persat.json": write(t, m.bundle()), "events/any.json": write(t, file("any", "Any event"))}
	for _, e := range m.events {
		want["events/"+e.Type+".json"] = write(t, file(e.Type, e.Title))
	}
	want[typescriptFile] = withTypes(t, typescriptFile, &typescript, m)
	want[pythonFile] = withTypes(t, pythonFile, &python, m)
	if *update {
		for name, text := range want {
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob("events/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if want[file] == nil {
			t.Errorf("%s is of no event in the catalogue: delete it", file)
		}
	}
	for name, text := range want {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, text) {
			t.Errorf("%s is not what the catalogue and the types say: go test ./bridge/persat/schema -update", name)
		}
	}
	if got := schema.Bundle(); !*update && !bytes.Equal(got, want["persat.json"]) {
		t.Error("Bundle is not persat.json")
	}
}

// What a description says must help those who do not use Go, too, and every
// member must say on what it stands and what it looks like.
func TestDescriptions(t *testing.T) {
	m := readModel(t)
	inGo := regexp.MustCompile(`\b([Nn]il|Raw|Timestamp|ID|Catalogue)\b|Event\.|json\.`)
	used := make(map[string]bool)
	var fields []string
	for _, s := range m.structures {
		for i := range s.goType.NumField() {
			fields = append(fields, s.goType.Field(i).Name)
		}
	}
	check := func(name, title, description string) {
		if title == "" || description == "" {
			t.Errorf("%s: title %q, description %q", name, title, description)
		}
		if inGo.MatchString(description) {
			t.Errorf("%s: %q is about Go", name, description)
		}
		for i, word := range regexp.MustCompile("`?[A-Za-z.]+").FindAllString(description, -1) {
			isField := slices.Contains(fields, word)
			if word != "Client" && isField && (i == 0 || isGoName(word)) || strings.Contains(strings.TrimRight(word, "."), ".") {
				t.Errorf("%s: %q is a name in Go: %q", name, word, description)
			}
		}
	}
	for _, s := range m.structures {
		check(s.name, s.title, s.description)
		for _, member := range s.members {
			name := s.name + "." + member.name
			check(name, member.title, member.description)
			if !strings.Contains(member.description, "`"+member.name+"`") {
				t.Errorf("%s: its name is not in %q", name, member.description)
			}
			if member.example == nil {
				t.Errorf("%s: no sample has an example", name)
			}
			if isNumeric(member.goType) != (member.unit != "") {
				t.Errorf("%s: a number has a unit, and nothing else has one: got %q", name, member.unit)
			}
			used[name], used[member.name] = true, true
		}
	}
	for _, table := range []map[string]string{titles, units} {
		for name := range table {
			if !used[name] {
				t.Errorf("%s is no member", name)
			}
		}
	}
	for name := range openMembers {
		if !used[name] {
			t.Errorf("%s is no member", name)
		}
	}
	comments := readComments(t)
	for name, comment := range comments {
		typeName, field, isField := strings.Cut(name, ".")
		if isField && field != "Raw" && status(comment) == "" && status(comments[typeName]) == "" {
			t.Errorf("%s: neither it nor its type says Documented, Inferred or Unknown", name)
		}
	}
}

// isNumeric says that a member is a number, or a list of them.
func isNumeric(t reflect.Type) bool {
	if t.Kind() == reflect.Slice && t != reflect.TypeFor[json.RawMessage]() {
		t = t.Elem()
	}
	return t.Kind() == reflect.Int || t.Kind() == reflect.Float64
}

// Each object is described once: the files of the events only refer to it.
func TestDefinedOnce(t *testing.T) {
	files, err := filepath.Glob("events/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "persat.json") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		if file == "persat.json" {
			want = 1
		}
		if got := bytes.Count(text, []byte(`"WorkOrder": {`)); got != want {
			t.Errorf("%s defines WorkOrder %d times, want %d", file, got, want)
		}
	}
}

func TestSamplesValidate(t *testing.T) {
	for _, eventType := range persat.Types() {
		body, err := persat.Sample(eventType, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{eventType, "any"} {
			if err := validate(t, name, body); err != nil {
				t.Errorf("%s as %s: %v", eventType, name, err)
			}
		}
	}
}

// Strict where the documentation speaks, open where it does not.
func TestStrictAndOpen(t *testing.T) {
	tests := []struct {
		name, eventType, payload string
		want                     bool
	}{
		{"members and words nobody has described", "workorder.closed", `{"_id":"48","state":"CERRADA_OK","firma":{"a":[1]},"client":{"vip":true}}`, true},
		{"no identity", "workorder.closed", `{"state":"CERRADA_OK"}`, false},
		{"an identity that is a number", "workorder.closed", `{"_id":48}`, false},
		{"a state that closing does not have", "workorder.closed", `{"_id":"48","state":"PENDIENTE"}`, false},
		{"a whole work order as an array", "workorder.closed", `[{"_id":"48"}]`, false},
		{"text where a number is documented", "workorder.closed", `{"_id":"48","wo_data":{"service_time":"45"}}`, false},
		{"ids of either type", "workorder.closed", `{"_id":"48","note_id":"1","labels_ids":[1,"2"],"client":{"id":"7","uid_client":8}}`, true},
		{"a label that is no id", "workorder.closed", `{"_id":"48","labels_ids":[true]}`, false},
		{"null where null is documented", "workorder.closed", `{"_id":"48","wo_data":{"wo_rule_id":null,"wo_instance":null}}`, true},
		{"an answer of any type", "workorder.closed", `{"_id":"48","wo_data":{"results":{"formvalues":{"FWa":true,"FWb":null}}}}`, true},
		{"null", "workorder.closed", `null`, false},
		{"trimmed deliveries", "delivery.deleted", `[{"_id":"a"},{"_id":"b","state":"PENDING"}]`, true},
		{"a bulk deletion of nothing", "delivery.deleted", `[]`, true},
		{"one deletion that is no array", "delivery.deleted", `{"_id":"a"}`, false},
		{"a deleted delivery without identity", "delivery.deleted", `[{"_id":"a"},{}]`, false},
		{"a client by its identity alone", "client.deleted", `{"uid_client":"C-1"}`, true},
		{"a deletion of nobody", "client.deleted", `{}`, false},
		{"a position in words", "client.updated", `{"uid_client":"C-1","latitude":"34° S"}`, false},
		{"inferred members of another type", "client.updated", `{"uid_client":"C-1","street":7,"custom_fields":[]}`, true},
		{"an inferred payload, whatever it is", "client.created", `[7,null]`, true},
		{"shape unknown, an array", "delivery.created", `[{"_id":"a"}]`, true},
		{"shape unknown, an id of another type", "deliveryRoute.assigned", `{"_id":"R-1"}`, true},
		{"shape inferred, identity confirmed", "workorder.finished", `{"_id":48}`, false},
		{"shape inferred, an array", "workorder.finished", `[{"_id":48}]`, true},
		{"a type that is inferred", "workorder.updated", `{"anything":true}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := validate(t, tt.eventType, []byte(`{"eventType":"`+tt.eventType+`","payload":`+tt.payload+`,"more":1}`))
			if (err == nil) != tt.want {
				t.Errorf("got %v, want valid: %v", err, tt.want)
			}
		})
	}
	for body, want := range map[string]bool{
		`{"eventType":"form.state.updated","payload":[]}`: true,
		`{"eventType":"x"}`:                      true,
		`{"payload":{}}`:                         false,
		`{"eventType":"a b"}`:                    false,
		`{"eventType":"workorder..closed"}`:      false,
		`{"eventType":"workorder.>"}`:            false,
		`[{"eventType":"workorder.closed"}]`:     false,
		`{"eventType":"workorder.closed\u000a"}`: false,
	} {
		if err := validate(t, "any", []byte(body)); (err == nil) != want {
			t.Errorf("any event %s: got %v, want valid: %v", body, err, want)
		}
	}
	if err := validate(t, "client.deleted", []byte(`{"eventType":"client.updated","payload":{"uid_client":"1"}}`)); err == nil {
		t.Error("a schema took another event's type")
	}
	if err := validate(t, "client.deleted", []byte(`{"eventType":"client.deleted"}`)); err == nil {
		t.Error("a schema took a body without payload")
	}
}

// validate holds body to an event's schema: as 2020-12 and as draft 07, because the
// same files are used under both, and by the file of the event and by the bundle,
// which takes the event type from the body. All must agree.
func validate(t *testing.T, name string, body []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var envelope struct{ EventType string }
	_ = json.Unmarshal(body, &envelope) // no object has no event type
	files := []string{"events/" + name + ".json"}
	if envelope.EventType == name {
		files = append(files, "persat.json")
	}
	var results []error
	for _, file := range files {
		for _, draft := range []*jsonschema.Draft{jsonschema.Draft2020, jsonschema.Draft7} {
			results = append(results, compile(t, draft, file).Validate(value))
		}
	}
	for _, result := range results {
		if (result == nil) != (results[0] == nil) {
			t.Errorf("%s: the file as 2020-12 and as draft 07, and the bundle as both, differ: %v", body, results)
		}
	}
	return results[0]
}

// compiled are the schemas of compile, which takes long with the race detector.
var compiled = make(map[string]*jsonschema.Schema)

// compile compiles the schema of a file.
func compile(t *testing.T, draft *jsonschema.Draft, file string) *jsonschema.Schema {
	t.Helper()
	key := draft.String() + " " + file
	if s := compiled[key]; s != nil {
		return s
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(draft)
	for _, name := range slices.Compact([]string{"persat.json", file}) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if draft == jsonschema.Draft7 {
			delete(document.(object), "$schema")
		}
		if err := c.AddResource("file:///schema/"+name, document); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("file:///schema/" + file)
	if err != nil {
		t.Fatal(err)
	}
	compiled[key] = s
	return s
}
