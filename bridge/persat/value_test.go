package persat_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
)

func TestID(t *testing.T) {
	tests := []struct {
		name, data string
		want       persat.ID
		ok         bool
	}{
		{"text", `"48"`, "48", true},
		{"chosen by the caller of an API", `"Ñ \u00317\"/B"`, `Ñ 17"/B`, true},
		{"number", `48`, "48", true},
		{"made through the API", `-1`, "-1", true},
		{"more digits than a float has", `123456789012345678901`, "123456789012345678901", true},
		{"fraction kept as written", `1.0`, "1.0", true},
		{"null", `null`, "", true},
		{"bool", `true`, "", false},
		{"object", `{}`, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got persat.ID
			err := json.Unmarshal([]byte(tt.data), &got)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %q, %v, want %q, ok %v", got, err, tt.want, tt.ok)
			}
		})
	}
}

func TestTimestamp(t *testing.T) {
	buenosAires := time.FixedZone("-03", -3*60*60)
	const created = persat.Timestamp("2021-07-28T18:52:00.250Z")

	local, err := created.In(buenosAires)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := local.Format(time.RFC3339Nano), "2021-07-28T18:52:00.25-03:00"; got != want {
		t.Errorf("in: got %s, want %s", got, want)
	}
	instant, err := created.Instant()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := instant.Format(time.RFC3339Nano), "2021-07-28T18:52:00.25Z"; got != want {
		t.Errorf("instant: got %s, want %s", got, want)
	}
	for _, bad := range []persat.Timestamp{"", "28/07/2021", "2021-02-30T00:00:00Z"} {
		if at, err := bad.In(buenosAires); err == nil {
			t.Errorf("%q: got %v, want an error", bad, at)
		}
	}
}

func TestFormValues(t *testing.T) {
	var values persat.FormValues
	err := json.Unmarshal([]byte(`{"text":"Revisar","number":250.23,"digits":"552.36","comma":"552,36","list":["a",7],"mixed":["a",{}],
		"empty":[],"null":null,"bool":true,"huge":1e999,"words":"Infinity","hex":"0x10"}`), &values)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		key    string
		text   string
		hasT   bool
		number float64
		hasN   bool
		texts  []string
		hasTs  bool
	}{
		{"text", "Revisar", true, 0, false, []string{"Revisar"}, true},
		{"number", "250.23", true, 250.23, true, []string{"250.23"}, true},
		{"digits", "552.36", true, 552.36, true, []string{"552.36"}, true},
		{"comma", "552,36", true, 0, false, []string{"552,36"}, true},
		{"list", "", false, 0, false, []string{"a", "7"}, true},
		{"mixed", "", false, 0, false, nil, false},
		{"empty", "", false, 0, false, nil, true},
		{"null", "", false, 0, false, nil, false},
		{"bool", "", false, 0, false, nil, false},
		{"huge", "1e999", true, 0, false, []string{"1e999"}, true},
		{"words", "Infinity", true, 0, false, []string{"Infinity"}, true},
		{"hex", "0x10", true, 0, false, []string{"0x10"}, true},
		{"missing", "", false, 0, false, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			if got, ok := values.Text(tt.key); got != tt.text || ok != tt.hasT {
				t.Errorf("text: got %q, %v, want %q, %v", got, ok, tt.text, tt.hasT)
			}
			if got, ok := values.Number(tt.key); got != tt.number || ok != tt.hasN {
				t.Errorf("number: got %v, %v, want %v, %v", got, ok, tt.number, tt.hasN)
			}
			if got, ok := values.Texts(tt.key); !slices.Equal(got, tt.texts) || ok != tt.hasTs {
				t.Errorf("texts: got %q, %v, want %q, %v", got, ok, tt.texts, tt.hasTs)
			}
		})
	}
}
