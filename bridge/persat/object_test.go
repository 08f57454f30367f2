package persat_test

import (
	"encoding/json"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// A member of an unexpected type costs its own field and nothing else.
func TestUnexpectedTypes(t *testing.T) {
	data := []byte(`{"_id":48,"note_id":"23393","state":3,"STATE":"INFORME","created":null,"created_by_user_id":-1,"labels_ids":[4,"5",null],
		"client":"C-19349","wo_data":{"schema_id":true,"wo_rule_id":null,"service_time":"45","results":{"formvalues":[],"last_updated":"x"}},
		"assignation_info":{"responsibles":[{"user_id":28},{"user_id":{}}, {"user_name":[1]}],"starts_min":480.5,"date":""},"añadido":{"b":[1.0,1e400]}}`)
	var order persat.WorkOrder
	if err := json.Unmarshal(data, &order); err != nil {
		t.Fatal(err)
	}
	checkRoundTrip(t, data, order)

	if order.ID != "48" || order.NoteID != "23393" || order.CreatedByUserID != "-1" {
		t.Errorf("got ids %q %q %q", order.ID, order.NoteID, order.CreatedByUserID)
	}
	if order.State != "" {
		t.Errorf("got state %q, want none: the member is a number, and STATE is another member", order.State)
	}
	if len(order.LabelIDs) != 3 || order.LabelIDs[1] != "5" || order.LabelIDs[2] != "" {
		t.Errorf("got labels %q", order.LabelIDs)
	}
	if order.Client.UID != "" || string(order.Raw["client"]) != `"C-19349"` {
		t.Errorf("got client %#v, raw %s", order.Client, order.Raw["client"])
	}
	if order.Data.ServiceTime != 0 || order.Data.Results.LastUpdated != "x" || order.Data.Results.FormValues != nil {
		t.Errorf("got data %#v", order.Data)
	}
	people := order.Assignation.Responsibles
	if len(people) != 3 || people[0].UserID != "28" || people[1].UserID != "" || people[2].UserName != "" {
		t.Errorf("got responsibles %#v", people)
	}

	// Half a list would look like a whole one.
	var half persat.WorkOrder
	if err := json.Unmarshal([]byte(`{"labels_ids":[4,true,5]}`), &half); err != nil || half.LabelIDs != nil {
		t.Errorf("got labels %q, %v, want none", half.LabelIDs, err)
	}
	if err := json.Unmarshal([]byte(`[1]`), &order); err == nil {
		t.Error("got no error for an array as work order")
	}
	if err := json.Unmarshal([]byte(`null`), &order); err != nil || order.ID != "48" {
		t.Errorf("got %v and id %q: null must leave the value alone", err, order.ID)
	}
}

func TestWriteObject(t *testing.T) {
	const read = `{"_id":1707684808389,"departure":{"name":"Depósito","planned_departure_time":480,"dock":3},"deliveries":[{"_id":7,"state":"ASSIGNED"}],"assignation_info":null,"n":1.0}`
	tests := []struct {
		name   string
		change func(*persat.Route)
		want   string
	}{
		{"nothing changed", func(*persat.Route) {}, read},
		{"a field changed deep inside keeps its unknown neighbours",
			func(r *persat.Route) { r.Departure.PlannedTime = 495 },
			`{"_id":1707684808389,"departure":{"name":"Depósito","planned_departure_time":495,"dock":3},"deliveries":[{"_id":7,"state":"ASSIGNED"}],"assignation_info":null,"n":1.0}`},
		{"a stop added leaves the first as it came",
			func(r *persat.Route) { r.Stops = append(r.Stops, persat.Stop{ID: "8"}) },
			`{"_id":1707684808389,"departure":{"name":"Depósito","planned_departure_time":480,"dock":3},"deliveries":[{"_id":7,"state":"ASSIGNED"},{"_id":"8"}],"assignation_info":null,"n":1.0}`},
		{"a field emptied is written empty",
			func(r *persat.Route) { r.Departure.Name = ""; r.ID = "x" },
			`{"_id":"x","departure":{"name":"","planned_departure_time":480,"dock":3},"deliveries":[{"_id":7,"state":"ASSIGNED"}],"assignation_info":null,"n":1.0}`},
		{"members set and deleted in Raw",
			func(r *persat.Route) {
				r.Raw["new"] = json.RawMessage(`true`)
				delete(r.Raw, "n")
				delete(r.Raw, "assignation_info")
			},
			`{"_id":1707684808389,"departure":{"name":"Depósito","planned_departure_time":480,"dock":3},"deliveries":[{"_id":7,"state":"ASSIGNED"}],"new":true}`},
		{"built by hand", func(r *persat.Route) { *r = persat.Route{ID: "1", Stops: []persat.Stop{{}}} }, `{"_id":"1","deliveries":[{}]}`},
		{"nothing in it", func(r *persat.Route) { *r = persat.Route{} }, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var route persat.Route
			if err := json.Unmarshal([]byte(read), &route); err != nil {
				t.Fatal(err)
			}
			tt.change(&route)
			checkRoundTrip(t, []byte(tt.want), route)
		})
	}
}
