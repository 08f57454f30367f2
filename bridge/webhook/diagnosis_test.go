package webhook

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestDiagnosis(t *testing.T) {
	good := func(t *testing.T) *http.Request { return signed(t, secretA, "msg_1", time.Now(), event) }
	unsigned := func(*testing.T) *http.Request { return request(event) }
	forged := func(t *testing.T) *http.Request { return signed(t, "Zm9yZ2Vk", "msg_1", time.Now(), event) }
	late := func(t *testing.T) *http.Request {
		return signed(t, secretA, "msg_1", time.Now().Add(-time.Hour), event)
	}
	type sent = func(*testing.T) *http.Request
	tests := []struct {
		name string
		sent []sent
		want []string // a part of each line logged
	}{
		{"a scanner passes by", []sent{unsigned, unsigned, good, unsigned, unsigned, good}, nil},
		{"sender that does not sign", []sent{unsigned, unsigned, unsigned, unsigned, unsigned}, []string{"auth: basic"}},
		{"secret of another endpoint", []sent{forged, forged, forged, forged, forged}, []string{"signing secret"}},
		{"clock an hour ahead", []sent{late, late, late, late}, []string{"clock"}},
		{"clock set right", []sent{late, late, late, late, good, good}, []string{"clock", "taken again"}},
		{"and wrong again", []sent{late, late, late, good, late, late, late}, []string{"clock", "taken again", "clock"}},
		{"first without, then with a wrong secret", []sent{unsigned, forged, unsigned, forged, unsigned, forged}, []string{"auth: basic", "signing secret"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{})
			for _, request := range tt.sent {
				f.do(request(t))
			}
			lines := f.logs.All()
			if len(lines) != len(tt.want) {
				t.Fatalf("got %d lines, want %d: %v", len(lines), len(tt.want), lines)
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i].Message, want) {
					t.Errorf("line %d: got %q, want %q in it", i, lines[i].Message, want)
				}
				fields := lines[i].ContextMap()
				if fields["source"] != "persat" {
					t.Errorf("line %d: source is %v", i, fields["source"])
				}
				if offset, ok := fields["offset"].(time.Duration); want == "clock" && (!ok || offset.Round(time.Minute) != -time.Hour) {
					t.Errorf("line %d: offset is %v, want -1h", i, fields["offset"])
				}
				for name, value := range fields {
					if s, ok := value.(string); ok && (strings.Contains(s, "v1,") || strings.Contains(s, "workorder") || strings.Contains(s, "whsec")) {
						t.Errorf("line %d: field %s tells too much: %q", i, name, s)
					}
				}
			}
		})
	}
}

func TestDiagnosisCountsTheRefused(t *testing.T) {
	f := newFixture(t, Options{})
	for range 5 {
		f.do(request(event))
	}
	f.do(signed(t, secretA, "msg_1", time.Now(), event))
	lines := f.logs.FilterMessageSnippet("taken again").All()
	if len(lines) != 1 || lines[0].ContextMap()["refused"] != int64(5) {
		t.Errorf("got %v, want one line with 5 refused", lines)
	}
}
