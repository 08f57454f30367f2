package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/bridge/persat/schema"
)

var update = flag.Bool("update", false, "write the schemas instead of comparing them")

func TestUpToDate(t *testing.T) {
	g := &generator{comments: readComments(t)}
	want := map[string][]byte{"any.json": write(t, anySchema())}
	for _, e := range persat.Catalogue() {
		want[e.Type+".json"] = write(t, g.eventSchema(e))
	}
	if *update {
		for name, text := range want {
			if err := os.WriteFile(filepath.Join("events", name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob("events/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if want[filepath.Base(file)] == nil {
			t.Errorf("%s is of no event in the catalogue: delete it", file)
		}
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join("events", name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, text) {
			t.Errorf("events/%s is not what the catalogue and the types say: go test ./bridge/persat/schema -update", name)
		}
	}
}

// What a description says must help those who do not use Go, too, and every
// member must say on what it stands.
func TestDescriptions(t *testing.T) {
	inGo := regexp.MustCompile(`\bnil\b|\bRaw\b|Timestamp|Event\.|json\.`)
	var walk func(path string, value any)
	walk = func(path string, value any) {
		node, isObject := value.(map[string]any)
		if !isObject {
			return
		}
		if text, ok := node["description"].(string); ok && inGo.MatchString(text) {
			t.Errorf("%s: %q is about Go", path, text)
		}
		for name, child := range node {
			walk(path+"/"+name, child)
		}
		properties, _ := node["properties"].(map[string]any)
		for name, property := range properties {
			p := property.(map[string]any)
			if p["description"] == "" {
				t.Errorf("%s: member %s has no description", path, name)
			}
		}
	}
	for _, eventType := range persat.Types() {
		walk(eventType, decode(t, eventSchema(t, eventType)))
	}
	for name, comment := range readComments(t) {
		typeName, field, isField := strings.Cut(name, ".")
		if isField && field != "Raw" && comment != "" && status(comment) == "" && status(readComments(t)[typeName]) == "" {
			t.Errorf("%s: neither it nor its type says Documented, Inferred or Unknown", name)
		}
	}
}

func TestEventRefuses(t *testing.T) {
	for _, eventType := range []string{"", "any", "workorder.cancelled", "../events/any", "client.created.json"} {
		if text, err := schema.Event(eventType); err == nil {
			t.Errorf("%q: got %d bytes, want an error", eventType, len(text))
		}
	}
}

func TestSamplesValidate(t *testing.T) {
	for _, eventType := range persat.Types() {
		body, err := persat.Sample(eventType, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, eventSchema(t, eventType), body); err != nil {
			t.Errorf("%s: %v", eventType, err)
		}
		if err := validate(t, schema.Any(), body); err != nil {
			t.Errorf("%s as any event: %v", eventType, err)
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
			err := validate(t, eventSchema(t, tt.eventType), []byte(`{"eventType":"`+tt.eventType+`","payload":`+tt.payload+`,"more":1}`))
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
		if err := validate(t, schema.Any(), []byte(body)); (err == nil) != want {
			t.Errorf("any event %s: got %v, want valid: %v", body, err, want)
		}
	}
	if err := validate(t, eventSchema(t, "client.deleted"), []byte(`{"eventType":"client.updated","payload":{"uid_client":"1"}}`)); err == nil {
		t.Error("a schema took another event's type")
	}
	if err := validate(t, eventSchema(t, "client.deleted"), []byte(`{"eventType":"client.deleted"}`)); err == nil {
		t.Error("a schema took a body without payload")
	}
}

func eventSchema(t *testing.T, eventType string) []byte {
	t.Helper()
	text, err := schema.Event(eventType)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// validate holds body to a schema as 2020-12, and as draft 07: the same files
// are used under both, so the two must agree.
func validate(t *testing.T, text, body []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var results []error
	for _, draft := range []*jsonschema.Draft{jsonschema.Draft2020, jsonschema.Draft7} {
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if draft == jsonschema.Draft7 {
			delete(document.(map[string]any), "$schema")
		}
		c := jsonschema.NewCompiler()
		c.DefaultDraft(draft)
		if err := c.AddResource("event.json", document); err != nil {
			t.Fatal(err)
		}
		s, err := c.Compile("event.json")
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, s.Validate(value))
	}
	if (results[0] == nil) != (results[1] == nil) {
		t.Errorf("as 2020-12: %v; as draft 07: %v", results[0], results[1])
	}
	return results[0]
}
