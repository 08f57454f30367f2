package reason

import (
	"maps"
	"regexp"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		text, code string
		params     map[string]string
	}{
		{"larger than the NATS server's max_payload: raise it, then replay this dead letter: nats: maximum payload exceeded", "max_payload", map[string]string{"detail": "nats: maximum payload exceeded"}},
		{`delivery id "msg_1" was used before for other bytes (record 12)`, "id_reused", map[string]string{"id": "msg_1", "record": "12"}},
		{"no acknowledgement in time", "no_answer", nil},
		{"no acknowledgement in time: the server is paused, its disk full, the link broken, the stream without acks, or the NATS user without permission: context deadline exceeded", "no_answer", map[string]string{"detail": "context deadline exceeded"}},
		{"stream PERSAT does not have subject persat.a.b: add persat.> to its subjects", "subject_missing", map[string]string{"stream": "PERSAT", "subject": "persat.a.b", "prefix": "persat"}},
		{"not JSON: invalid character 'h' looking for beginning of value at byte 1", "not_json", map[string]string{"detail": "invalid character 'h' looking for beginning of value at byte 1"}},
		{"not JSON", "not_json", nil},
		{"not JSON at all", "", nil},
		{"no eventType", "no_type", nil},
		{"no eventType, but a list: it looks like a batch", "batch", map[string]string{"detail": "it looks like a batch"}},
		{"something new", "", nil},
	} {
		if got := Explain(c.text); got.Code != c.code || !maps.Equal(got.Params, c.params) {
			t.Errorf("%q: got %s %v, want %s %v", c.text, got.Code, got.Params, c.code, c.params)
		}
	}
}

func TestGroups(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"not JSON: at byte 1", "not JSON: at byte 200", true},
		{"odd thing 17", "odd thing 4", true},
		{"odd thing 17", "other thing 17", false},
		{"no eventType", "not JSON", false},
	} {
		if got := Group(c.a) == Group(c.b); got != c.same {
			t.Errorf("%q and %q: got the same group %v, want %v", c.a, c.b, got, c.same)
		}
	}
}

// The Spanish texts say the same parameters, or fewer.
func TestSpanish(t *testing.T) {
	placeholder := regexp.MustCompile(`\{\w+\}`)
	for _, row := range table {
		if row[2] == "" {
			t.Errorf("%s: no Spanish", row[0])
		}
		for _, name := range placeholder.FindAllString(row[2], -1) {
			if !strings.Contains(row[1], name) {
				t.Errorf("%s: the Spanish has %s, which the English has not", row[0], name)
			}
		}
	}
	for text, want := range map[string]string{
		`delivery id "msg_1" was used before for other bytes (record 12)`: "el id de entrega «msg_1» se usó antes para otro contenido (registro 12)",
		"not JSON: at byte 3": "no es JSON: at byte 3",
		"something new":       "something new",
	} {
		if got := In("es", text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if got := In("en", text); got != text {
			t.Errorf("%q in English: got %q", text, got)
		}
	}
}
