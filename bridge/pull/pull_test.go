package pull_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/pull"
	"github.com/persat-bridge/persat-bridge/bridge/pull/pollserver"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "sk_poll_sEcReT"

// item is the n-th that the sender sent.
func item(n int) pollserver.Item {
	return pollserver.Item{
		ID: fmt.Sprintf("msg_%d", n), EventType: []byte(`"workorder.created"`), Payload: fmt.Appendf(nil, `{ "_id": "%d" }`, n%7),
		Timestamp: time.Date(2026, 2, 12, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second),
	}
}

func items(from, n int) []pollserver.Item {
	all := make([]pollserver.Item, n)
	for i := range all {
		all[i] = item(from + i)
	}
	return all
}

// ledger takes what is pulled and keeps the position, in memory.
type ledger struct {
	mu        sync.Mutex
	taken     []bridge.Delivery
	seen      map[string]bool
	positions []string
	// refuse, when set, may refuse a delivery.
	refuse func(d bridge.Delivery) error
}

func (l *ledger) AcceptAll(_ context.Context, deliveries []bridge.Delivery) ([]bridge.Outcome, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var outcomes []bridge.Outcome
	for _, d := range deliveries {
		if l.refuse != nil {
			if err := l.refuse(d); err != nil {
				return outcomes, err
			}
		}
		outcome := bridge.Accepted
		switch {
		case l.seen[d.ID]:
			outcome = bridge.Duplicate
		case d.Unusable != "":
			outcome = bridge.Quarantined
		}
		if outcome != bridge.Duplicate {
			l.taken = append(l.taken, d)
		}
		if l.seen == nil {
			l.seen = make(map[string]bool)
		}
		l.seen[d.ID] = true
		outcomes = append(outcomes, outcome)
	}
	return outcomes, nil
}

func (l *ledger) PullPosition(string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.positions) == 0 {
		return nil, nil
	}
	return []byte(l.positions[len(l.positions)-1]), nil
}

func (l *ledger) SetPullPosition(_ string, position []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.positions = append(l.positions, string(position))
	return nil
}

func (l *ledger) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for _, d := range l.taken {
		ids = append(ids, d.ID)
	}
	return ids
}

// rig is a puller on a polling endpoint.
type rig struct {
	t      *testing.T
	server *pollserver.Server
	http   *httptest.Server
	ledger *ledger
	logs   *observer.ObservedLogs
	puller *pull.Puller
	stop   func() error

	mu     sync.Mutex
	notice string
}

func (r *rig) noticed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.notice
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, server: pollserver.New(token), ledger: new(ledger)}
	r.http = httptest.NewServer(r.server)
	t.Cleanup(r.http.Close)
	return r
}

func (r *rig) start(change ...func(*pull.Options)) {
	r.t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	r.logs = logs
	o := pull.Options{
		Source: "persat", URL: r.http.URL + "/poller/poll_1", Token: token, Start: pull.Earliest, Interval: 5 * time.Millisecond,
		PageItems: 20, Acceptor: r.ledger, Positions: r.ledger, Log: zap.New(core), Transport: r.http.Client().Transport,
		Notice: func(text string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.notice = text
		},
	}
	for _, f := range change {
		f(&o)
	}
	p, err := pull.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.puller = p
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- p.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-end })
	r.t.Cleanup(func() {
		_ = r.stop()
		for _, entry := range r.logs.All() {
			if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, token) {
				r.t.Errorf("the token is in the log: %s", text)
			}
		}
	})
}

func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	defer func() {
		if r.t.Failed() {
			r.t.Logf("status %+v", r.puller.Status())
		}
	}()
	testwait.Eventually(r.t, what, f)
}

func (r *rig) state(state string, code pull.Code) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("state %s %s", state, code), func() bool { s := r.puller.Status(); return s.State == state && s.Code == code })
}

// complete waits for items 0 to n-1, each once and in order.
func (r *rig) complete(n int) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d items", n), func() bool { return len(r.ledger.ids()) >= n })
	var want []string
	for i := range n {
		want = append(want, item(i).ID)
	}
	if got := r.ledger.ids(); !slices.Equal(got, want) {
		r.t.Fatalf("got %d items %q…, want %d in order", len(got), got[:min(len(got), 5)], n)
	}
}

func TestPull(t *testing.T) {
	r := newRig(t)
	r.server.Add(items(0, 105)...)
	r.start()
	r.complete(105)
	r.state("caught_up", "")
	first := r.ledger.taken[3]
	if got, want := string(first.Body), `{"eventType":"workorder.created","payload":{ "_id": "3" }}`; got != want {
		t.Errorf("got body %s, want %s", got, want)
	}
	if first.Source != "persat" || first.Type != "workorder.created" || first.Kind != "workorder" || !slices.Equal(first.Entities, []string{"3"}) || !first.Pulled {
		t.Errorf("got %+v", first)
	}
	// What comes later comes, too, and a restart repeats nothing that matters.
	r.server.Add(items(105, 10)...)
	r.complete(115)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	requests := r.server.Requests()
	r.server.Add(items(115, 1)...)
	r.start()
	r.complete(116)
	if n := r.server.Requests() - requests; n > 20 {
		t.Errorf("got %d requests after the restart: it began at the beginning", n)
	}
	r.state("caught_up", "") // the last item is noted after it was accepted
	status := r.puller.Status()
	if status.Accepted != 1 || status.Duplicates != 0 || !status.LastItem.Equal(item(115).Timestamp) {
		t.Errorf("got %+v, want one accepted, the last item's time", status)
	}
}

