package webhook

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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

// A sender that is refused for another reason than its signature was once never seen:
// at level info the log said nothing, for as long as it lasted.
func TestDiagnosisOfOtherRefusals(t *testing.T) {
	svix := Source{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA}}
	tests := []struct {
		name   string
		source Source
		change func(r *http.Request)
		reason Reason
		want   string // in the line
	}{
		{"signature in another version only", svix, func(r *http.Request) { r.Header.Set("Svix-Signature", "v1a,AAAA") }, MalformedSignature, "capture"},
		{"timestamp in milliseconds", svix, func(r *http.Request) { r.Header.Set("Svix-Timestamp", "1700000000000") }, MalformedSignature, "capture"},
		{"allow_cidrs sees the proxy", Source{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA}, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
			func(*http.Request) {}, BadAddress, "trusted_proxies"},
		{"doubled slash", svix, func(r *http.Request) { r.URL.Path = "//webhooks/persat" }, NotFound, "/webhooks/"},
		{"source that is not configured", svix, func(r *http.Request) { r.URL.Path = "/webhooks/nobody" }, NotFound, "/webhooks/"},
		{"PUT", svix, func(r *http.Request) { r.Method = "PUT" }, WrongMethod, "POST"},
		{"redirect that made it a GET", svix, func(r *http.Request) { r.Method = "GET" }, WrongMethod, "redirect"},
		{"too large", svix, func(r *http.Request) { r.ContentLength = 5 << 20 }, BodyTooLarge, "max_body_bytes"},
		{"compressed after it was signed", svix, func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("\x1f\x8b\x08\x00rest"))
			r.ContentLength = 8
		}, CompressedBody, "switch compression"},
		{"over the rate", Source{Name: "persat", Auth: AuthNone, RateLimit: 1e-9}, func(*http.Request) {}, OverRate, "rate_limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{Sources: []Source{tt.source}})
			for i := range 12 {
				r := signed(t, secretA, fmt.Sprint("msg_", i), time.Now(), event)
				tt.change(r)
				f.do(r)
			}
			lines := f.logs.All()
			if len(lines) != 1 {
				t.Fatalf("got %d lines, want 1: %v", len(lines), lines)
			}
			fields := lines[0].ContextMap()
			if !strings.Contains(lines[0].Message, tt.want) || fields["reason"] != string(tt.reason) || fields["address"] != "192.0.2.1" {
				t.Errorf("got %q %v, want %q and reason %s", lines[0].Message, fields, tt.want, tt.reason)
			}
			for name, value := range fields {
				if s, ok := value.(string); ok && (strings.Contains(strings.ReplaceAll(s, "v1,<base64>", ""), "v1,") || strings.Contains(s, "C-19349") || strings.Contains(s, "whsec")) {
					t.Errorf("field %s tells too much: %q", name, s)
				}
			}
		})
	}
}

// Scanners GET unknown paths all day: that is no news.
func TestDiagnosisOfScanners(t *testing.T) {
	f := newFixture(t, Options{})
	for range 20 {
		r := request("")
		r.Method, r.URL.Path = http.MethodGet, "/.env"
		f.do(r)
	}
	if lines := f.logs.All(); len(lines) != 0 {
		t.Errorf("got %v, want no line", lines)
	}
}

// refusals are a diagnosis that is given so many refused requests from an address.
func refusals(d *diagnosis, address string, n int) {
	r := request(event)
	for range n {
		d.refused(errAddress, r, address, time.Now())
	}
}

// A sender that is refused for days is seen each day, with how many it were.
func TestDiagnosisEachDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		d := newDiagnosis("persat", zap.New(core))
		for range 3 * 24 { // hours
			refusals(d, "192.0.2.1", 2)
			time.Sleep(time.Hour)
		}
		var counts []any
		for _, line := range logs.All() {
			counts = append(counts, line.ContextMap()["refused"])
		}
		if fmt.Sprint(counts) != "[3 51 99]" { // the first line came in the second hour
			t.Errorf("got lines with %v refused, want one a day", counts)
		}
		time.Sleep(2 * reportAgain)
		refusals(d, "192.0.2.1", 3)
		if last := logs.All()[len(logs.All())-1].ContextMap(); last["refused"] != int64(3) {
			t.Errorf("after two days of silence: %v, want a run of its own", last)
		}
	})
}

// A stranger who is refused does not hide the sender, nor does a sender who is taken.
func TestDiagnosisByNetwork(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	d := newDiagnosis("persat", zap.New(core))
	refusals(d, "192.0.2.1", 50)
	for range 3 {
		refusals(d, "198.51.100.1", 1)
		d.verified("203.0.113.1", time.Now())
	}
	if n := logs.Len(); n != 2 {
		t.Errorf("got %d lines, want one for each network: %v", n, logs.All())
	}
	d.verified("198.51.100.9", time.Now())
	if n := logs.FilterMessageSnippet("taken again").Len(); n != 1 {
		t.Errorf("got %d lines of the end, want 1: %v", n, logs.All())
	}
}

// Refusals from very many networks are bounded in memory and in lines, and do not make
// a run forgotten that is longer than theirs.
func TestDiagnosisIsBounded(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	d := newDiagnosis("persat", zap.New(core))
	refusals(d, "192.0.2.1", 2)
	for i := range 2000 {
		refusals(d, fmt.Sprintf("10.%d.%d.1", i/256, i%256), 1)
	}
	refusals(d, "192.0.2.1", 1)
	if len(d.runs) > maxRuns || logs.Len() != 1 {
		t.Errorf("%d runs and %d lines, want at most %d and 1", len(d.runs), logs.Len(), maxRuns)
	}
	for i := range 500 {
		refusals(d, fmt.Sprintf("10.%d.%d.1", i/256, i%256), reportAfter)
	}
	if n := logs.Len(); n != reportsAnHour {
		t.Errorf("%d lines in an hour, want %d", n, reportsAnHour)
	}
}
