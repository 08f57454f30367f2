package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// collected is what a test wants to know of a span.
type collected struct {
	name, trace, id, parent, service string
	start, end                       time.Time
	attributes                       map[string]string
}

// otlp is an OTLP receiver.
type otlp struct {
	url string

	mu    sync.Mutex
	spans []collected
}

func newOTLP(t *testing.T) *otlp {
	o := new(otlp)
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		request := new(collector.ExportTraceServiceRequest)
		if err == nil {
			err = proto.Unmarshal(body, request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("OTLP: %s %v", r.URL.Path, err)
		}
		o.add(request)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(hs.Close)
	o.url = hs.URL
	return o
}

func (o *otlp) add(request *collector.ExportTraceServiceRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		service := ""
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c := collected{name: s.GetName(), service: service, trace: hex.EncodeToString(s.GetTraceId()), id: hex.EncodeToString(s.GetSpanId()),
					parent: hex.EncodeToString(s.GetParentSpanId()), start: time.Unix(0, int64(s.GetStartTimeUnixNano())), end: time.Unix(0, int64(s.GetEndTimeUnixNano())),
					attributes: make(map[string]string)}
				for _, a := range s.GetAttributes() {
					c.attributes[a.GetKey()] = a.GetValue().GetStringValue()
				}
				o.spans = append(o.spans, c)
			}
		}
	}
}

// find waits for the span of that name, of a trace or of an event.
func (o *otlp) find(t *testing.T, name, of string) collected {
	t.Helper()
	var found collected
	testwait.Eventually(t, "span "+name, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		i := slices.IndexFunc(o.spans, func(s collected) bool {
			return s.name == name && (s.trace == of || s.attributes["persat.event_id"] == of)
		})
		if i >= 0 {
			found = o.spans[i]
		}
		return i >= 0
	})
	return found
}

const senderTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func (b *bridgeProcess) postTraced(traceparent string) string {
	b.t.Helper()
	body, err := persat.Sample("workorder.created", "")
	if err != nil {
		b.t.Fatal(err)
	}
	s := signed(b.t, testSecret, newDeliveryID(), time.Now(), string(body))
	if traceparent != "" {
		s.header.Set("traceparent", traceparent)
	}
	if code, a := s.post(b.t, b.url); code != http.StatusAccepted {
		b.t.Fatalf("post: %d %s", code, a.Error)
	}
	return s.id
}

// next is the message of a delivery.
func nextMessage(t *testing.T, messages chan *nats.Msg, delivery string) *nats.Msg {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		select {
		case m := <-messages:
			if m.Header["ce-id"][0] == delivery {
				return m
			}
		case <-deadline:
			t.Fatalf("no message of %s", delivery)
		}
	}
}

func subscribe(t *testing.T, url string) chan *nats.Msg {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	messages := make(chan *nats.Msg, 64)
	if _, err := nc.ChanSubscribe("persat.>", messages); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return messages
}