func TestStart(t *testing.T) {
	const n = 10
	tests := []struct {
		start string
		want  int // items
	}{
		{"earliest", n},
		{item(4).Timestamp.Add(time.Minute).Format(time.RFC3339), n - 5},
		{"latest", 0},
	}
	for _, tt := range tests {
		t.Run(tt.start, func(t *testing.T) {
			r := newRig(t)
			r.server.Add(items(0, n)...)
			start, err := pull.ParseStart(tt.start)
			if err != nil {
				t.Fatal(err)
			}
			r.start(func(o *pull.Options) { o.Start = start })
			r.state("caught_up", "")
			r.eventually("the items", func() bool { return len(r.ledger.ids()) >= tt.want })
			if got := len(r.ledger.ids()); got != tt.want {
				t.Errorf("got %d items, want %d", got, tt.want)
			}
		})
	}
	if _, err := pull.ParseStart("yesterday"); err == nil {
		t.Error("yesterday: got no error")
	}
}

// A start of latest is the first start's time, not that of a restart before the first
// item: what was sent between the two must come.
func TestStartLatestIsKept(t *testing.T) {
	r := newRig(t)
	r.start(func(o *pull.Options) { o.Start = pull.Latest })
	r.state("caught_up", "")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	between := item(0)
	between.Timestamp = time.Now()
	r.server.Add(between)
	r.start(func(o *pull.Options) { o.Start = pull.Latest })
	r.complete(1)
}

