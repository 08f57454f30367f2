package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Whatever an authentic sender writes is kept, byte for byte, and only what is
// fit to be a subject gets a type.
func TestReceiveHostileBodies(t *testing.T) {
	ofType := func(eventType string) string { return `{"eventType":"` + eventType + `","payload":{"_id":"48"}}` }
	tests := []struct {
		name, body string
		wantType   string // empty: quarantined
		wantIDs    []string
	}{
		{"an event", event, "workorder.created", []string{"48"}},
		{"a type nobody has heard of", ofType("invoice.paid"), "invoice.paid", []string{"48"}},
		{"empty body", "", "", nil},
		{"not JSON", "eventType=workorder.created", "", nil},
		{"cut in the middle", event[:40], "", nil},
		{"two documents", event + event, "", nil},
		{"JSON without eventType", `{"payload":{"_id":"48"}}`, "", nil},
		{"eventType of null", `{"eventType":null,"payload":{}}`, "", nil},
		{"eventType that takes every subject", ofType(">"), "", nil},
		{"eventType with a space", ofType("a b"), "", nil},
		{"eventType that takes every token", ofType("*"), "", nil},
		{"eventType with an empty token", ofType("workorder..x"), "", nil},
		{"eventType of 5000 characters", ofType(strings.Repeat("a", 5000)), "", nil},
		{"eventType of JetStream's API", ofType("$JS.API.STREAM.DELETE.PERSAT"), "", nil},
		{"eventType with a NUL", ofType(`workorder\u0000created`), "", nil},
		{"eventType that ends a protocol line", ofType(`a\r\nPUB x 0\r\n`), "", nil},
		{"eventType given twice", `{"eventType":"a.b","eventType":"c.d","payload":{}}`, "", nil},
		{"nesting of 100000", `{"eventType":"a.b","payload":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`, "", nil},
		{"invalid UTF-8", "{\"eventType\":\"a.b\",\"payload\":{\"_id\":\"\xff\"}}", "", nil},
		{"payload is an array", `{"eventType":"delivery.deleted","payload":[{"_id":"a"},{"_id":"b"}]}`, "delivery.deleted", []string{"a", "b"}},
		{"payload is a number", `{"eventType":"a.b","payload":7}`, "a.b", nil},
		{"payload is null", `{"eventType":"a.b","payload":null}`, "a.b", nil},
		{"the whole is an array", "[" + event + "]", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{})
			r := signed(t, secretA, "msg_1", time.Now(), tt.body)
			for _, name := range []string{"Nats-Rollup", "Nats-Msg-Id", "Status", "Content-Encoding", "Ce-Type", "Traceparent"} {
				r.Header.Set(name, "all")
			}
			got := f.do(r)
			want := reply{code: 202, status: "accepted", id: "msg_1"}
			if tt.wantType == "" {
				want.status = "quarantined"
			}
			if got.code != want.code || got.status != want.status || got.id != want.id {
				t.Errorf("answer: got %d %s %s, want %d %s %s", got.code, got.status, got.id, want.code, want.status, want.id)
			}
			took := f.acceptor.deliveries()
			if len(took) != 1 {
				t.Fatalf("got %d deliveries, want 1", len(took))
			}
			d := took[0]
			if d.Type != tt.wantType || (d.Unusable == "") != (tt.wantType != "") || !slices.Equal(d.Entities, tt.wantIDs) {
				t.Errorf("delivery: got type %q, entities %q, unusable %q; want type %q, entities %q", d.Type, d.Entities, d.Unusable, tt.wantType, tt.wantIDs)
			}
			if string(d.Body) != tt.body {
				t.Errorf("body changed: got %d bytes, want %d", len(d.Body), len(tt.body))
			}
			if d.Source != "persat" || d.ID != "msg_1" || d.Anonymous || d.Traceparent != "" {
				t.Errorf("delivery: got %q %q anonymous %t traceparent %q", d.Source, d.ID, d.Anonymous, d.Traceparent)
			}
		})
	}
}

