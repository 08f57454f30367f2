package persat_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

func TestCatalogue(t *testing.T) {
	catalogue := persat.Catalogue()
	confirmed, assumed := 0, 0
	for i, entry := range catalogue {
		if got := persat.Types()[i]; got != entry.Type {
			t.Errorf("types: got %s at %d, want %s", got, i, entry.Type)
		}
		if err := persat.CheckType(entry.Type); err != nil {
			t.Error(err)
		}
		if word, _, _ := strings.Cut(entry.Type, "."); string(entry.Kind) != word {
			t.Errorf("%s: got kind %s", entry.Type, entry.Kind)
		}
		if entry.Title == "" || entry.Fires == "" || entry.Payload == "" || entry.Identity == "" || entry.IdentityType == "" {
			t.Errorf("%s: an empty cell in %#v", entry.Type, entry)
		}
		if entry.Confirmed {
			confirmed++
		}
		if entry.Assumed {
			assumed++
		}
		if entry.Assumed && entry.Confirmed {
			t.Errorf("%s: read, and assumed", entry.Type)
		}
	}
	if len(catalogue) != 17 || confirmed != 10 || assumed != 5 {
		t.Errorf("got %d events, %d confirmed, %d assumed, want 17, 10 and 5", len(catalogue), confirmed, assumed)
	}

	catalogue[0].Type = "changed by a caller"
	catalogue[len(catalogue)-1].States[0] = "changed by a caller"
	if got := persat.Catalogue()[0].Type; got != "client.created" {
		t.Errorf("got %q: a caller changed the catalogue", got)
	}
	if got := persat.Catalogue()[len(catalogue)-1].States[0]; got != "CERRADA_OK" {
		t.Errorf("got state %q: a caller changed the catalogue", got)
	}
}

func TestSample(t *testing.T) {
	for _, eventType := range persat.Types() {
		t.Run(eventType, func(t *testing.T) {
			own, err := persat.Sample(eventType, "")
			if err != nil {
				t.Fatal(err)
			}
			if bytes.ContainsAny(own, "\n\t") {
				t.Error("got more than one line")
			}
			envelope, err := persat.ReadEnvelope(own)
			if err != nil {
				t.Fatal(err)
			}
			if envelope.Type != eventType || len(envelope.Entities) != 1 {
				t.Errorf("got %#v, want type %s and one entity", envelope, eventType)
			}
			checkAgainstCatalogue(t, own)

			entities := []string{"7", "-1", "1707684808390"}
			if !strings.HasPrefix(eventType, "deliveryRoute.") {
				entities = append(entities, "x", `OT "48"\`, "Ñandú <7>, }", "\x00")
			}
			for _, entity := range entities {
				body, err := persat.Sample(eventType, entity)
				if err != nil {
					t.Fatalf("entity %q: %v", entity, err)
				}
				got, err := persat.ReadEnvelope(body)
				if err != nil {
					t.Fatalf("entity %q: %v", entity, err)
				}
				if !slices.Equal(got.Entities, []string{entity}) {
					t.Errorf("got entities %q, want %q", got.Entities, entity)
				}
				if got, want := withoutIdentity(t, body), withoutIdentity(t, own); !reflect.DeepEqual(got, want) {
					t.Errorf("entity %q changed more than the identity: got %v, want %v", entity, got, want)
				}
			}
		})
	}
}

// checkAgainstCatalogue checks that a sample is what its row says.
func checkAgainstCatalogue(t *testing.T, body []byte) {
	t.Helper()
	event, err := persat.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(persat.Catalogue(), func(e persat.Entry) bool { return e.Type == event.Type })
	entry := persat.Catalogue()[at]
	if isArray := event.Payload[0] == '['; isArray != (entry.Payload == persat.ManyObjects) {
		t.Errorf("payload begins with %c, the catalogue says %s", event.Payload[0], entry.Payload)
	}
	for _, snapshot := range event.Snapshots() {
		var members map[string]any
		if err := json.Unmarshal(snapshot.Data, &members); err != nil {
			t.Fatal(err)
		}
		_, isText := members[entry.Identity].(string)
		if isText != (entry.IdentityType == "string") || members[entry.Identity] == nil {
			t.Errorf("got %s %v, the catalogue says a %s", entry.Identity, members[entry.Identity], entry.IdentityType)
		}
		if entry.States != nil && !slices.Contains(entry.States, snapshot.State) {
			t.Errorf("got state %q, the catalogue says %q", snapshot.State, entry.States)
		}
	}
}

// withoutIdentity returns the payload decoded, its first identity taken out.
func withoutIdentity(t *testing.T, body []byte) any {
	t.Helper()
	payload := decode(t, body).(map[string]any)["payload"]
	object, isObject := payload.(map[string]any)
	if !isObject {
		object = payload.([]any)[0].(map[string]any)
	}
	delete(object, "_id")
	delete(object, "uid_client")
	return payload
}

func TestSampleRefuses(t *testing.T) {
	tests := []struct {
		name, eventType, entity, want string
	}{
		{"unknown type", "workorder.cancelled", "", `no sample of event type "workorder.cancelled"`},
		{"path", "../samples/client.created", "", `no sample of event type "../samples/client.created"`},
		{"route by name", "deliveryRoute.assigned", "R-1", `entity "R-1": a delivery route is identified by a number`},
		{"route with a leading zero", "deliveryRoute.assigned", "007", `entity "007": a delivery route is identified by a number`},
		{"route with a space", "deliveryRoute.assigned", "7 ", `entity "7 ": a delivery route is identified by a number`},
		{"route with more behind", "deliveryRoute.assigned", `7,"x":7`, `entity "7,\"x\":7": a delivery route is identified by a number`},
		{"not UTF-8", "client.deleted", "\xff", "entity is not valid UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, err := persat.Sample(tt.eventType, tt.entity)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %s, error %v, want error %q", body, err, tt.want)
			}
		})
	}
}

// Two kinds under one identity would make consumers of the samples mix them up.
func TestSamplesOfKindsDiffer(t *testing.T) {
	kinds := make(map[string]persat.Kind)
	for _, entry := range persat.Catalogue() {
		body, err := persat.Sample(entry.Type, "")
		if err != nil {
			t.Fatal(err)
		}
		envelope, err := persat.ReadEnvelope(body)
		if err != nil {
			t.Fatal(err)
		}
		for _, entity := range envelope.Entities {
			if kind, taken := kinds[entity]; taken && kind != entry.Kind {
				t.Errorf("%s: identity %q is that of a %s, too", entry.Type, entity, kind)
			}
			kinds[entity] = entry.Kind
		}
	}
}
