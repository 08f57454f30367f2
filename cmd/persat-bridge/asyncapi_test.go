package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// twoSources is a configuration of two accounts and a cluster with a password.
const twoSources = `
sources:
  north: {secrets: ["${NORTH_SECRET}"], subject_prefix: acme.norte}
  south: {secrets: ["${SOUTH_SECRET}"], subject_prefix: acme.sur}
nats:
  url: nats://bridge:hunter2@nats-1.example.com, tls://nats-2.example.com:4223
  stream: {name: EVENTS}
`

// byEntity is a configuration of two sources, one of which has the entity in its subjects.
const byEntity = "sources: {north: {secrets: [x], subject: entity}, south: {secrets: [x]}}\n"

// The channels of a source whose subjects have the entity have a parameter for it.
func TestAsyncAPIByEntity(t *testing.T) {
	var document asyncDocument
	if err := json.Unmarshal(asyncapi(t, byEntity, "--json"), &document); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"north.workorder.closed": "north.workorder.closed.{entity}", "north.other": "north.>",
		"south.workorder.closed": "south.workorder.closed", "south.other": "south.>",
	} {
		c := document.Channels[name]
		if c.Address != want {
			t.Errorf("channel %s: got address %q, want %q", name, c.Address, want)
		}
		for _, parameter := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(c.Address, -1) {
			if p := c.Parameters[parameter[1]]; p.Description == "" || !slices.Contains(p.Examples, "48") || !slices.Contains(p.Examples, "~many") {
				t.Errorf("channel %s: got parameter %s %+v", name, parameter[1], p)
			}
		}
		if !strings.Contains(c.Address, "{") && len(c.Parameters) > 0 {
			t.Errorf("channel %s: got parameters %v, which its address does not have", name, c.Parameters)
		}
	}
}

// asyncapi runs the command with a configuration.
func asyncapi(t *testing.T, configuration string, args ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{"asyncapi", "-c", file}, args...), nil, strings.NewReader(""), &stdout, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return stdout.Bytes()
}

// decodeJSON keeps numbers as they are written.
func decodeJSON(t *testing.T, text []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// skipOutsideCI skips a test whose means are not there; in CI that is a failure.
func skipOutsideCI(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format+" (CI=true: this test must run)", args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}

func TestAsyncAPIValidates(t *testing.T) {
	file := cmp.Or(os.Getenv("ASYNCAPI_SCHEMA"), "../../../shared/asyncapi")
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		file = filepath.Join(file, "3.0.0.json")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		skipOutsideCI(t, "AsyncAPI's JSON Schema is not here; set ASYNCAPI_SCHEMA to its 3.0.0.json: %v", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("asyncapi.json", decodeJSON(t, text)); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, configuration := range map[string]string{
		"defaults":          "",
		"two sources":       twoSources,
		"by entity":         byEntity,
		"embedded, private": `nats: {embedded: {listen: ""}}`,
		"websockets":        "nats: {url: wss://nats.example.com/ws}",
	} {
		document := decodeJSON(t, asyncapi(t, configuration, "--json"))
		if err := s.Validate(document); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkRefs(t, document)
	}
	broken := decodeJSON(t, asyncapi(t, "", "--json")).(map[string]any)
	broken["operations"].(map[string]any)["publish.persat.workorder.closed"].(map[string]any)["action"] = "publish"
	if s.Validate(broken) == nil {
		t.Error("the schema takes an action that AsyncAPI 3 does not have: it checks nothing")
	}
}

// checkRefs checks that every reference in a document leads somewhere.
func checkRefs(t *testing.T, document any) {
	t.Helper()
	var walk func(value any)
	walk = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, item := range value {
				walk(item)
			}
		case map[string]any:
			if ref, ok := value["$ref"].(string); ok {
				target := document
				for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
					object, _ := target.(map[string]any)
					target = object[name]
				}
				if target == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, member := range value {
				walk(member)
			}
		}
	}
	walk(document)
}

// YAML is the same document, and neither has a secret in it.
func TestAsyncAPIYAML(t *testing.T) {
	text := asyncapi(t, twoSources)
	var fromYAML any
	if err := yaml.Unmarshal(text, &fromYAML); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(asJSON, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(asyncapi(t, twoSources, "--json"), &b); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if first, err := json.Marshal(a); err != nil || !bytes.Equal(first, again) {
		t.Errorf("YAML and JSON differ (%v)", err)
	}
	for _, secret := range []string{"hunter2", "bridge:"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%q of nats.url is in the document", secret)
		}
	}
}