func TestReceiveRoutes(t *testing.T) {
	tests := []struct {
		name, method, target string
		code                 int
		source               string
		reason               Reason
	}{
		{"browser looks in", "GET", "/webhooks/persat", 405, "persat", WrongMethod},
		{"uptime check", "HEAD", "/webhooks/persat", 405, "persat", WrongMethod},
		{"CORS preflight", "OPTIONS", "/webhooks/persat", 405, "persat", WrongMethod},
		{"method of one's own", "BREW", "/webhooks/persat", 405, "persat", WrongMethod},
		{"root", "GET", "/", 404, "other", NotFound},
		{"no source", "POST", "/webhooks/", 404, "other", NotFound},
		{"no source and no slash", "POST", "/webhooks", 404, "other", NotFound},
		{"unknown source", "POST", "/webhooks/nobody", 404, "other", NotFound},
		{"unknown source, other method", "GET", "/webhooks/nobody", 404, "other", NotFound},
		{"two slashes behind", "POST", "/webhooks/persat//", 404, "other", NotFound},
		{"slash behind, another method", "GET", "/webhooks/persat/", 405, "persat", WrongMethod},
		{"slash behind an unknown source", "POST", "/webhooks/nobody/", 404, "other", NotFound},
		{"doubled slash", "POST", "//webhooks/persat", 404, "other", NotFound},
		{"dots", "POST", "/webhooks/../webhooks/persat", 404, "other", NotFound},
		{"another case", "POST", "/webhooks/Persat", 404, "other", NotFound},
		{"escaped letter", "POST", "/webhooks/%70ersat", 404, "other", NotFound},
		{"escaped slash", "POST", "/webhooks%2Fpersat", 404, "other", NotFound},
		{"below the source", "POST", "/webhooks/persat/x", 404, "other", NotFound},
		{"the metrics' name for others", "POST", "/webhooks/other", 404, "other", NotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{})
			r := httptest.NewRequest(tt.method, "/", nil)
			var err error
			if r.URL, err = r.URL.Parse("http://bridge.example.com" + tt.target); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(tt.target, "..") {
				r.URL.Path = tt.target // as a client that does not clean it sends it
			}
			got := f.do(r)
			if got.code != tt.code {
				t.Errorf("code: got %d, want %d", got.code, tt.code)
			}
			wantAllow := ""
			if tt.code == 405 {
				wantAllow = "POST"
			}
			if allow := got.header.Get("Allow"); allow != wantAllow {
				t.Errorf("Allow: got %q, want %q", allow, wantAllow)
			}
			if n := f.rejected(tt.source, tt.reason); n != 1 {
				t.Errorf("rejected_total of %s: got %d, want 1", tt.reason, n)
			}
			if n := f.counted("persat_bridge_requests_total", "source="+tt.source, "code="+strconv.Itoa(tt.code)); n != 1 {
				t.Errorf("requests_total: got %d, want 1", n)
			}
		})
	}
}

// Bodies as senders and proxies make them, beside a plain event.
func TestReceiveOddBodies(t *testing.T) {
	packed := "\x1f\x8b\x08\x00rest"
	tests := []struct {
		name, coding, body string
		wantType           string // empty: quarantined
		wantReason         string
	}{
		{"byte order mark", "", "\xef\xbb\xbf" + event, "workorder.created", ""},
		{"gzip", "gzip", packed, "", "compressed"},
		{"gzip without its header", "", packed, "", "compressed"},
		{"brotli", "br", "\x8b\x02", "", "compressed"},
		{"header alone: the proxy unpacked it", "gzip", event, "workorder.created", ""},
		{"batch as an array", "", "[" + event + "]", "", "FIFO"},
		{"batch as an object", "", `{"data":[` + event + `]}`, "", "FIFO"},
		{"no batch", "", `{"a":1}`, "", "no eventType"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{})
			r := signed(t, secretA, "msg_1", time.Now(), tt.body)
			if tt.coding != "" {
				r.Header.Set("Content-Encoding", tt.coding)
			}
			f.do(r)
			d := f.acceptor.deliveries()[0]
			if d.Type != tt.wantType || !strings.Contains(d.Unusable, tt.wantReason) || (d.Unusable == "") != (tt.wantReason == "") || string(d.Body) != tt.body {
				t.Errorf("got type %q, %q, want type %q, %q, and the body as it came", d.Type, d.Unusable, tt.wantType, tt.wantReason)
			}
		})
	}
}

