package persat_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		data string
		want persat.Event // but for Raw
	}{
		{"a known event", `{"eventType":"workorder.closed","payload":{"_id":"48"}}`,
			persat.Event{Type: "workorder.closed", Kind: persat.KindWorkOrder, Action: "closed", Entities: []string{"48"}, Payload: json.RawMessage(`{"_id":"48"}`)}},
		{"a route is no delivery", `{"eventType":"deliveryRoute.cancelled"}`,
			persat.Event{Type: "deliveryRoute.cancelled", Kind: persat.KindRoute, Action: "cancelled"}},
		{"action of several words", `{"eventType":"form.state.updated","payload":[]}`,
			persat.Event{Type: "form.state.updated", Kind: persat.KindForm, Action: "state.updated", Payload: json.RawMessage(`[]`)}},
		{"an event nobody has heard of", `{"eventType":"invoice.paid","payload":null}`,
			persat.Event{Type: "invoice.paid", Kind: persat.KindOther, Action: "paid", Payload: json.RawMessage(`null`)}},
		{"one word", `{"eventType":"client"}`,
			persat.Event{Type: "client", Kind: persat.KindClient}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := persat.Parse([]byte(tt.data))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Raw = got.Raw
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got %#v, want %#v", *got, tt.want)
			}
			checkRoundTrip(t, []byte(tt.data), got)
		})
	}

	t.Run("not an event", func(t *testing.T) {
		if event, err := persat.Parse([]byte(`{}`)); err == nil || err.Error() != "parse event: no eventType" {
			t.Errorf("got %v, %v", event, err)
		}
	})
	t.Run("through encoding/json", func(t *testing.T) {
		var events []persat.Event
		if err := json.Unmarshal([]byte(`[{"eventType":"a.b","n":1}]`), &events); err != nil {
			t.Fatal(err)
		}
		if got := events[0]; got.Action != "b" || string(got.Raw["n"]) != "1" {
			t.Errorf("got %#v", got)
		}
	})
	t.Run("keeps nothing of data", func(t *testing.T) {
		data := []byte(`{"eventType":"a.b","payload":{"_id":"1"}}`)
		event, err := persat.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		clear(data)
		if string(event.Payload) != `{"_id":"1"}` || string(event.Raw["eventType"]) != `"a.b"` {
			t.Errorf("got %s, %s after data was overwritten", event.Payload, event.Raw["eventType"])
		}
	})
}

func TestPayloads(t *testing.T) {
	tests := []struct {
		name    string
		payload string
		want    []persat.ID
		err     string
	}{
		{"an object is one", `{"_id":"a"}`, []persat.ID{"a"}, ""},
		{"an array is all", `[{"_id":"a"},{"_id":7},{}]`, []persat.ID{"a", "7", ""}, ""},
		{"an empty array is none", `[]`, nil, ""},
		{"null", `null`, nil, "payload object 0 is not an object"},
		{"a number", `48`, nil, "payload object 0 is not an object"},
		{"a stranger among them", `[{"_id":"a"},null]`, nil, "payload object 1 is not an object"},
		{"none", ``, nil, "no payload"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			event := persat.Event{Type: "x", Payload: json.RawMessage(tt.payload)}
			deliveries, err := event.Deliveries()
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []persat.ID
			for _, delivery := range deliveries {
				got = append(got, delivery.ID)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Every sample must fill the type of its kind down to its last documented
// member, or a consumer reads zeros from a live delivery of that shape.
func TestSamplesFillTheTypes(t *testing.T) {
	for _, eventType := range persat.Types() {
		t.Run(eventType, func(t *testing.T) {
			body, err := persat.Sample(eventType, "")
			if err != nil {
				t.Fatal(err)
			}
			event, err := persat.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, body, event)
			if n := checkTyped(t, event); n != 5 {
				t.Errorf("got %d kinds that read the payload, want all 5", n)
			}
			checkAllRead(t, "payload", reflect.ValueOf(objectsOf(t, event)))
		})
	}
}

// objectsOf reads the payload as what the event's kind says.
func objectsOf(t *testing.T, event *persat.Event) any {
	t.Helper()
	var objects any
	var err error
	switch event.Kind {
	case persat.KindClient:
		objects, err = event.Clients()
	case persat.KindWorkOrder:
		objects, err = event.WorkOrders()
	case persat.KindDelivery:
		objects, err = event.Deliveries()
	case persat.KindRoute:
		objects, err = event.Routes()
	case persat.KindForm:
		objects, err = event.Forms()
	default:
		t.Fatalf("kind %s", event.Kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// checkAllRead looks through structs for members of Raw that have no field, or
// whose field is zero though the member is neither null nor false nor empty.
func checkAllRead(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			checkAllRead(t, path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			checkAllRead(t, path, v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			checkAllRead(t, path+"."+key.String(), v.MapIndex(key))
		}
	case reflect.Struct:
		raw := v.FieldByName("Raw").Interface().(persat.Object)
		known := map[string]bool{}
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("json")
			if name == "" {
				continue
			}
			known[name] = true
			value := string(raw[name])
			if v.Field(i).IsZero() && value != "" && value != "null" && value != `""` && value != "false" {
				t.Errorf("%s.%s: zero, but the sample says %s", path, name, value)
			}
			checkAllRead(t, path+"."+name, v.Field(i))
		}
		for name := range raw {
			if !known[name] {
				t.Errorf("%s.%s: no field", path, name)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		event, err := persat.Parse(data)
		if err != nil {
			if _, err := persat.ReadEnvelope(data); err == nil {
				t.Fatal("an envelope can be read, but not the event")
			}
			return
		}
		checkRoundTrip(t, bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), event)
		checkTyped(t, event)
	})
}

// checkTyped reads the payload as each kind, and checks that each that could
// read it writes it back. It returns how many could.
func checkTyped(t *testing.T, event *persat.Event) int {
	t.Helper()
	return checkObjects(t, event.Payload, event.Clients) +
		checkObjects(t, event.Payload, event.WorkOrders) +
		checkObjects(t, event.Payload, event.Deliveries) +
		checkObjects(t, event.Payload, event.Routes) +
		checkObjects(t, event.Payload, event.Forms)
}

func checkObjects[T any](t *testing.T, payload json.RawMessage, read func() ([]T, error)) int {
	t.Helper()
	objects, err := read()
	if err != nil {
		return 0
	}
	if payload[0] == '[' {
		checkRoundTrip(t, payload, objects)
	} else {
		checkRoundTrip(t, payload, objects[0])
	}
	return 1
}

// checkRoundTrip checks that value is written as JSON equal to what it was read
// from, numbers by their literals.
func checkRoundTrip(t *testing.T, from []byte, value any) {
	t.Helper()
	written, err := json.Marshal(value)
	if err != nil {
		t.Fatalf("marshal %T: %v", value, err)
	}
	if got, want := decode(t, written), decode(t, from); !reflect.DeepEqual(got, want) {
		t.Errorf("%T: got %s, want %s", value, written, from)
	}
}

func decode(t *testing.T, data []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}
