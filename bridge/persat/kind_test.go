package persat_test

import (
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// The words of five events have never been read: when one of them arrives under
// another word, its payload has to say what it is about.
func TestKind(t *testing.T) {
	tests := []struct {
		name, eventType, payload string
		kind                     persat.Kind
		orderKind, entity        string
	}{
		{"the type's word wins", "workorder.closed", `{"_id":"1","df_data":{}}`, persat.KindWorkOrder, "workorder", "1"},
		{"form under another word", "digitalForm.created", `{"_id":"1","df_data":{},"client":{"uid_client":"C"}}`, persat.KindForm, "form", "1"},
		{"work order under another word", "ot.created", `{"_id":"1","wo_data":{}}`, persat.KindWorkOrder, "workorder", "1"},
		{"delivery under another word", "entrega.updated", `{"_id":"1","delivery_data":null}`, persat.KindDelivery, "delivery", "1"},
		{"route under another word", "route.cancelled", `{"departure":{},"_id":7,"deliveries":[]}`, persat.KindRoute, "deliveryRoute", "7"},
		{"deliveries alone make no route", "trip.closed", `{"_id":7,"deliveries":[]}`, persat.KindOther, "trip", "7"},
		{"client under another word has a client's identity", "customer.created", `{"_id":"1","uid_client":"C-7","company_name":"A"}`, persat.KindClient, "client", "C-7"},
		{"company name alone makes no client", "provider.created", `{"_id":"1","company_name":"A"}`, persat.KindOther, "provider", "1"},
		{"forms in bulk", "forms.x", `[{"_id":"1","df_data":{}},{"_id":"1","df_data":{}}]`, persat.KindForm, "form", "1"},
		{"objects that differ", "mixed.x", `[{"_id":"1","df_data":{}},{"_id":"1","wo_data":{}}]`, persat.KindOther, "mixed", "1"},
		{"an object of two kinds", "both.x", `{"_id":"1","df_data":{},"wo_data":{}}`, persat.KindOther, "both", "1"},
		{"members deeper down say nothing", "x.y", `{"_id":"1","a":{"df_data":{}}}`, persat.KindOther, "x", "1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(`{"payload":` + tt.payload + `,"eventType":"` + tt.eventType + `"}`)
			envelope, err := persat.ReadEnvelope(body)
			if err != nil {
				t.Fatal(err)
			}
			if envelope.Kind != tt.kind || envelope.OrderKind() != tt.orderKind || len(envelope.Entities) != 1 || envelope.Entities[0] != tt.entity {
				t.Errorf("got %s, %s, %q, want %s, %s, %q", envelope.Kind, envelope.OrderKind(), envelope.Entities, tt.kind, tt.orderKind, tt.entity)
			}
			event, err := persat.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			if event.Kind != tt.kind {
				t.Errorf("Parse: got kind %s, want %s", event.Kind, tt.kind)
			}
			if got := event.Snapshots()[0].Entity; got != tt.entity {
				t.Errorf("Snapshots: got entity %q, want %q", got, tt.entity)
			}
		})
	}
}
