package publisher

import (
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

func TestMain(m *testing.M) {
	// Most tests wait for answers that do not come: more of them may run at once
	// than there are processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// optionsFor are the options of a bridge with one source, that manages its stream.
func optionsFor(url string) Options {
	return Options{
		Connect:  ConnectOptions{URL: url},
		Stream:   StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: time.Minute},
		Prefixes: map[string]string{"persat": "persat"},
		// Attempts that must fail should do so soon.
		AckTimeout: time.Second,
	}
}

func connect(t *testing.T, o Options) bridge.Session {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, p)
}

func open(t *testing.T, p *JetStream) bridge.Session {
	t.Helper()
	s, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// event is one that can be published.
func event(id string) *bridge.Event {
	return &bridge.Event{Source: "persat", ID: id, Type: "client.created", Accepted: time.Now(), Body: []byte(`{"eventType":"client.created"}`)}
}

// publish makes one attempt and waits for its end.
func publish(t *testing.T, s bridge.Session, e *bridge.Event) (bridge.Receipt, *bridge.Failure) {
	t.Helper()
	var receipt bridge.Receipt
	var err error
	ended := make(chan struct{})
	s.Publish(e, func(r bridge.Receipt, e error) {
		receipt, err = r, e
		close(ended)
	})
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("publish %s: the attempt does not end", e.ID)
	}
	if err == nil {
		return receipt, nil
	}
	f, ok := errors.AsType[*bridge.Failure](err)
	if !ok {
		t.Fatalf("publish: got %v, which is no Failure", err)
	}
	return receipt, f
}

func mustPublish(t *testing.T, s bridge.Session, id string) bridge.Receipt {
	t.Helper()
	receipt, f := publish(t, s, event(id))
	if f != nil {
		t.Fatalf("publish %s: %v", id, f)
	}
	return receipt
}

// makeStream makes a stream as somebody else than the bridge.
func makeStream(t *testing.T, js jetstream.JetStream, c jetstream.StreamConfig) {
	t.Helper()
	natstest.CreateStream(t, js, c)
}

// ended waits for the end of a session.
func ended(t *testing.T, s bridge.Session) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the session does not end")
	}
}
