package persat_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

func TestSnapshots(t *testing.T) {
	tests := []struct {
		name, eventType, payload string
		want                     []persat.Snapshot
	}{
		{"an object", "workorder.closed", `{"_id":"48","state":"CERRADA_OK"}`,
			[]persat.Snapshot{{"48", "CERRADA_OK", json.RawMessage(`{"_id":"48","state":"CERRADA_OK"}`)}}},
		{"a client is known by uid_client", "client.deleted", ` {"uid_client":"C-1","_id":"9"}`,
			[]persat.Snapshot{{"C-1", "", json.RawMessage(`{"uid_client":"C-1","_id":"9"}`)}}},
		{"a number and a repeat in an array, and what is no object", "delivery.deleted", `[{"_id":7,"state":"PENDING"},null,5,{"_id":"7"},{}]`,
			[]persat.Snapshot{{"7", "PENDING", json.RawMessage(`{"_id":7,"state":"PENDING"}`)}, {"7", "", json.RawMessage(`{"_id":"7"}`)}, {"", "", json.RawMessage(`{}`)}}},
		{"the state of a form is an object", "form.created", `{"_id":"f","state":{"id":3,"name":"Nuevo \u00d1","color":"red"}}`,
			[]persat.Snapshot{{"f", "Nuevo Ñ", json.RawMessage(`{"_id":"f","state":{"id":3,"name":"Nuevo \u00d1","color":"red"}}`)}}},
		{"a state of another kind", "x.y", `{"state":{"name":7},"_id":"a"}`,
			[]persat.Snapshot{{"a", "", json.RawMessage(`{"state":{"name":7},"_id":"a"}`)}}},
		{"an empty array", "x.y", `[]`, nil},
		{"null", "x.y", `null`, nil},
		{"none", "x.y", ``, nil},
		{"broken, in an event built by hand", "x.y", `{"_id":`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			event := persat.Event{Type: tt.eventType, Payload: json.RawMessage(tt.payload)}
			if got := event.Snapshots(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Snapshots and ReadEnvelope must agree on who an event is about, whoever wrote
// it: one decides the order of publishing, the other what consumers keep.
func FuzzSnapshots(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		event, err := persat.Parse(data)
		if err != nil {
			return
		}
		var got []string
		seen := map[string]bool{}
		for _, snapshot := range event.Snapshots() {
			if id := snapshot.Entity; id != "" && !seen[id] {
				seen[id] = true
				got = append(got, id)
			}
		}
		if !reflect.DeepEqual(got, event.Entities) {
			t.Errorf("got entities %q, the envelope has %q", got, event.Entities)
		}
	})
}
