package admin

import (
	"maps"
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
		if got := groupOf(c.a) == groupOf(c.b); got != c.same {
			t.Errorf("%q and %q: got the same group %v, want %v", c.a, c.b, got, c.same)
		}
	}
}

// The page has words for the reasons in Spanish: the English ones are in the API.
func TestThePageKnowsEveryReason(t *testing.T) {
	words, err := pageFiles.ReadFile("page/words.js")
	if err != nil {
		t.Fatal(err)
	}
	_, spanish, found := strings.Cut(string(words), "export const reasons = {")
	if !found {
		t.Fatal("words.js has not the reasons that this test looks for")
	}
	for _, r := range reasons {
		if !strings.Contains(spanish, "\n  "+r.code+": ") {
			t.Errorf("no Spanish words for %s", r.code)
		}
	}
}
