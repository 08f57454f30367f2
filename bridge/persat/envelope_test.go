package persat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

func TestReadEnvelope(t *testing.T) {
	tests := []struct {
		name string
		body string
		want persat.Envelope
	}{
		{"no payload at all", `{"eventType":"x"}`, persat.Envelope{Type: "x"}},
		{"payload is null", `{"eventType":"x","payload":null}`, persat.Envelope{Type: "x"}},
		{"payload is a string that looks like an object", `{"eventType":"x","payload":"{\"_id\":1}"}`, persat.Envelope{Type: "x"}},
		{"payload comes before the type that says which key counts",
			`{"payload":{"_id":"1","uid_client":"2"},"eventType":"client.updated"}`,
			persat.Envelope{Type: "client.updated", Entities: []string{"2"}}},
		{"client made through an old importer has only _id", `{"eventType":"client.created","payload":{"_id":7}}`,
			persat.Envelope{Type: "client.created", Entities: []string{"7"}}},
		{"client with an empty uid_client", `{"eventType":"client.created","payload":{"uid_client":"","_id":7}}`,
			persat.Envelope{Type: "client.created", Entities: []string{"7"}}},
		{"clientele is not a client", `{"eventType":"clientele.x","payload":{"_id":"1","uid_client":"2"}}`,
			persat.Envelope{Type: "clientele.x", Entities: []string{"1"}}},
		{"work order without _id", `{"eventType":"workorder.closed","payload":{"uid_client":"2"}}`,
			persat.Envelope{Type: "workorder.closed", Entities: []string{"2"}}},
		{"identity is an object", `{"eventType":"workorder.closed","payload":{"_id":{"$oid":"5f"},"uid_client":true}}`,
			persat.Envelope{Type: "workorder.closed"}},
		{"identity of a nested object is not the payload's", `{"eventType":"workorder.closed","payload":{"client":{"_id":"1"}}}`,
			persat.Envelope{Type: "workorder.closed"}},
		{"identity differs in case", `{"eventType":"workorder.closed","payload":{"_ID":"1"}}`,
			persat.Envelope{Type: "workorder.closed"}},
		{"identity given twice", `{"eventType":"workorder.closed","payload":{"_id":"1","_id":"1","uid_client":"2"}}`,
			persat.Envelope{Type: "workorder.closed"}},
		{"client identity given twice", `{"eventType":"client.updated","payload":{"uid_client":"1","uid_client":"1","_id":"2"}}`,
			persat.Envelope{Type: "client.updated"}},
		{"route number keeps its digits", `{"eventType":"deliveryRoute.updated","payload":{"_id":1707684808389}}`,
			persat.Envelope{Type: "deliveryRoute.updated", Entities: []string{"1707684808389"}}},
		{"bulk deletion with repeats and strangers between",
			`{"eventType":"delivery.deleted","payload":[{"_id":"b"},null,{"_id":"a"},7,[{"_id":"c"}],{"_id":"b"},{"_id":"d","_id":"e"}]}`,
			persat.Envelope{Type: "delivery.deleted", Entities: []string{"b", "a"}}},
		{"bulk deletion of nothing", `{"eventType":"delivery.deleted","payload":[]}`, persat.Envelope{Type: "delivery.deleted"}},
		{"48 as text and as number is one entity", `{"eventType":"delivery.deleted","payload":[{"_id":"48"},{"_id":48}]}`,
			persat.Envelope{Type: "delivery.deleted", Entities: []string{"48"}}},
		{"sender escapes accents and keys", `{"\u0065ventType":"delivery.created","payload":{"_i\u0064":"\u00d1and\u00fa \"7\""}}`,
			persat.Envelope{Type: "delivery.created", Entities: []string{`Ñandú "7"`}}},
		{"lone surrogate reads as in encoding/json", `{"eventType":"delivery.created","payload":{"_id":"a\ud800"}}`,
			persat.Envelope{Type: "delivery.created", Entities: []string{"a\ufffd"}}},
		{"strings end in backslashes and hold brackets", `{"a":"\\","b":"}]\"{[","eventType":"x","payload":{"c":"\\\"","_id":"\\"}}`,
			persat.Envelope{Type: "x", Entities: []string{`\`}}},
		{"indented by hand", "\n { \"eventType\" :\t\"x\" ,\r\n \"payload\" : { \"n\" : -1.5e3 , \"_id\" : 5 } }\n",
			persat.Envelope{Type: "x", Entities: []string{"5"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := persat.ReadEnvelope([]byte(tt.body))
			if err != nil {
				t.Fatalf("got error %v", err)
			}
			if got.Type != tt.want.Type || !slices.Equal(got.Entities, tt.want.Entities) || (got.Entities == nil) != (tt.want.Entities == nil) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestReadEnvelopeRefuses(t *testing.T) {
	tests := []struct {
		name string
		body string
		want string
	}{
		{"empty body", "", "not JSON: unexpected end of JSON input at byte 0"},
		{"a proxy's error page", "<html>", "not JSON: invalid character '<' looking for beginning of value at byte 1"},
		{"cut off", `{"eventType":`, "not JSON: unexpected end of JSON input at byte 13"},
		{"two bodies in one", `{"eventType":"x"}{}`, "not JSON: invalid character '{' after top-level value at byte 18"},
		{"NUL in a string", "{\"eventType\":\"a\x00\"}", `not JSON: invalid character '\x00' in string literal at byte 16`},
		{"latin-1", "{\"eventType\":\"x\",\"n\":\"Pe\xf1a\"}", "not JSON: invalid UTF-8 at byte 25"},
		{"nested beyond reason", `{"eventType":"x","payload":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}", "not JSON: invalid character '[' exceeded max depth at byte 10027"},
		{"null", "null", "not a JSON object"},
		{"an array of events", `[{"eventType":"x"}]`, "not a JSON object but an array: it looks like a batch of a FIFO endpoint; register an ordinary endpoint in the sender's portal, which sends each event by itself"},
		{"nothing in it", " {}", "no eventType"},
		{"another case", `{"eventtype":"x"}`, "no eventType"},
		{"type of a payload", `{"payload":{"eventType":"x"}}`, "no eventType"},
		{"null type", `{"eventType":null}`, "eventType is not a string"},
		{"object as type", `{"eventType":{"eventType":"x"}}`, "eventType is not a string"},
		{"type twice", `{"eventType":"x","eventType":"x"}`, "eventType appears twice"},
		{"type twice, once in disguise", `{"eventType":"x","event\u0054ype":"y"}`, "eventType appears twice"},
		{"payload twice", `{"payload":1,"eventType":"x","payload":2}`, "payload appears twice"},
		{"empty type", `{"eventType":""}`, "eventType is empty"},
		{"wildcard", `{"eventType":">"}`, `eventType ">": only A-Z a-z 0-9 _ - between single dots`},
		{"escaped line end", `{"eventType":"a\r\nPUB b"}`, `eventType "a\r\nPUB b": only A-Z a-z 0-9 _ - between single dots`},
		{"JetStream's API", `{"eventType":"$JS.API.STREAM.DELETE.PERSAT"}`, `eventType "$JS.API.STREAM.DELETE.PERSAT": only A-Z a-z 0-9 _ - between single dots`},
		{"long and bad: quoted in part", `{"eventType":"` + strings.Repeat("a", 39) + `é` + strings.Repeat(" ", 50) + `"}`,
			`eventType "` + strings.Repeat("a", 39) + `…": only A-Z a-z 0-9 _ - between single dots`},
		{"5000 characters", `{"eventType":"` + strings.Repeat("a", 5000) + `"}`, "eventType is longer than 128 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := persat.ReadEnvelope([]byte(tt.body))
			if err == nil {
				t.Fatalf("got %#v, want error %q", got, tt.want)
			}
			if err.Error() != tt.want {
				t.Errorf("got error %q, want %q", err, tt.want)
			}
		})
	}
}

// What ReadEnvelope returns outlives the body, whose memory the webhook reuses.
func TestReadEnvelopeKeepsNothingOfTheBody(t *testing.T) {
	body := []byte(`{"eventType":"delivery.deleted","payload":[{"_id":"a"},{"_id":7}]}`)
	got, err := persat.ReadEnvelope(body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = '#'
	}
	if want := []string{"a", "7"}; got.Type != "delivery.deleted" || !slices.Equal(got.Entities, want) {
		t.Errorf("got %#v after the body was overwritten, want %q", got, want)
	}
}

// A bulk event as large as the bridge takes must not cost time by the square of
// its items: this test would not take a second then, but minutes.
func TestReadEnvelopeOfLargeBulk(t *testing.T) {
	const items = 300_000
	var body bytes.Buffer
	body.WriteString(`{"eventType":"delivery.deleted","payload":[`)
	for i := range items {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"_id":%d}`, i)
	}
	body.WriteString(`]}`)

	envelope, err := persat.ReadEnvelope(body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(envelope.Entities); got != items {
		t.Errorf("got %d entities, want %d", got, items)
	}
}

func TestCheckType(t *testing.T) {
	tests := []struct {
		name      string
		eventType string
		ok        bool
	}{
		{"as Persat writes them", "deliveryRoute.assigned", true},
		{"one word", "x", true},
		{"many words", "a.b-c.D_9.0", true},
		{"at the limit", strings.Repeat("a", 128), true},
		{"over the limit", strings.Repeat("a", 129), false},
		{"empty", "", false},
		{"dot", ".", false},
		{"leading dot", ".a", false},
		{"trailing dot", "a.", false},
		{"empty word", "workorder..x", false},
		{"wildcards", "a.*", false},
		{"rest wildcard", ">", false},
		{"space", "a b", false},
		{"no-break space", "a\u00a0b", false},
		{"line end", "a\n", false},
		{"NUL", "a\x00", false},
		{"accent", "creación", false},
		{"invalid UTF-8", "a\xff", false},
		{"system subject", "$SYS.REQ", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := persat.CheckType(tt.eventType); (err == nil) != tt.ok {
				t.Errorf("got %v, want ok %v", err, tt.ok)
			}
		})
	}
}

// Every byte alone: a range that ends one too late lets one of "/:@[`{" through.
func TestCheckTypeOfEachByte(t *testing.T) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	for b := range 256 {
		eventType := string([]byte{byte(b)})
		if got, want := persat.CheckType(eventType) == nil, strings.Contains(allowed, eventType); got != want {
			t.Errorf("%q: got ok %v, want %v", eventType, got, want)
		}
	}
}

func FuzzReadEnvelope(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := persat.ReadEnvelope(body)
		want, ok := slowEnvelope(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))) // encoding/json knows no byte order mark
		if (err == nil) != ok {
			t.Fatalf("got error %v, want ok %v", err, ok)
		}
		if err != nil {
			if text := err.Error(); len(text) > 300 || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
				t.Errorf("error is not fit to be shown: %q", text)
			}
			return
		}
		if err := persat.CheckType(got.Type); err != nil {
			t.Errorf("got a type that CheckType refuses: %v", err)
		}
		if got.Type != want.Type || !slices.Equal(got.Entities, want.Entities) {
			t.Errorf("got %#v, want %#v", got, want)
		}
	})
}