// A proxy packed the body after it was signed. The answer was "signature wrong", and the
// operator looked for another secret.
func TestReceiveCompressedAfterSigning(t *testing.T) {
	packed := "\x1f\x8b\x08\x00rest"
	tests := []struct {
		name, coding, body string
		code               int
		reason             Reason
	}{
		{"gzip", "gzip", packed, 415, CompressedBody},
		{"gzip without its header", "", packed, 415, CompressedBody},
		{"brotli", "br", "\x8b\x02", 415, CompressedBody},
		{"header alone: the proxy unpacked it", "gzip", event + " ", 401, WrongSignature},
		{"another body", "", event + " ", 401, WrongSignature},
		{"no coding", "identity", event + " ", 401, WrongSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{})
			r := signed(t, secretA, "msg_1", time.Now(), event)
			r.Body = io.NopCloser(strings.NewReader(tt.body))
			r.ContentLength = int64(len(tt.body))
			r.Header.Set("Content-Encoding", tt.coding)
			if got := f.do(r); got.code != tt.code {
				t.Errorf("got %d, want %d", got.code, tt.code)
			}
			if n := f.rejected("persat", tt.reason); n != 1 {
				t.Errorf("rejected_total of %s: got %d, want 1", tt.reason, n)
			}
			if got := f.acceptor.deliveries(); len(got) != 0 {
				t.Errorf("got %d deliveries, want none", len(got))
			}
		})
	}
}

// People register the URL with a slash behind it. It was a 404, for 27 hours.
func TestReceiveTrailingSlash(t *testing.T) {
	f := newFixture(t, Options{})
	r := signed(t, secretA, "msg_1", time.Now(), event)
	r.URL.Path += "/"
	if got := f.do(r); got.code != 202 {
		t.Errorf("got %d, want 202", got.code)
	}
}

// A load balancer that can only check the port to which it sends once had no path there
// that says 200.
func TestReadinessOnThePublicListener(t *testing.T) {
	full := errors.New("journal full: /var/lib/bridge")
	var ready error
	f := newFixture(t, Options{Ready: func() error { return ready }})
	tests := []struct {
		name, method, path string
		ready              error
		code               int
	}{
		{"ready", "GET", "/readyz", nil, 200},
		{"as others ask", "HEAD", "/healthz", nil, 200},
		{"not ready", "GET", "/readyz", full, 503},
		{"another method", "POST", "/readyz", nil, 405},
		{"preflight", "OPTIONS", "/readyz", nil, 405},
		{"below it", "GET", "/readyz/x", nil, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ready = tt.ready
			w := httptest.NewRecorder()
			f.Handler().ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
			got := checkReply(t, w.Result())
			if got.code != tt.code || strings.Contains(got.err, "/var") {
				t.Errorf("got %d %q, want %d and nothing internal", got.code, got.err, tt.code)
			}
		})
	}
	f.Drain()
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != 503 {
		t.Errorf("draining: got %d, want 503", w.Code)
	}
}

