package webhook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_c2Vjb25kIHNlY3JldCwgd2hpbGUgcm90YXRpbmc="
	event   = `{"eventType":"workorder.created","payload":{"_id":"48","client":{"uid_client":"C-19349"}}}`
)

// recorder is an Acceptor in memory. It copies bodies, as its contract demands.
type recorder struct {
	mu   sync.Mutex
	took []bridge.Delivery
	seen map[string]bool
	// accept, when set, runs first and can fail, block or panic.
	accept func(context.Context, bridge.Delivery) (bridge.Outcome, error)
}

func (r *recorder) Accept(ctx context.Context, d bridge.Delivery) (bridge.Outcome, error) {
	if r.accept != nil {
		if outcome, err := r.accept(ctx, d); outcome != 0 || err != nil {
			return outcome, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.Body = bytes.Clone(d.Body)
	r.took = append(r.took, d)
	if r.seen[d.ID] {
		return bridge.Duplicate, nil
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	r.seen[d.ID] = true
	if d.Unusable != "" {
		return bridge.Quarantined, nil
	}
	return bridge.Accepted, nil
}

func (r *recorder) deliveries() []bridge.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.took)
}

// fixture is a server with what stands around it.
type fixture struct {
	*Server
	t        *testing.T
	acceptor *recorder
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	group    sync.WaitGroup // clients of a test
	roots    *x509.CertPool // of servingTLS
}

func newFixture(t *testing.T, o Options) *fixture {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	f := &fixture{t: t, acceptor: &recorder{}, registry: prometheus.NewRegistry(), logs: logs}
	o.Log, o.Registerer = zap.New(core), f.registry
	if o.Sources == nil {
		o.Sources = []Source{{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA, secretB}}}
	}
	s, err := New(o, f.acceptor)
	if err != nil {
		t.Fatalf("new server: %v", err)
	}
	f.Server = s
	return f
}

// reply is an answer that has passed the checks which hold for every answer.
type reply struct {
	code       int
	header     http.Header
	status, id string
	err        string
}

func (f *fixture) do(r *http.Request) reply {
	f.t.Helper()
	w := httptest.NewRecorder()
	before := len(f.acceptor.deliveries())
	f.Handler().ServeHTTP(w, r)
	got := checkReply(f.t, w.Result())
	if n := len(f.acceptor.deliveries()) - before; n > 0 && got.code >= 300 {
		f.t.Errorf("answered %d, but %d deliveries were taken", got.code, n)
	} else if n != 1 && f.acceptor.accept == nil && got.code < 300 {
		f.t.Errorf("answered %d, but %d deliveries were taken", got.code, n)
	}
	return got
}

func checkReply(t *testing.T, res *http.Response) reply {
	t.Helper()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("read answer: %v", err)
	}
	var parsed struct{ Status, ID, Error string }
	if err := json.Unmarshal(text, &parsed); err != nil && res.Request != nil && res.Request.Method != http.MethodHead {
		t.Errorf("answer %q is not JSON: %v", text, err)
	}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type: got %q, want application/json", got)
	}
	if len(text) > 400 {
		t.Errorf("answer of %d bytes is not short", len(text))
	}
	if !slices.Contains(codes, res.StatusCode) {
		t.Errorf("answered %d, which the contract does not have", res.StatusCode)
	}
	if ok := res.StatusCode < 300; ok != (parsed.Error == "") || ok != (parsed.Status != "") {
		t.Errorf("answer %d %q: want status and id with 2xx, error with all others", res.StatusCode, text)
	}
	retry := res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusTooManyRequests
	if got := res.Header.Get("Retry-After") != ""; got != retry {
		t.Errorf("answer %d: Retry-After is there: %t, want %t", res.StatusCode, got, retry)
	}
	for name := range res.Header {
		if strings.HasPrefix(name, "Webhook-") || name == "Location" {
			t.Errorf("answer has the header %s, which a sender would act on", name)
		}
	}
	return reply{res.StatusCode, res.Header, parsed.Status, parsed.ID, parsed.Error}
}

// counted returns the value of a counter, or the count of a histogram, with
// exactly these labels, and -1 when there is none.
func (f *fixture) counted(name string, labels ...string) int {
	f.t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.t.Fatalf("gather metrics: %v", err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(got)
			if !slices.Equal(got, slices.Sorted(slices.Values(labels))) {
				continue
			}
			if h := m.GetHistogram(); h != nil {
				return int(h.GetSampleCount())
			}
			return int(m.GetCounter().GetValue())
		}
	}
	return -1
}

func (f *fixture) rejected(source string, reason Reason) int {
	f.t.Helper()
	return f.counted("persat_bridge_rejected_total", "source="+source, "reason="+string(reason))
}

// reached waits until a request has come to Accept. One that was refused on its
// way never does.
func reached(t *testing.T, entered <-chan struct{}) {
	t.Helper()
	select {
	case <-entered:
	case <-time.After(10 * time.Second):
		t.Fatal("the request did not come to Accept")
	}
}

// request is a POST to the source persat without any header.
func request(body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/webhooks/persat", strings.NewReader(body))
}

// signed is what the real sender would post.
func signed(t *testing.T, secret, id string, at time.Time, body string) *http.Request {
	t.Helper()
	h, err := Sign(secret, id, at, []byte(body))
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	r := request(body)
	r.Header = h
	return r
}
