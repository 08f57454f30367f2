package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

func pulled(id, entity string) bridge.Delivery {
	d := delivery(id, entity)
	d.Pulled = true
	d.Body = append(d.Body, ' ') // the polling endpoint serialises anew
	return d
}

func TestAcceptAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	r.accept(delivery("b", "2"), bridge.Accepted)
	unusable := delivery("c", "3")
	unusable.Unusable = "no eventType"
	got, err := r.bridge.AcceptAll(t.Context(), []bridge.Delivery{delivery("a", "1"), delivery("b", "2"), unusable, delivery("d", "1"), delivery("a", "1")})
	if err != nil {
		t.Fatal(err)
	}
	want := []bridge.Outcome{bridge.Accepted, bridge.Duplicate, bridge.Quarantined, bridge.Accepted, bridge.Duplicate}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.drained()
	var ids []string
	for _, m := range r.messages() {
		ids = append(ids, m.Header.Get("ce-id"))
	}
	if slices.Index(ids, "a") > slices.Index(ids, "d") || len(ids) != 3 {
		t.Errorf("got messages %q, want a, b and d, a before d", ids)
	}
}

// Push and pull bring one event in two serialisations. Whichever came first is the
// event, and the other is a repeat and no conflict.
func TestPulledAndPushedIsOneEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	r.accept(delivery("pushed-first", "1"), bridge.Accepted)
	r.accept(pulled("pushed-first", "1"), bridge.Duplicate)
	r.accept(pulled("pulled-first", "1"), bridge.Accepted)
	r.accept(delivery("pulled-first", "1"), bridge.Duplicate)
	again := pulled("pulled-first", "1")
	again.Body = append(again.Body, ' ')
	r.accept(again, bridge.Duplicate)
	// Two webhooks with one id and other bytes are still a conflict.
	other := delivery("pushed-first", "1")
	other.Body = append(other.Body, ' ')
	r.accept(other, bridge.Quarantined)
	r.drained()
	if got := r.messages(); len(got) != 2 || string(got[1].Data) != string(pulled("pulled-first", "1").Body) {
		t.Errorf("got %d messages, want the two that came first", len(got))
	}

	// It is the journal that knows, so a restart changes nothing.
	r.stop()
	r.open(true)
	r.accept(delivery("pulled-first", "1"), bridge.Duplicate)
	r.accept(pulled("pushed-first", "1"), bridge.Duplicate)
}

// The first of a page is not acknowledged in time. What stands behind it is on disk too,
// and counts: it is pending until it is published, and not less than nothing after that.
func TestAcceptAllCountsBehindOneThatIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.stopNATS()
	r.open(true, func(o *bridge.Options) { o.WaitForStream, o.AckTimeout = true, 10*time.Millisecond })
	page := []bridge.Delivery{delivery("a", "1"), delivery("b", "2"), delivery("c", "3")}
	if got, err := r.bridge.AcceptAll(t.Context(), page); len(got) != 0 || !errors.Is(err, bridge.ErrNotAcknowledged) {
		t.Fatalf("got %v, %v, want nothing and ErrNotAcknowledged", got, err)
	}
	if pending := r.bridge.Status(t.Context()).Pending; pending != 3 {
		t.Errorf("%d events are pending, want 3", pending)
	}
	r.startNATS()
	testwait.Eventually(t, "all are published", func() bool { return len(r.messages()) == 3 })
	if got, err := r.bridge.AcceptAll(t.Context(), page); err != nil || !slices.Equal(got, []bridge.Outcome{bridge.Duplicate, bridge.Duplicate, bridge.Duplicate}) {
		t.Errorf("got %v, %v, want three duplicates", got, err)
	}
	r.drained()
	r.stopNATS()
	if _, err := r.bridge.Accept(t.Context(), delivery("d", "1")); !errors.Is(err, bridge.ErrNotAcknowledged) {
		t.Fatal(err)
	}
	if pending := r.bridge.Status(t.Context()).Pending; pending != 1 {
		t.Errorf("%d events are pending, want 1", pending)
	}
}

func TestAcceptAllWhenDraining(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(false)
	r.bridge.Drain()
	if got, err := r.bridge.AcceptAll(t.Context(), []bridge.Delivery{delivery("a", "1")}); len(got) != 0 || !errors.Is(err, bridge.ErrStopping) {
		t.Errorf("got %v, %v, want nothing and ErrStopping", got, err)
	}
}

func TestAcceptedEventReachesTheStreamOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	d := delivery("msg_1", "48")
	d.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.accept(d, bridge.Accepted)
	r.accept(d, bridge.Duplicate)
	r.drained()
	messages := r.messages()
	if len(messages) != 1 {
		t.Fatalf("got %d messages, want 1", len(messages))
	}
	m := messages[0]
	if m.Subject != "persat.workorder.created" || string(m.Data) != string(d.Body) {
		t.Errorf("got %s %s, want the body on persat.workorder.created", m.Subject, m.Data)
	}
	want := map[string]string{
		"Nats-Msg-Id": "persat:msg_1", "ce-specversion": "1.0", "ce-id": "msg_1", "ce-type": "workorder.created", "ce-source": "/persat/persat",
		"ce-subject": "48", "ce-datacontenttype": "application/json", "Content-Type": "application/json", "traceparent": d.Traceparent,
	}
	for name, value := range want {
		if got := m.Header[name]; len(got) != 1 || got[0] != value {
			t.Errorf("header %s: got %q, want %q", name, got, value)
		}
	}
	accepted, err := time.Parse(time.RFC3339Nano, m.Header["ce-time"][0])
	if err != nil || time.Since(accepted) > time.Minute {
		t.Errorf("ce-time %v: %v", m.Header["ce-time"], err)
	}
	for name := range m.Header {
		_, wanted := want[name]
		// The server's answer to a direct get brings these along.
		added := slices.Contains([]string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"}, name)
		if !wanted && !added && name != "ce-time" {
			t.Errorf("got header %s: %q, want none such", name, m.Header[name])
		}
	}
}

func TestIDReusedForOtherBytesIsQuarantined(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true)
	r.accept(delivery("msg_1", "1"), bridge.Accepted)
	other := delivery("msg_1", "2")
	r.accept(other, bridge.Quarantined)
	r.accept(other, bridge.Duplicate)
	r.accept(delivery("msg_1", "1"), bridge.Duplicate)
	r.drained()
	if got := len(r.messages()); got != 1 {
		t.Errorf("got %d messages, want 1", got)
	}
	if dead := r.bridge.Status(t.Context()).Dead; dead != 1 {
		t.Errorf("got %d dead letters, want 1", dead)
	}
}

// accept.wait_for: stream. What is quarantined hears 202, and its repeat 503, for ever.
func TestRepeatOfAQuarantinedInStreamMode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.WaitForStream = true })
	testwait.Eventually(t, "up", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
	bad := bridge.Delivery{Source: "persat", ID: "x", Body: []byte("not JSON"), Unusable: "not JSON"}
	first, err := r.bridge.Accept(t.Context(), bad)
	again, err2 := r.bridge.Accept(t.Context(), bad)
	if first != bridge.Quarantined || err != nil || again != bridge.Duplicate || err2 != nil {
		t.Errorf("first %v %v, its repeat %v %v", first, err, again, err2)
	}
}

// accept.wait_for: stream, and the event can never be stored: that is no 2xx.
func TestWaitForStreamOfADeadLetter(t *testing.T) {
	t.Parallel()
	m := &memory{created: "1"}
	r := memoryRig(t, m, func(o *bridge.Options) { o.WaitForStream = true })
	m.set(func() {
		m.fail = func(*bridge.Event) error {
			return &bridge.Failure{Class: bridge.Rejected, Reason: "larger than max_payload"}
		}
	})
	got, err := r.bridge.Accept(t.Context(), delivery("a", "1"))
	if err == nil {
		t.Errorf("Accept says %v without an error, and JetStream has %v", got, m.stored())
	}
	got, err = r.bridge.Accept(t.Context(), delivery("a", "1"))
	if err == nil {
		t.Errorf("the repeat: Accept says %v without an error, and JetStream has %v", got, m.stored())
	}
}

// A delivery whose sender's time ran out while it was being written is on disk, and
// published; it must be counted.
func TestPendingCountsWhatTimedOut(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, dir: t.TempDir()}
	r.open(false, func(o *bridge.Options) { o.Publisher = &memory{} })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 40 {
		_, _ = r.bridge.Accept(gone, delivery(fmt.Sprintf("a%d", i), "1"))
	}
	r.accept(delivery("last", "1"), bridge.Accepted) // all before it is on disk
	n := 0
	for _, err := range r.journal.AllPending() {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if got := r.bridge.Status(t.Context()).Pending; got != n {
		t.Errorf("status says %d pending, the journal has %d", got, n)
	}
}