// slowEnvelope is ReadEnvelope said again, with encoding/json's own tokens.
func slowEnvelope(body []byte) (persat.Envelope, bool) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return persat.Envelope{}, false
	}
	top, isObject := slowMembers(body)
	if !isObject || len(top["eventType"]) != 1 || len(top["payload"]) > 1 {
		return persat.Envelope{}, false
	}
	var e persat.Envelope
	if !bytes.HasPrefix(top["eventType"][0], []byte(`"`)) || json.Unmarshal(top["eventType"][0], &e.Type) != nil || persat.CheckType(e.Type) != nil {
		return persat.Envelope{}, false
	}
	if top["payload"] == nil {
		return e, true
	}
	objects := top["payload"]
	if json.Unmarshal(objects[0], new([]json.RawMessage)) == nil && objects[0][0] == '[' {
		payload := objects[0]
		objects = nil
		if err := json.Unmarshal(payload, &objects); err != nil {
			panic(err)
		}
	}
	keys := []string{"_id", "uid_client"}
	if strings.HasPrefix(e.Type, "client.") {
		slices.Reverse(keys)
	}
	for _, object := range objects {
		members, isObject := slowMembers(object)
		if !isObject || len(members["_id"]) > 1 || len(members["uid_client"]) > 1 {
			continue
		}
		for _, key := range keys {
			id := ""
			for _, value := range members[key] {
				id = slowText(value)
			}
			if id != "" {
				if !slices.Contains(e.Entities, id) {
					e.Entities = append(e.Entities, id)
				}
				break
			}
		}
	}
	return e, true
}

// slowMembers returns all values of each key.
func slowMembers(data []byte) (map[string][]json.RawMessage, bool) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if token, _ := decoder.Token(); token != json.Delim('{') {
		return nil, false
	}
	members := make(map[string][]json.RawMessage)
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			panic(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			panic(err)
		}
		members[key.(string)] = append(members[key.(string)], value)
	}
	return members, true
}

func slowText(value json.RawMessage) string {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	token, err := decoder.Token()
	if err != nil {
		panic(err)
	}
	switch token := token.(type) {
	case string:
		return token
	case json.Number:
		return token.String()
	}
	return ""
}

func BenchmarkReadEnvelope(b *testing.B) {
	for _, eventType := range []string{"client.deleted", "workorder.closed", "delivery.deleted"} {
		body, err := persat.Sample(eventType, "")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(eventType, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := persat.ReadEnvelope(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