func TestAsyncAPIOfTwoSources(t *testing.T) {
	var d asyncDocument
	if err := json.Unmarshal(asyncapi(t, twoSources, "--json"), &d); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, prefix := range []string{"acme.norte", "acme.sur"} {
		want = append(want, prefix+".>")
		for _, eventType := range persat.Types() {
			want = append(want, prefix+"."+eventType)
		}
	}
	slices.Sort(want)
	var got []string
	for _, c := range d.Channels {
		got = append(got, c.Address)
		if c.Stream != "EVENTS" {
			t.Errorf("%s: got stream %s", c.Address, c.Stream)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got channels %q, want %q", got, want)
	}
	if len(d.Operations) != len(want) || len(d.Components.Messages) != len(persat.Types())+1 {
		t.Errorf("got %d operations and %d messages", len(d.Operations), len(d.Components.Messages))
	}
	if a, b := d.Servers["nats"], d.Servers["nats-2"]; a.Host != "nats-1.example.com:4222" || b.Host != "nats-2.example.com:4223" || b.Protocol != "nats" || len(d.Servers) != 2 {
		t.Errorf("got servers %v", d.Servers)
	}
}

// validator compiles the schemas that a message of a document is held to.
type validator struct {
	t        *testing.T
	compiler *jsonschema.Compiler
}

func newValidator(t *testing.T, document []byte) *validator {
	t.Helper()
	v := &validator{t: t, compiler: jsonschema.NewCompiler()}
	v.compiler.DefaultDraft(jsonschema.Draft7) // what AsyncAPI's own schema object is made of
	v.compiler.AssertFormat()
	if err := v.compiler.AddResource("document.json", decodeJSON(t, document)); err != nil {
		t.Fatal(err)
	}
	return v
}

// check holds a message to what the document says of the event type.
func (v *validator) check(name string, headers map[string]string, payload []byte) {
	v.t.Helper()
	asAny := make(map[string]any)
	for header, value := range headers {
		asAny[header] = value
	}
	for part, value := range map[string]any{"headers": asAny, "payload": decodeJSON(v.t, payload)} {
		s, err := v.compiler.Compile("document.json#/components/messages/" + name + "/" + part)
		if err != nil {
			v.t.Fatal(err)
		}
		if err := s.Validate(value); err != nil {
			v.t.Errorf("%s of %s: %v", part, name, err)
		}
	}
}

func TestAsyncAPIExamplesValidate(t *testing.T) {
	text := asyncapi(t, twoSources, "--json")
	var d asyncDocument
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	v := newValidator(t, text)
	for name, m := range d.Components.Messages {
		if name != otherTypes && len(m.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range m.Examples {
			v.check(name, example.Headers, example.Payload)
			v.check(otherTypes, example.Headers, example.Payload)
		}
	}
}

// Every event of the demo, as it is in the stream, is what the document says.
func TestDemoEventsValidate(t *testing.T) {
	output, writer := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stderr bytes.Buffer
	end := make(chan int, 1)
	go func() {
		end <- run(ctx, []string{"demo", "--keep"}, nil, strings.NewReader(""), writer, &stderr)
		writer.Close()
	}()
	natsURL := make(chan string, 1)
	go func() {
		said, address := new(strings.Builder), regexp.MustCompile(`(?m)^ +NATS +(nats://\S+)$`)
		buffer := make([]byte, 4096)
		for {
			n, err := output.Read(buffer)
			said.Write(buffer[:n])
			if m := address.FindStringSubmatch(said.String()); m != nil {
				select {
				case natsURL <- m[1]:
				default:
				}
			}
			if err != nil {
				return
			}
		}
	}()
	var url string
	select {
	case url = <-natsURL:
	case code := <-end:
		t.Fatalf("the demo ended with %d: %s", code, stderr.String())
	case <-time.After(time.Minute):
		t.Fatal("the demo does not say where its NATS is")
	}

	v := newValidator(t, asyncapi(t, "", "--json"))
	described := slices.Collect(maps.Keys(headersSchema([]string{"persat"})["properties"].(map[string]any)))
	var got []string
	for _, m := range readMessages(t, url) {
		headers := make(map[string]string)
		for name, values := range m.Headers() {
			headers[name] = values[0]
			if !slices.Contains(described, name) {
				t.Errorf("header %s is not in the document", name)
			}
		}
		v.check(headers["ce-type"], headers, m.Data())
		v.check(otherTypes, headers, m.Data())
		got = append(got, headers["ce-type"])
	}
	if !slices.Equal(got, persat.Types()) {
		t.Errorf("got events %q, want %q", got, persat.Types())
	}
	cancel()
	if code := <-end; code != exitDone {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

// readMessages reads all that the stream PERSAT has now.
func readMessages(t *testing.T, natsURL string) []jetstream.Msg {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	js := natstest.JetStream(t, natsURL)
	defer js.Conn().Close()
	consumer, err := js.OrderedConsumer(ctx, "PERSAT", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var all []jetstream.Msg
	for pending := consumer.CachedInfo().NumPending; uint64(len(all)) < pending; {
		m, err := consumer.Next(jetstream.FetchContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}