func TestReceiveWhenAcceptFails(t *testing.T) {
	tests := []struct {
		name       string
		accept     func(context.Context, bridge.Delivery) (bridge.Outcome, error)
		reason     Reason
		retryAfter string
	}{
		{"journal full", fails(bridge.ErrFull), JournalFull, "30"},
		{"bridge stopping", fails(bridge.ErrStopping), Stopping, "5"},
		{"sync failed", fails(fmt.Errorf("append event 7 in /var/lib/bridge: %w", bridge.ErrFailed)), JournalFailed, "5"},
		{"an error nobody foresaw", fails(errors.New("secret path /var/lib/bridge")), NotAccepted, "5"},
		{"error beside an outcome", func(context.Context, bridge.Delivery) (bridge.Outcome, error) {
			return bridge.Accepted, bridge.ErrFailed
		}, JournalFailed, "5"},
		{"outcome that is none", func(context.Context, bridge.Delivery) (bridge.Outcome, error) { return 99, nil }, NotAccepted, "5"},
		{"disk hangs", func(ctx context.Context, _ bridge.Delivery) (bridge.Outcome, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}, NotAccepted, "5"},
		{"panic", func(context.Context, bridge.Delivery) (bridge.Outcome, error) { panic("index out of range") }, Panicked, "5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{AnswerTimeout: 20 * time.Millisecond})
			f.acceptor.accept = tt.accept
			got := f.do(signed(t, secretA, "msg_1", time.Now(), event))
			if got.code != 503 || got.header.Get("Retry-After") != tt.retryAfter {
				t.Errorf("answer: got %d, Retry-After %q, want 503, %q", got.code, got.header.Get("Retry-After"), tt.retryAfter)
			}
			if strings.Contains(got.err, "/var") || strings.Contains(got.err, "index") {
				t.Errorf("answer %q tells of the inside", got.err)
			}
			if n := f.rejected("persat", tt.reason); n != 1 {
				t.Errorf("rejected_total of %s: got %d, want 1", tt.reason, n)
			}
			if n := f.counted("persat_bridge_accept_duration_seconds", "source=persat"); n != 0 {
				t.Errorf("accept duration observed %d times for a 503", n)
			}
			// The slot is free again and the next one is taken.
			f.acceptor.accept = nil
			if got := f.do(signed(t, secretA, "msg_1", time.Now(), event)); got.code != 202 {
				t.Errorf("the sender's next attempt: got %d, want 202", got.code)
			}
		})
	}
}

func TestReceiveRepeat(t *testing.T) {
	f := newFixture(t, Options{})
	for i, want := range []reply{{code: 202, status: "accepted"}, {code: 200, status: "duplicate"}} {
		got := f.do(signed(t, secretA, `msg_"<1>\`, time.Now(), event))
		if got.code != want.code || got.status != want.status || got.id != `msg_"<1>\` {
			t.Errorf("attempt %d: got %d %s %s, want %d %s", i+1, got.code, got.status, got.id, want.code, want.status)
		}
	}
	if n := f.counted("persat_bridge_accept_duration_seconds", "source=persat"); n != 2 {
		t.Errorf("accept duration observed %d times, want 2", n)
	}
}

// The client's going away is no reason to undo what is being written.
func TestReceiveClientGoneDuringAccept(t *testing.T) {
	f := newFixture(t, Options{})
	ctx, leave := context.WithCancel(context.Background())
	f.acceptor.accept = func(ctx context.Context, _ bridge.Delivery) (bridge.Outcome, error) {
		leave()
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("Accept has no deadline")
		}
		return 0, ctx.Err()
	}
	if got := f.do(signed(t, secretA, "msg_1", time.Now(), event).WithContext(ctx)); got.code != 202 {
		t.Errorf("got %d, want 202", got.code)
	}
}

func TestReceiveBodies(t *testing.T) {
	const limit = 300 << 10
	large := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name   string
		body   func(r *http.Request)
		code   int
		reason Reason
	}{
		{"at the limit, declared", nil, 202, ""},
		{"at the limit, chunked", func(r *http.Request) { r.ContentLength = -1 }, 202, ""},
		{"declared too large: not a byte is read", func(r *http.Request) {
			r.ContentLength = limit + 1
			r.Body = http.NoBody
		}, 413, BodyTooLarge},
		{"streamed too large, signature headers missing as well", func(r *http.Request) {
			*r = *request(large(limit + 1))
			r.ContentLength = -1
		}, 413, BodyTooLarge},
		{"100 MB streamed", func(r *http.Request) {
			*r = *httptest.NewRequest("POST", "/webhooks/persat", &endless{left: 100 << 20})
			r.ContentLength = -1
		}, 413, BodyTooLarge},
		{"connection breaks", func(r *http.Request) {
			r.Body = readCloser{iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(event)))}
		}, 400, BodyIncomplete},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{MaxBodyBytes: limit})
			r := signed(t, secretA, "msg_1", time.Now(), large(limit))
			if tt.body != nil {
				tt.body(r)
			}
			got := f.do(r)
			if got.code != tt.code {
				t.Errorf("code: got %d, want %d", got.code, tt.code)
			}
			if closes := got.header.Get("Connection") == "close"; closes != (tt.code != 202) {
				t.Errorf("Connection: close is there: %t", closes)
			}
			if tt.reason != "" {
				if n := f.rejected("persat", tt.reason); n != 1 {
					t.Errorf("rejected_total of %s: got %d, want 1", tt.reason, n)
				}
			}
			if got, want := f.bodies.spare.Load(), newBodies(limit).spare.Load(); got != want {
				t.Errorf("spare memory afterwards: got %d, want %d", got, want)
			}
			if n := len(f.slots); n != 0 {
				t.Errorf("%d slots are still taken", n)
			}
		})
	}
}