// TestTraceAcrossRestart is an event that is accepted while NATS is away, and
// published by the next process of the bridge: one trace, from the sender's span
// to the consumer's.
func TestTraceAcrossRestart(t *testing.T) {
	t.Parallel()
	o := newOTLP(t)
	n := natstest.NewChild(t, "")
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL, "PERSAT_BRIDGE_TRACING_ENABLED=true",
		"OTEL_EXPORTER_OTLP_ENDPOINT="+o.url, "OTEL_BSP_SCHEDULE_DELAY=50")
	b.Start()
	id := b.postTraced(senderTrace)
	if code := b.Stop(); code != 0 {
		t.Fatalf("persat-bridge ended with %d", code)
	}
	waited := time.Now()
	n.Run()
	messages := subscribe(t, n.URL)
	b.Start()
	message := nextMessage(t, messages, id)

	traceID, senderSpan := senderTrace[3:35], senderTrace[36:52]
	receive, journal, publish := o.find(t, "receive", traceID), o.find(t, "journal", traceID), o.find(t, "publish", traceID)
	if receive.attributes["persat.event_id"] != id || publish.attributes["messaging.message.id"] != "persat:"+id {
		t.Errorf("got spans of %v and %v, want of %s", receive.attributes, publish.attributes, id)
	}
	for _, test := range []struct {
		span   collected
		parent string
	}{{receive, senderSpan}, {journal, receive.id}, {publish, receive.id}} {
		if test.span.trace != traceID || test.span.parent != test.parent || test.span.service != "persat-bridge" {
			t.Errorf("%s: got trace %s, parent %s, service %s; want %s, %s, persat-bridge", test.span.name, test.span.trace, test.span.parent, test.span.service, traceID, test.parent)
		}
	}
	if !journal.end.Before(waited) || !publish.start.After(waited) || journal.start.Before(receive.start) || receive.end.Before(journal.end) {
		t.Errorf("the spans are not one after the other: receive %v–%v, journal %v–%v, restart %v, publish %v", receive.start, receive.end, journal.start, journal.end, waited, publish.start)
	}
	// A consumer of any language goes on from what the message carries.
	sc := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": message.Header["traceparent"][0]}))
	if sc.TraceID().String() != traceID || sc.SpanID().String() != publish.id || !sc.IsSampled() {
		t.Errorf("the message carries %q, want the context of the publish span %s", message.Header["traceparent"], publish.id)
	}

	// Who sends no trace gets one.
	id = b.postTraced("")
	if receive := o.find(t, "receive", id); receive.parent != "" || receive.trace == traceID {
		t.Errorf("without a traceparent: got trace %s, parent %q; want a new one", receive.trace, receive.parent)
	}
	// Who says that his is not sampled is not sampled here, and his trace goes on.
	id = b.postTraced(strings.TrimSuffix(senderTrace, "01") + "00")
	if got := nextMessage(t, messages, id).Header["traceparent"][0]; !strings.HasPrefix(got, "00-"+traceID) || !strings.HasSuffix(got, "-00") {
		t.Errorf("not sampled: the message carries %q", got)
	}
}

// TestTraceOff: without tracing the sender's context passes as it came.
func TestTraceOff(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t)
	b.Start()
	messages := subscribe(t, b.nats)
	id := b.postTraced(senderTrace)
	if got := nextMessage(t, messages, id).Header["traceparent"]; len(got) != 1 || got[0] != senderTrace {
		t.Errorf("the message carries %q, want %q", got, senderTrace)
	}
}

// TestTraceCollectorAway: a collector that is not there costs no event, and a line.
func TestTraceCollectorAway(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t, "PERSAT_BRIDGE_TRACING_ENABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1",
		"OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_BSP_EXPORT_TIMEOUT=100", "OTEL_EXPORTER_OTLP_TIMEOUT=100")
	b.Start()
	for range 5 {
		b.postTraced("")
		time.Sleep(50 * time.Millisecond)
	}
	testwait.Eventually(t, "the line", func() bool { return strings.Contains(b.Output.String(), "spans could not be sent") })
	if code := b.Stop(); code != 0 {
		t.Errorf("persat-bridge ended with %d", code)
	}
	if n := strings.Count(b.Output.String(), "events are not touched"); n != 1 {
		t.Errorf("%d lines about the collector, want one", n)
	}
}

func TestTraceVariables(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"OTEL_TRACES_EXPORTER=zipkin", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"} {
		b := newBridgeProcess(t, "PERSAT_BRIDGE_TRACING_ENABLED=true", variable)
		b.Launch()
		name, _, _ := strings.Cut(variable, "=")
		if code := b.Wait(); code != 1 || !strings.Contains(b.Output.String(), name) {
			t.Errorf("%s: ended with %d and said %q; want 1 and the variable's name", variable, code, b.Output.String())
		}
	}
}

// A malformed OTEL_RESOURCE_ATTRIBUTES kept the bridge from starting.
func TestMalformedResourceAttributes(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "nonsense,deployment.environment=prod")
	seen, lines := observer.New(zap.WarnLevel)
	provider, err := startTracing(t.Context(), zap.New(seen))
	if err != nil {
		t.Fatal(err)
	}
	if provider == nil || lines.FilterMessageSnippet("OTEL_RESOURCE_ATTRIBUTES").Len() != 1 {
		t.Errorf("got provider %v and lines %v", provider, lines.All())
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
