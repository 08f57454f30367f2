package publisher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// cloudEvent is a message as a reader has it who knows nothing of this package,
// only the CloudEvents NATS protocol binding, binary content mode.
type cloudEvent struct {
	attributes map[string]string
	data       []byte
}

// attributeName is what CloudEvents allows; a header has "ce-" before it.
var attributeName = regexp.MustCompile(`^[a-z0-9]+$`)

// readCloudEvent reads a message by the rules of the binding, and refuses what
// breaks one.
func readCloudEvent(header nats.Header, data []byte) (*cloudEvent, error) {
	e := &cloudEvent{attributes: map[string]string{}, data: data}
	for name, values := range header {
		attribute, ok := strings.CutPrefix(name, "ce-")
		if !ok {
			if strings.HasPrefix(strings.ToLower(name), "ce-") {
				return nil, fmt.Errorf("header %s: the prefix is ce-, in lower case, and NATS headers are case-sensitive", name)
			}
			continue
		}
		if !attributeName.MatchString(attribute) {
			return nil, fmt.Errorf("header %s: an attribute has lower-case letters and digits", name)
		}
		if len(values) != 1 {
			return nil, fmt.Errorf("header %s: %d values", name, len(values))
		}
		text, err := percentDecode(values[0])
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		e.attributes[attribute] = text
	}
	for _, required := range []string{"id", "source", "specversion", "type"} {
		if e.attributes[required] == "" {
			return nil, fmt.Errorf("no %s, which every CloudEvent has", required)
		}
	}
	if v := e.attributes["specversion"]; v != "1.0" {
		return nil, fmt.Errorf("specversion is %s", v)
	}
	if t, ok := e.attributes["time"]; ok {
		if _, err := time.Parse(time.RFC3339, t); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// percentDecode reads a header value by the rules that the NATS binding shares
// with the HTTP one: printable ASCII but space, double quote and percent sign
// stands for itself, everything else is %XX of its UTF-8 bytes, and nothing
// else is in a value.
func percentDecode(value string) (string, error) {
	var text []byte
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c <= ' ' || c > '~' || c == '"':
			return "", fmt.Errorf("%q at %d has to be encoded", c, i)
		case c == '%':
			var b byte
			if i+3 > len(value) {
				return "", errors.New("a percent sign at the end")
			}
			if _, err := fmt.Sscanf(value[i+1:i+3], "%02X", &b); err != nil {
				return "", fmt.Errorf("%s: %w", value[i:i+3], err)
			}
			text = append(text, b)
			i += 2
		default:
			text = append(text, c)
		}
	}
	if !utf8.Valid(text) {
		return "", fmt.Errorf("%q is not UTF-8", text)
	}
	return string(text), nil
}