func TestReceiveIDs(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		want   string // empty: a fresh ULID
	}{
		{"sender without ids", nil, ""},
		{"sender with a svix id", http.Header{"Svix-Id": {"msg_1"}}, "msg_1"},
		{"white-labelled sender", http.Header{"Webhook-Id": {"msg_2"}}, "msg_2"},
		{"id that ends a NATS header", http.Header{"Svix-Id": {"a\r\nb"}, "Webhook-Id": {"msg_2"}}, "msg_2"},
		{"two ids", http.Header{"Svix-Id": {"msg_1", "msg_2"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{Sources: []Source{{Name: "persat", Auth: AuthNone}}})
			r := request(event)
			if tt.header != nil {
				r.Header = tt.header
			}
			got := f.do(r)
			d := f.acceptor.deliveries()[0]
			if got.id != d.ID || d.Anonymous != (tt.want == "") {
				t.Errorf("got id %q in the answer, %q anonymous %t in the delivery", got.id, d.ID, d.Anonymous)
			}
			if _, err := ulid.Parse(d.ID); d.ID != tt.want && (tt.want != "" || err != nil) {
				t.Errorf("id: got %q, want %q", d.ID, tt.want)
			}
		})
	}
}

func TestReceiveTraceparent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for name, tt := range map[string]struct {
		given []string
		want  string
	}{
		"as the standard has it":  {[]string{good}, good},
		"none":                    {nil, ""},
		"given twice":             {[]string{good, good}, ""},
		"upper case":              {[]string{strings.ToUpper(good)}, ""},
		"version of the future":   {[]string{"01" + good[2:]}, ""},
		"trace id of zeros":       {[]string{good[:3] + strings.Repeat("0", 32) + good[35:]}, ""},
		"parent id of zeros":      {[]string{good[:36] + strings.Repeat("0", 16) + good[52:]}, ""},
		"something behind":        {[]string{good + "-x"}, ""},
		"ends a NATS header":      {[]string{good[:53] + "\r\n"}, ""},
		"dash in the wrong place": {[]string{strings.Replace(good, "-0", "0-", 1)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := traceparent(http.Header{"Traceparent": tt.given}); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	body := []byte(event + strings.Repeat(" ", 2048-len(event)))
	s, err := New(Options{Sources: []Source{{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA}}}}, new(nothing))
	if err != nil {
		b.Fatal(err)
	}
	h, err := Sign(secretA, "msg_1", time.Now(), body)
	if err != nil {
		b.Fatal(err)
	}
	handler := s.Handler()
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.RunParallel(func(pb *testing.PB) {
		r := httptest.NewRequest(http.MethodPost, "/webhooks/persat", nil)
		r.Header, r.ContentLength = h, int64(len(body))
		reader := bytes.NewReader(body)
		r.Body = readCloser{reader}
		w := httptest.NewRecorder()
		for pb.Next() {
			reader.Reset(body)
			w.Body.Reset()
			handler.ServeHTTP(w, r)
			if w.Code != http.StatusAccepted {
				b.Fatal(w.Code, w.Body)
			}
		}
	})
}

// nothing accepts all and keeps none.
type nothing struct{}

func (*nothing) Accept(context.Context, bridge.Delivery) (bridge.Outcome, error) {
	return bridge.Accepted, nil
}

func fails(err error) func(context.Context, bridge.Delivery) (bridge.Outcome, error) {
	return func(context.Context, bridge.Delivery) (bridge.Outcome, error) { return 0, err }
}
