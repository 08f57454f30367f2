package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/admin"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newBridge is a real bridge without a NATS, with a dead letter in it.
func newBridge(t *testing.T) *bridge.Bridge {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	b, err := bridge.New(bridge.Options{Journal: j, Publisher: noNATS{}, Sources: []string{"persat"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Accept(t.Context(), bridge.Delivery{Source: "persat", ID: "msg_1", Body: []byte("not JSON"), Unusable: "not JSON"}); err != nil {
		t.Fatal(err)
	}
	return b
}

type noNATS struct{}

func (noNATS) Connect(context.Context) (bridge.Session, error) { return nil, errors.New("no NATS") }

func newServer(t *testing.T, o admin.Options) *httptest.Server {
	t.Helper()
	return serveBridge(t, o, newBridge(t))
}

func serveBridge(t *testing.T, o admin.Options, b admin.Bridge) *httptest.Server {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	s, err := admin.New(o, b)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(s.Handler())
	t.Cleanup(hs.Close)
	return hs
}

// call makes one request; header has name and value in turns.
func call(t *testing.T, method, url, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

func TestNeedsTokenOffLoopback(t *testing.T) {
	for listen, needs := range map[string]bool{
		":8081": true, "0.0.0.0:8081": true, "192.0.2.1:8081": true, "[::]:8081": true, "ops.example.com:8081": true,
		"127.0.0.1:8081": false, "127.1.2.3:8081": false, "[::1]:8081": false, "localhost:8081": false,
	} {
		_, err := admin.New(admin.Options{Listen: listen}, newBridge(t))
		if got := errors.Is(err, admin.ErrNeedsToken); got != needs {
			t.Errorf("%s without a token: got %v, want it to be refused: %v", listen, err, needs)
		}
		if _, err := admin.New(admin.Options{Listen: listen, Token: "secret"}, newBridge(t)); err != nil {
			t.Errorf("%s with a token: %v", listen, err)
		}
	}
}

// apiCalls are all calls that show or change something.
var apiCalls = []struct{ method, path, body string }{
	{"GET", "/api/status", ""}, {"GET", "/api/stream", ""}, {"GET", "/api/history", ""}, {"GET", "/api/events", ""}, {"GET", "/api/events/1", ""}, {"GET", "/api/intake", ""}, {"GET", "/api/dead/groups", ""},
	{"GET", "/api/dead", ""}, {"POST", "/api/dead/replay?all=true", ""}, {"POST", "/api/dead/discard?all=true", ""},
	{"GET", "/api/replay", ""}, {"POST", "/api/replay?all=true", ""}, {"DELETE", "/api/replay", ""},
	{"GET", "/api/log", ""}, {"PUT", "/api/log", `{"level":"debug"}`}, {"GET", "/debug/pprof/", ""}, {"GET", "/debug/pprof/cmdline", ""},
}

func TestToken(t *testing.T) {
	level := zap.NewAtomicLevel()
	hs := newServer(t, admin.Options{Listen: ":8081", Token: "correct", Pprof: true, Level: &level, Gatherer: prometheus.NewRegistry()})
	for _, c := range apiCalls {
		for _, authorization := range []string{"", "Bearer wrong", "Bearer ", "Basic Y29ycmVjdA==", "correct"} {
			if code, _, _ := call(t, c.method, hs.URL+c.path, c.body, "Authorization", authorization); code != http.StatusUnauthorized {
				t.Errorf("%s %s with %q: got %d, want 401", c.method, c.path, authorization, code)
			}
		}
		if code, text, _ := call(t, c.method, hs.URL+c.path, c.body, "Authorization", "Bearer correct"); code == http.StatusUnauthorized || code == http.StatusForbidden || code >= 500 && code != http.StatusServiceUnavailable {
			t.Errorf("%s %s with the token: got %d %s", c.method, c.path, code, text)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/healthz", "/metrics", "/"} {
		if code, _, _ := call(t, "GET", hs.URL+path, ""); code != http.StatusOK {
			t.Errorf("%s without the token: got %d, want 200", path, code)
		}
	}
}

func TestOtherOrigin(t *testing.T) {
	level := zap.NewAtomicLevel()
	hs := newServer(t, admin.Options{Level: &level})
	for _, header := range [][]string{{"Origin", "https://evil.example.com"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		for _, c := range apiCalls {
			if c.method == "GET" {
				continue
			}
			if code, _, _ := call(t, c.method, hs.URL+c.path, c.body, header...); code != http.StatusForbidden {
				t.Errorf("%s %s with %v: got %d, want 403", c.method, c.path, header, code)
			}
		}
	}
	if level.Level() != zap.InfoLevel {
		t.Error("a refused call has changed the log level")
	}
	if code, text, _ := call(t, "POST", hs.URL+"/api/dead/discard?all=true", "", "Origin", hs.URL, "Sec-Fetch-Site", "same-origin"); code != http.StatusOK {
		t.Errorf("from the page itself: got %d %s", code, text)
	}
}

// TestOtherName is a page whose own host name was made to point at 127.0.0.1: to
// the browser, the API is of its origin.
func TestOtherName(t *testing.T) {
	hs := newServer(t, admin.Options{Pprof: true})
	for host, want := range map[string]int{"evil.example.com": 403, "evil.example.com:8081": 403, "localhost:8081": 200, "127.0.0.1:9": 200, "[::1]:8081": 200} {
		for _, path := range []string{"/api/events", "/debug/pprof/cmdline"} {
			if code, _, _ := call(t, "GET", hs.URL+path, "", "Host", host); code != want {
				t.Errorf("%s asked as %s: got %d, want %d", path, host, code, want)
			}
		}
	}
	guarded := newServer(t, admin.Options{Token: "correct"})
	if code, _, _ := call(t, "GET", guarded.URL+"/api/events", "", "Host", "ops.example.com", "Authorization", "Bearer correct"); code != http.StatusOK {
		t.Errorf("with a token any name will do: got %d", code)
	}
}

func TestPageIsClosed(t *testing.T) {
	hs := newServer(t, admin.Options{})
	code, page, header := call(t, "GET", hs.URL+"/", "")
	if code != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
		t.Fatalf("/: got %d %s", code, header.Get("Content-Type"))
	}
	if policy := header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy is %q", policy)
	}
	for _, file := range []string{"/", "/page/page.css", "/page/page.js", "/page/chart.js", "/page/words.js", "/page/api.js", "/page/dead.js", "/page/dom.js", "/page/drawer.js", "/page/events.js", "/page/format.js", "/page/history.js", "/page/intake.js", "/page/reasons.js", "/page/replay.js", "/page/state.js", "/page/stream.js", "/page/icon.svg"} {
		code, text, header := call(t, "GET", hs.URL+file, "")
		if code != http.StatusOK {
			t.Errorf("%s: got %d", file, code)
		}
		for _, wrong := range []string{"https://", "innerHTML", "insertAdjacent", "document.write", "eval("} {
			if strings.Contains(text, wrong) {
				t.Errorf("%s has %s", file, wrong)
			}
		}
		if code, text, _ := call(t, "HEAD", hs.URL+file, ""); code != http.StatusOK || text != "" {
			t.Errorf("HEAD %s: got %d %q, want 200 and no body", file, code, text)
		}
		if code, _, _ := call(t, "GET", hs.URL+file, "", "If-None-Match", header.Get("ETag")); code != http.StatusNotModified {
			t.Errorf("%s, asked for again: got %d, want 304", file, code)
		}
	}
	if strings.Contains(page, "<script>") || strings.Contains(page, " style=") || strings.Contains(page, " on") && strings.Contains(page, "onclick") {
		t.Error("the page has something inline")
	}
}

func TestLogLevel(t *testing.T) {
	level := zap.NewAtomicLevelAt(zap.InfoLevel)
	core, logs := observer.New(level)
	hs := newServer(t, admin.Options{Level: &level, Log: zap.New(core)})
	for _, want := range []string{"debug", "error", "warn", "info"} {
		code, text, _ := call(t, "PUT", hs.URL+"/api/log", `{"level":"`+want+`"}`)
		if code != http.StatusOK || level.String() != want || !strings.Contains(text, want) {
			t.Errorf("set %s: got %d %s, level %s", want, code, text, level)
		}
		if n := logs.FilterMessage("admin: log level changed").Len(); n != 1 {
			t.Errorf("set %s: the log says so %d times, want once", want, n)
		}
		logs.TakeAll()
	}
	for _, wrong := range []string{`{"level":"loud"}`, `{"level":"fatal"}`, `debug`, ``} {
		if code, _, _ := call(t, "PUT", hs.URL+"/api/log", wrong); code != http.StatusBadRequest || level.Level() != zap.InfoLevel {
			t.Errorf("set %q: got %d, level %s; want 400 and no change", wrong, code, level)
		}
	}
}

func TestWritesAreLogged(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	hs := newServer(t, admin.Options{Log: zap.New(core)})
	for _, c := range apiCalls {
		if c.method == "GET" || c.path == "/api/log" {
			continue
		}
		call(t, c.method, hs.URL+c.path, c.body)
		entries := logs.TakeAll()
		if len(entries) != 1 || !strings.HasPrefix(entries[0].Message, "admin: ") || entries[0].ContextMap()["from"] == "" {
			t.Errorf("%s %s: the log says %v, want one line that says who", c.method, c.path, entries)
		}
	}
}

// TestAway: what cannot be asked of NATS is said, and is no failure of the API.
func TestAway(t *testing.T) {
	hs := newServer(t, admin.Options{})
	code, text, _ := call(t, "GET", hs.URL+"/api/stream", "")
	var got admin.StreamAnswer
	if err := json.Unmarshal([]byte(text), &got); err != nil || code != http.StatusOK || got.Error == "" || got.Stream != nil {
		t.Errorf("stream without NATS: got %d %s (%v)", code, text, err)
	}
	for query, want := range map[string]int{"range=24h": 200, "range=1w": 400, "rnage=24h": 400} {
		if code, text, _ := call(t, "GET", hs.URL+"/api/history?"+query, ""); code != want {
			t.Errorf("history?%s: got %d %s, want %d", query, code, text, want)
		}
	}
	if code, _, _ := call(t, "GET", hs.URL+"/api/history?after="+time.Now().Format(time.RFC3339Nano)[:10], ""); code != http.StatusBadRequest {
		t.Errorf("history after something that is no time: got %d, want 400", code)
	}
}

func TestSearch(t *testing.T) {
	hs := newServer(t, admin.Options{})
	for q, want := range map[string]int{"msg_1": 1, "MSG": 1, "1": 1, "2": 0, "workorder": 0} {
		_, text, _ := call(t, "GET", hs.URL+"/api/events?q="+q, "")
		var page admin.EventPage
		if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Events) != want {
			t.Errorf("search %q: got %s (%v), want %d events", q, text, err, want)
		}
	}
	// A search is no filter to change things by.
	for _, q := range []string{"msg", "type:", "entity:48"} {
		if code, _, _ := call(t, "POST", hs.URL+"/api/dead/discard?q="+q, ""); code != http.StatusBadRequest {
			t.Errorf("discard by search %q: got %d, want 400", q, code)
		}
	}
}

// entity: and type: find exactly, where a text finds whatever has it anywhere.
func TestSearchExactly(t *testing.T) {
	b := newBridge(t)
	for i, e := range []struct{ eventType, entity string }{{"workorder.closed", "48"}, {"workorder.created", "48"}, {"workorder.closed", "4811"}, {"client.updated", "Ferretería Ñandú 5%"}} {
		delivery := bridge.Delivery{Source: "persat", ID: fmt.Sprintf("msg_48_%d", i), Type: e.eventType, Entities: []string{e.entity}, Body: []byte("{}")}
		if _, err := b.Accept(t.Context(), delivery); err != nil {
			t.Fatal(err)
		}
	}
	hs := serveBridge(t, admin.Options{}, b)
	for q, want := range map[string]int{
		"48": 4, "entity:48": 2, "entity:4": 0, "type:workorder.closed": 2, "type:workorder": 0, "entity:48 type:workorder.closed": 1, "type:workorder.closed msg": 2, "entity:48 type:workorder.closed _0": 1,
		"msg_48_2 entity:4811": 1, "msg_48_1 entity:4811": 0, "entity:Ferretería Ñandú 5%": 1, "entity:": 5,
	} {
		_, text, _ := call(t, "GET", hs.URL+"/api/events?q="+url.QueryEscape(q), "")
		var page admin.EventPage
		if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Events) != want {
			t.Errorf("search %q: got %s (%v), want %d events", q, text, err, want)
		}
	}
}

// TestEventsPages goes through a journal page by page, and to what is new.
func TestEventsPages(t *testing.T) {
	b := newBridge(t)
	for i := range 9 {
		delivery := bridge.Delivery{Source: "persat", ID: fmt.Sprintf("msg_page_%d", i), Type: []string{"workorder.closed", "client.updated"}[i%2], Body: []byte("{}"), From: "192.0.2.7"}
		if _, err := b.Accept(t.Context(), delivery); err != nil {
			t.Fatal(err)
		}
	}
	hs := serveBridge(t, admin.Options{}, b)
	for _, c := range []struct {
		query  string
		want   []uint64
		before uint64
	}{
		{"limit=4", []uint64{10, 9, 8, 7}, 7},
		{"limit=4&before=7", []uint64{6, 5, 4, 3}, 3},
		{"limit=4&before=3", []uint64{2, 1}, 0},
		{"limit=20&after=7", []uint64{10, 9, 8}, 0},
		{"limit=2&after=7", []uint64{10, 9}, 9},
		{"limit=20&after=10", []uint64{}, 0},
		{"limit=20&type=client.*", []uint64{9, 7, 5, 3}, 0},
		{"limit=20&record=3&record=9&record=77", []uint64{9, 3}, 0},
		{"limit=20&record=3&record=9&state=dead", []uint64{}, 0},
		{"limit=20&q=not+json", []uint64{1}, 0},
		{"limit=20&until=2001-01-01", []uint64{}, 0},
		{"limit=3&since=1h", []uint64{10, 9, 8}, 8},
	} {
		code, text, _ := call(t, "GET", hs.URL+"/api/events?"+c.query, "")
		var page admin.EventPage
		if err := json.Unmarshal([]byte(text), &page); err != nil || code != http.StatusOK {
			t.Fatalf("%s: got %d %s (%v)", c.query, code, text, err)
		}
		got := []uint64{}
		for _, r := range page.Events {
			got = append(got, r.Record)
		}
		if !slices.Equal(got, c.want) || page.Before != c.before || page.Newest != 10 {
			t.Errorf("%s: got %v before %d newest %d, want %v before %d newest 10", c.query, got, page.Before, page.Newest, c.want, c.before)
		}
	}
	_, text, _ := call(t, "GET", hs.URL+"/api/events/10", "")
	var r bridge.Record
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.From != "192.0.2.7" || string(r.Body) != "{}" {
		t.Errorf("one record: got %s (%v)", text, err)
	}
}