func TestFailures(t *testing.T) {
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			return true
		}
	}
	text := func(kind, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, body)
			return true
		}
	}
	tests := []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request) bool
		state string
		code  pull.Code
		words string
	}{
		{"wrong token", status(401), "held", pull.CodeToken, "pull.token"},
		{"token of another endpoint", status(403), "held", pull.CodeForbidden, "pull.token"},
		{"no such endpoint", status(404), "held", pull.CodeNotFound, "pull.url"},
		{"moved", status(302, "Location", "https://elsewhere.example.com/x?token=y"), "held", pull.CodeMoved, "https://elsewhere.example.com/x:"},
		{"the portal answers a page for people", text("text/html; charset=utf-8", "<html>"), "held", pull.CodeNoPage, "a web page"},
		{"not JSON", text("application/json", `{"data":[`), "held", pull.CodeNoPage, "not JSON"},
		{"JSON of something else", text("application/json", `{"ok":true}`), "held", pull.CodeNoPage, "no data"},
		{"data of another type", text("application/json", `{"data":{},"done":true}`), "held", pull.CodeNoPage, "not JSON as documented"},
		{"more without an iterator", text("application/json", `{"data":[],"done":false}`), "held", pull.CodeNoPage, "no iterator"},
		{"refused before there is an iterator", status(400), "held", pull.CodeRefused, "400"},
		{"busy", status(429, "Retry-After", "0"), "failing", pull.CodeBusy, "429"},
		{"failing", status(502), "failing", pull.CodeServer, "502"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"data":[`)
			panic(http.ErrAbortHandler)
		}, "failing", pull.CodeUnreachable, "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // each waits for a second fetch
			r := newRig(t)
			r.server.Add(items(0, 3)...)
			r.server.Fault(tt.fault)
			r.start()
			r.state(tt.state, tt.code)
			status := r.puller.Status()
			if !strings.Contains(status.Text, tt.words) || strings.Contains(status.Text, token) {
				t.Errorf("got words %q, want %q in them", status.Text, tt.words)
			}
			if got := r.noticed(); (got != "") != (tt.state == "held") || strings.Contains(got, token) {
				t.Errorf("got notice %q in state %s", got, tt.state)
			}
			requests := r.server.Requests()
			r.eventually("another try", func() bool { return r.server.Requests() > requests })
			if n := r.logs.FilterMessageSnippet("pulling has stopped").Len(); n != 1 {
				t.Errorf("got %d lines in the log, want one", n)
			}
			r.server.Fault(nil)
			r.complete(3)
			if n := r.logs.FilterMessageSnippet("pulling goes on").Len(); n != 1 {
				t.Errorf("got %d lines of its end, want one", n)
			}
			if got := r.noticed(); got != "" {
				t.Errorf("got notice %q after the end", got)
			}
		})
	}
}

func TestCertificateThatDoesNotVerify(t *testing.T) {
	r := newRig(t)
	r.http.Close()
	r.http = httptest.NewTLSServer(r.server)
	t.Cleanup(r.http.Close)
	r.start(func(o *pull.Options) { o.Transport = nil })
	r.state("held", pull.CodeCertificate)
	if r.server.Requests() != 0 {
		t.Error("the endpoint got a request, and the token with it")
	}
}

// The sender has dropped what the iterator stood for.
func TestForgottenIterator(t *testing.T) {
	r := newRig(t)
	r.server.Add(items(0, 130)...)
	r.start()
	r.complete(130)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.server.Forget()
	r.server.Add(items(130, 30)...)
	r.start()
	r.complete(160)
	if r.puller.Status().Duplicates == 0 {
		t.Error("got no repeats: it did not go back by some time")
	}
}

// An item that is not as documented is kept and does not stop those behind it.
func TestOddItems(t *testing.T) {
	r := newRig(t)
	odd := []string{`7`, `null`, `{}`, `{"id":7,"eventType":"x","payload":{}}`, `{"id":"a b","eventType":"x","payload":{}}`, `{"id":"","eventType":"x","payload":{}}`,
		`{"id":"no-type","payload":{}}`, `{"id":"bad-type","eventType":"a>","payload":{}}`, `{"id":"type-7","eventType":7,"payload":{}}`}
	for _, raw := range odd {
		r.server.Add(pollserver.Item{Raw: []byte(raw)})
	}
	late := item(0)
	r.server.Add(late, pollserver.Item{Raw: []byte(`{"id":"odd-time","eventType":"x.y","payload":[1],"timestamp":7}`)})
	r.start()
	r.eventually("all items", func() bool { return len(r.ledger.ids()) == len(odd)+2 })
	for i, d := range r.ledger.taken[:len(odd)] {
		if d.Unusable == "" || len(d.Body) == 0 || d.ID == "" {
			t.Errorf("%s: got %+v, want it unusable, with its bytes and an id", odd[i], d)
		}
	}
	if got := r.ledger.taken[len(odd)+1]; got.ID != "odd-time" || string(got.Body) != `{"eventType":"x.y","payload":[1]}` || got.Unusable != "" {
		t.Errorf("got %+v, want a usable event", got)
	}
}

func TestPageThatRepeats(t *testing.T) {
	r := newRig(t)
	r.server.Fault(func(w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprint(w, `{"data":[{"id":"msg_0","eventType":"x","payload":{}}],"iterator":"same","done":false}`)
		return true
	})
	r.start()
	r.state("held", pull.CodeRepeats)
	if got := r.ledger.ids(); !slices.Equal(got, []string{"msg_0"}) {
		t.Errorf("got %q, want the item once", got)
	}
}

// A page that does not fit is asked for in smaller parts.
func TestLargePages(t *testing.T) {
	r := newRig(t)
	for n := range 40 {
		it := item(n)
		it.Payload = fmt.Appendf(nil, `{"_id":"1","text":"%s"}`, strings.Repeat("x", 2000))
		r.server.Add(it)
	}
	r.start(func(o *pull.Options) { o.MaxPageBytes = 5000 })
	r.complete(40)
	huge := item(40)
	huge.Payload = fmt.Appendf(nil, `"%s"`, strings.Repeat("x", 6000))
	r.server.Add(huge)
	r.state("held", pull.CodeTooLarge)
}

// A full journal holds the endpoint back; nothing is skipped.
func TestJournalRefuses(t *testing.T) {
	r := newRig(t)
	r.server.Add(items(0, 100)...)
	full := true
	r.ledger.refuse = func(d bridge.Delivery) error {
		if full && d.ID == "msg_33" {
			return bridge.ErrFull
		}
		return nil
	}
	r.start()
	r.state("refused", pull.CodeJournal)
	r.complete(33)
	r.ledger.mu.Lock()
	for _, position := range r.ledger.positions[1:] {
		if position != r.ledger.positions[1] {
			t.Errorf("got position %s: it is behind an item that was refused", position)
		}
	}
	full = false
	r.ledger.mu.Unlock()
	r.complete(100)
}

func TestJournalFails(t *testing.T) {
	r := newRig(t)
	r.server.Add(items(0, 10)...)
	r.ledger.refuse = func(bridge.Delivery) error { return bridge.ErrFailed }
	r.start()
	r.eventually("the end", func() bool { return r.stopped() })
	if err := r.stop(); !errors.Is(err, bridge.ErrFailed) {
		t.Errorf("got %v, want ErrFailed", err)
	}
}

// stopped says whether requests have ended.
func (r *rig) stopped() bool {
	before := r.server.Requests()
	time.Sleep(50 * time.Millisecond)
	return r.server.Requests() == before
}

func TestCheckURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://api.us.svix.com/api/v1/app/app_1/poller/poll_1": "",
		"http://127.0.0.1:9000/poller/poll_1":                    "",
		"http://localhost/p":                                     "",
		"http://api.us.svix.com/p":                               "use https",
		"api.us.svix.com/p":                                      "not the address",
		"ftp://api.us.svix.com/p":                                "not the address",
		"https://sk_poll_x@api.us.svix.com/p":                    "pull.token",
		"https://api.us.svix.com/p?iterator=x":                   "query",
		"":                                                       "not the address",
	} {
		err := pull.CheckURL(url)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}