// Every message, read back from a stream, is a CloudEvent in binary mode.
func TestCloudEvents(t *testing.T) {
	embedded, err := StartEmbedded(t.Context(), EmbeddedOptions{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer embedded.Close()
	p, err := New(Options{
		Connect:  ConnectOptions{Embedded: embedded},
		Stream:   StreamOptions{Name: "PERSAT", Manage: true, Replicas: 1, DuplicateWindow: time.Hour},
		Prefixes: map[string]string{"north": "acme.norte"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stream, err := s.(*session).js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	accepted := time.Date(2024, 2, 12, 9, 33, 6, 412871095, time.FixedZone("-03", -3*60*60))
	body := []byte("{\"eventType\":\"client.updated\",\n \"payload\": {\"uid_client\":\"Ferretería Ñandú 5%\", \"n\":1.0}}")

	tests := []struct {
		name    string
		event   bridge.Event
		subject string // ce-subject as it is in the header; "" for none
		want    map[string]string
	}{
		{"a Spanish name with a percent sign", bridge.Event{Entities: []string{"Ferretería Ñandú 5%"}},
			"Ferreter%C3%ADa%20%C3%91and%C3%BA%205%25", map[string]string{"subject": "Ferretería Ñandú 5%"}},
		{"quotes, a line break and a tab", bridge.Event{Entities: []string{"\"A\"\r\nNats-Rollup: all\t"}},
			"%22A%22%0D%0ANats-Rollup:%20all%09", map[string]string{"subject": "\"A\"\r\nNats-Rollup: all\t"}},
		{"what looks encoded already", bridge.Event{Entities: []string{"%41%"}}, "%2541%25", map[string]string{"subject": "%41%"}},
		{"beyond the basic plane", bridge.Event{Entities: []string{"🚚"}}, "%F0%9F%9A%9A", map[string]string{"subject": "🚚"}},
		{"the edges of what stands for itself", bridge.Event{Entities: []string{"!~\x7f#$&"}}, "!~%7F#$&", map[string]string{"subject": "!~\x7f#$&"}},
		{"plain", bridge.Event{Entities: []string{"WO-48/B"}}, "WO-48/B", map[string]string{"subject": "WO-48/B"}},
		{"many entities", bridge.Event{Entities: []string{"a", "b"}}, "", nil},
		{"none", bridge.Event{}, "", nil},
		{"an identity too long for a header", bridge.Event{Entities: []string{strings.Repeat("ñ", 600)}}, "", nil},
		{"a delivery id of any characters", bridge.Event{ID: "mensaje ñ%"}, "", map[string]string{"id": "mensaje ñ%"}},
		{"a replay with a trace", bridge.Event{Replay: 2, Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "", nil},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := tt.event
			e.Source, e.Type, e.Accepted, e.Body = "north", "client.updated", accepted, body
			if e.ID == "" {
				e.ID = fmt.Sprintf("msg_%d", i)
			}
			receipt, f := publish(t, s, &e)
			if f != nil {
				t.Fatal(f)
			}
			m, err := stream.GetMsg(t.Context(), receipt.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			checkMessage(t, m, &e, tt.subject, tt.want)
		})
	}
}

// The subject of an event ends with the token of its entities where its source publishes
// by entity, and with its type where it does not.
func TestSubjects(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	o := optionsFor(n.URL)
	o.Prefixes["north"] = "acme.norte"
	o.EntityTokens = map[string]func([]string) string{"north": func(entities []string) string {
		return fmt.Sprintf("~%d", len(entities))
	}}
	s := connect(t, o)
	stream, err := n.JetStream().Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		source   string
		entities []string
		want     string
	}{
		{"persat", []string{"48"}, "persat.client.created"},
		{"north", []string{"48"}, "acme.norte.client.created.~1"},
		{"north", []string{"48", "49"}, "acme.norte.client.created.~2"},
		{"north", nil, "acme.norte.client.created.~0"},
		{"persat", nil, "persat.client.created"},
	} {
		e := event(fmt.Sprintf("msg_%s_%d", test.source, len(test.entities)))
		e.Source, e.Entities = test.source, test.entities
		receipt, f := publish(t, s, e)
		if f != nil {
			t.Fatal(f)
		}
		m, err := stream.GetMsg(t.Context(), receipt.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != test.want {
			t.Errorf("source %s, entities %q: got subject %s, want %s", test.source, test.entities, m.Subject, test.want)
		}
	}
}

// checkMessage holds a stored message to the binding, and to the event.
func checkMessage(t *testing.T, m *jetstream.RawStreamMsg, e *bridge.Event, subject string, want map[string]string) {
	t.Helper()
	got, err := readCloudEvent(m.Header, m.Data)
	if err != nil {
		t.Fatalf("not a CloudEvent: %v\n%v", err, m.Header)
	}
	if !bytes.Equal(got.data, e.Body) {
		t.Errorf("got data %s, want %s", got.data, e.Body)
	}
	attributes := map[string]string{
		"specversion": "1.0", "id": e.ID, "type": "client.updated", "source": "/persat/north",
		"time": "2024-02-12T12:33:06.412871095Z", "datacontenttype": "application/json",
	}
	for name, value := range want {
		attributes[name] = value
	}
	for name, value := range attributes {
		if got.attributes[name] != value {
			t.Errorf("%s: got %q, want %q", name, got.attributes[name], value)
		}
	}
	if len(got.attributes) != len(attributes) {
		t.Errorf("got attributes %q, want %q", got.attributes, attributes)
	}
	if raw := m.Header.Get("ce-subject"); raw != subject {
		t.Errorf("got ce-subject %q, want %q", raw, subject)
	}
	if m.Subject != "acme.norte.client.updated" || m.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got subject %s, Content-Type %q", m.Subject, m.Header.Get("Content-Type"))
	}
	id, headers := "north:"+e.ID, 8
	if e.Replay > 0 {
		id += ":r2"
		headers += 2
		if m.Header.Get("Persat-Replay") != "2" || m.Header.Get("traceparent") != e.Traceparent {
			t.Errorf("got Persat-Replay %q, traceparent %q", m.Header.Get("Persat-Replay"), m.Header.Get("traceparent"))
		}
	}
	if subject != "" {
		headers++
	}
	if got := m.Header.Get("Nats-Msg-Id"); got != id {
		t.Errorf("got Nats-Msg-Id %q, want %q", got, id)
	}
	for _, added := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"} {
		delete(m.Header, added) // by the server, to who asks for one message
	}
	if len(m.Header) != headers {
		t.Errorf("got %d headers, want %d: %v", len(m.Header), headers, m.Header)
	}
}

// The reader of this test must refuse what breaks the rules, or it shows nothing.
func TestReadCloudEvent(t *testing.T) {
	whole := func(change func(nats.Header)) nats.Header {
		h := nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-type": {"a.b"}, "ce-source": {"/x"}}
		change(h)
		return h
	}
	if _, err := readCloudEvent(whole(func(nats.Header) {}), nil); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(nats.Header){
		"a required attribute missing": func(h nats.Header) { delete(h, "ce-id") },
		"the prefix in Go's form":      func(h nats.Header) { h["Ce-Id"] = h["ce-id"] },
		"a raw space":                  func(h nats.Header) { h["ce-subject"] = []string{"a b"} },
		"raw UTF-8":                    func(h nats.Header) { h["ce-subject"] = []string{"ñ"} },
		"a lone percent sign":          func(h nats.Header) { h["ce-subject"] = []string{"5%"} },
		"half a character":             func(h nats.Header) { h["ce-subject"] = []string{"%C3"} },
		"two values":                   func(h nats.Header) { h["ce-subject"] = []string{"a", "b"} },
		"a time without zone":          func(h nats.Header) { h["ce-time"] = []string{"2024-02-12T12:00:00"} },
	} {
		if _, err := readCloudEvent(whole(change), nil); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func FuzzPercentEncode(f *testing.F) {
	for _, s := range []string{"", "a", "Ferretería Ñandú 5%", "\"\r\n\x00\x7f", "🚚", "%41"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return // no entity of a body that was accepted
		}
		got, err := percentDecode(percentEncode(s))
		if err != nil || got != s {
			t.Errorf("%q came back as %q, %v", s, got, err)
		}
	})
}

// The clients in other languages read the headers of clients/vectors.json: those are
// what a message has.
func TestHeadersOfVectors(t *testing.T) {
	text, err := os.ReadFile("../clients/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Headers []struct {
			Headers                map[string]string
			ID, Source, Type, Time string
			Subject, Traceparent   string
			Replay                 int
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Headers) == 0 {
		t.Error("no headers")
	}
	for _, v := range vectors.Headers {
		accepted, err := time.Parse(time.RFC3339, v.Time)
		if err != nil {
			t.Fatal(err)
		}
		e := &bridge.Event{Source: strings.TrimPrefix(v.Source, "/persat/"), ID: v.ID, Type: v.Type, Accepted: accepted, Traceparent: v.Traceparent, Replay: v.Replay}
		if v.Subject != "" {
			e.Entities = []string{v.Subject}
		}
		got := make(map[string]string)
		for name, values := range message("persat", e).Header {
			got[name] = strings.Join(values, ", ")
		}
		if !maps.Equal(got, v.Headers) {
			t.Errorf("got headers %v, want %v", got, v.Headers)
		}
	}
}
