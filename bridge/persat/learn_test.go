package persat_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

// The samples are what the catalogue describes, so they teach nothing but that the
// assumed names are real.
func TestLearnNothingFromSamples(t *testing.T) {
	var l persat.Learner
	for _, eventType := range persat.Types() {
		body, err := persat.Sample(eventType, "")
		if err != nil {
			t.Fatal(err)
		}
		l.Add(body, time.Now())
	}
	lessons := l.Lessons()
	if lessons.Events != len(persat.Types()) || lessons.Unusable != 0 {
		t.Errorf("got %d events, %d unusable", lessons.Events, lessons.Unusable)
	}
	for _, learned := range lessons.Types {
		want := []string{}
		if learned.Assumed {
			want = append(want, "the catalogue had only assumed this name; an event has confirmed it")
		}
		if !slices.Equal(learned.New, want) {
			t.Errorf("%s: got %q, want %q", learned.Type, learned.New, want)
		}
	}
}

func TestLearn(t *testing.T) {
	at := time.Date(2026, 2, 12, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name, body string
		eventType  string
		want       []string
	}{
		{"a form under another word", `{"eventType":"digitalForm.created","payload":{"_id":"1","df_data":{}}}`, "digitalForm.created",
			[]string{"an event type that the catalogue does not know; its payload is that of a form"}},
		{"nobody's event", `{"eventType":"invoice.paid","payload":{"_id":1,"total":7}}`, "invoice.paid",
			[]string{"an event type that the catalogue does not know"}},
		{"a member more, at the top and deeper", `{"eventType":"workorder.closed","payload":{"_id":"1","priority":"P1","client":{"vip":{"Ana":1}}}}`, "workorder.closed",
			[]string{"a member that the catalogue lacks: payload.client.vip (object), in 1 object", "a member that the catalogue lacks: payload.priority (string), in 1 object"}},
		{"a member of another type", `{"eventType":"workorder.closed","payload":{"_id":"1","labels_ids":"4","wo_data":{"service_time":"45"}}}`, "workorder.closed",
			[]string{"member payload.labels_ids is string, not array, in 1 object", "member payload.wo_data.service_time is string, not number, in 1 object"}},
		{"null is no drift", `{"eventType":"workorder.closed","payload":{"_id":"1","wo_data":null}}`, "workorder.closed", []string{}},
		{"keys of a form are data", `{"eventType":"workorder.closed","payload":{"_id":"1","wo_data":{"results":{"formvalues":{"FWx":{"a":1}}}}}}`, "workorder.closed", []string{}},
		{"a state never seen", `{"eventType":"workorder.closed","payload":{"_id":"1","state":"CERRADA_RARA"}}`, "workorder.closed", []string{"state CERRADA_RARA, in 1 object"}},
		{"a state that is a sentence", `{"eventType":"workorder.closed","payload":{"_id":"1","state":"Ana said so"}}`, "workorder.closed", []string{"state (no word), in 1 object"}},
		{"identity of another type", `{"eventType":"workorder.closed","payload":{"_id":48}}`, "workorder.closed", []string{"the identity is _id number, not _id string, in 1 object"}},
		{"no identity", `{"eventType":"workorder.closed","payload":{}}`, "workorder.closed", []string{"the identity is none, not _id string, in 1 object"}},
		{"an array where an object was", `{"eventType":"workorder.closed","payload":[{"_id":"1"},7]}`, "workorder.closed",
			[]string{"an item of the payload is no object but a number, in 1 object", "the payload is array, not object, in 1 event"}},
		{"no payload", `{"eventType":"workorder.closed"}`, "workorder.closed", []string{"the payload is none, not object, in 1 event"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l persat.Learner
			l.Add([]byte(tt.body), at)
			lessons := l.Lessons()
			if len(lessons.Types) != 1 || lessons.Types[0].Type != tt.eventType {
				t.Fatalf("got %+v", lessons)
			}
			if got := lessons.Types[0]; !slices.Equal(got.New, tt.want) || lessons.New != len(tt.want) || got.Events != 1 || !got.First.Equal(at) {
				t.Errorf("got %q, want %q", got.New, tt.want)
			}
		})
	}
}

func TestLearnedEntry(t *testing.T) {
	var l persat.Learner
	l.Add([]byte(`{"eventType":"digitalForm.created","payload":{"_id":"1","df_data":{},"state":"NUEVO"}}`), time.Now())
	got := l.Lessons().Types[0].Entry()
	for _, want := range []string{`Type: "digitalForm.created", Kind: KindForm,`, "Payload: OneObject", `Identity: "_id", IdentityType: "string"`, `States: []string{"NUEVO"}`} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s in it", got, want)
		}
	}
}

// Bodies hold names, addresses and phone numbers of people. Nothing of a value may come
// out but event types and states.
func TestLearnShowsNoValues(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	secrets := 0
	secret := func() string {
		secrets++
		return fmt.Sprintf("sEcReT%dx", secrets)
	}
	var value func(depth int) any
	value = func(depth int) any {
		switch random.IntN(6) {
		case 0:
			return 99_000_000 + secrets
		case 1:
			if depth > 0 {
				return []any{value(depth - 1), value(depth - 1)}
			}
		case 2, 3:
			if depth > 0 {
				o := map[string]any{}
				for _, name := range []string{"client", "wo_data", "results", "instructions", "formvalues", "delivery_data", "contact", "name", "anything"} {
					if random.IntN(2) == 0 {
						o[name] = value(depth - 1)
					}
				}
				o["formvalues"] = map[string]any{secret(): secret()}
				return o
			}
		}
		return secret()
	}
	var l persat.Learner
	types := append(persat.Types(), "x.y")
	for range 300 {
		payload := map[string]any{"_id": secret(), "uid_client": secret(), "state": "says " + secret(), "created": secret(), "more": value(4), "client": value(4), "wo_data": value(4), "delivery_data": value(4), "df_data": value(4)}
		body, err := json.Marshal(map[string]any{"eventType": types[random.IntN(len(types))], "payload": payload, "other": value(2)})
		if err != nil {
			t.Fatal(err)
		}
		l.Add(body, time.Now())
	}
	lessons := l.Lessons()
	text, err := json.Marshal(lessons)
	if err != nil {
		t.Fatal(err)
	}
	for _, learned := range lessons.Types {
		text = append(text, learned.Entry()...)
	}
	if strings.Contains(string(text), "sEcReT") || strings.Contains(string(text), "99000") {
		t.Fatalf("a value of a body came out: %s", text)
	}
	if lessons.New == 0 {
		t.Error("nothing was learned, so nothing was proved")
	}
}
