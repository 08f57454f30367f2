package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// world is a NATS server with the bridge's stream, and a view of it.
type world struct {
	t       *testing.T
	url     string
	js      jetstream.JetStream
	session bridge.Session
	clock   time.Time
	n       int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	n := natstest.Start(t, "")
	w := &world{t: t, url: n.URL, js: n.JetStream(), clock: time.Date(2024, 2, 12, 12, 0, 0, 0, time.UTC)}
	w.connect()
	return w
}

// connect opens a session of the bridge's own publisher, which creates the stream.
func (w *world) connect() {
	w.t.Helper()
	p, err := publisher.New(publisher.Options{
		Connect:  publisher.ConnectOptions{URL: w.url},
		Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true, Replicas: 1, DuplicateWindow: time.Hour},
		Prefixes: map[string]string{"persat": "persat"},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.session, err = p.Connect(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.session.Close)
}

// publish publishes an event, each a minute after the one before.
func (w *world) publish(eventType, payload string) *bridge.Event {
	w.t.Helper()
	w.n++
	w.clock = w.clock.Add(time.Minute)
	body := []byte(`{"eventType":"` + eventType + `","payload":` + payload + `}`)
	envelope, err := persat.ReadEnvelope(body)
	if err != nil {
		w.t.Fatal(err)
	}
	e := &bridge.Event{Source: "persat", ID: fmt.Sprintf("msg_%d", w.n), Type: eventType, Entities: envelope.Entities, Accepted: w.clock, Body: body}
	w.send(e)
	return e
}

func (w *world) send(e *bridge.Event) {
	w.t.Helper()
	ended := make(chan error, 1)
	w.session.Publish(e, func(_ bridge.Receipt, err error) { ended <- err })
	if err := <-ended; err != nil {
		w.t.Fatal(err)
	}
}

// lines is where a log goes, line by line.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// Once it says that it is up to date, the entities are there to be asked for.
func TestSaysWhenUpToDate(t *testing.T) {
	w := newWorld(t)
	for range 300 {
		w.publish("workorder.updated", `{"_id":"47"}`)
	}
	w.publish("workorder.updated", `{"_id":"48"}`)
	ctx, stop := context.WithCancel(t.Context())
	said, end := make(lines, 100), make(chan error, 1)
	go func() {
		end <- run(ctx, slog.New(slog.NewTextHandler(said, nil)), options{url: w.url, stream: "PERSAT", filter: "persat.>", bucket: "PERSAT_LATEST", durable: "latest"})
	}()
	for line := range said {
		if strings.Contains(line, "the view is up to date") {
			break
		}
	}
	bucket, err := w.js.KeyValue(ctx, "PERSAT_LATEST")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Get(ctx, "persat.workorder.48"); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-end; err != nil {
		t.Error(err)
	}
}

// run runs the view until it has seen all of the stream.
func (w *world) run(durable string) {
	w.t.Helper()
	stream, err := w.js.Stream(w.t.Context(), "PERSAT")
	if err != nil {
		w.t.Fatal(err)
	}
	last := stream.CachedInfo().State.LastSeq
	ctx, stop := context.WithCancel(w.t.Context())
	end := make(chan error, 1)
	go func() {
		end <- run(ctx, slog.New(slog.DiscardHandler), options{url: w.url, stream: "PERSAT", filter: "persat.>", bucket: "PERSAT_LATEST", durable: durable})
	}()
	testwait.Eventually(w.t, "the view gets to the end", func() bool {
		consumer, err := w.js.Consumer(ctx, "PERSAT", durable)
		return err == nil && consumer.CachedInfo().AckFloor.Stream >= last
	})
	stop()
	if err := <-end; err != nil {
		w.t.Fatal(err)
	}
}

// values are those of the bucket, in short: the sequence, and "gone" or the
// snapshot.
func (w *world) values() map[string]string {
	w.t.Helper()
	bucket, err := w.js.KeyValue(w.t.Context(), "PERSAT_LATEST")
	if err != nil {
		w.t.Fatal(err)
	}
	keys, err := bucket.Keys(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	values := make(map[string]string)
	for _, key := range keys {
		entry, err := bucket.Get(w.t.Context(), key)
		if err != nil {
			w.t.Fatal(err)
		}
		var l latest
		if err := json.Unmarshal(entry.Value(), &l); err != nil {
			w.t.Fatal(err)
		}
		text := string(l.Snapshot)
		if l.Deleted {
			if text != "null" {
				w.t.Errorf("%s is deleted and has a snapshot", key)
			}
			text = "gone"
		}
		values[key] = fmt.Sprintf("%d %s", l.Sequence, text)
	}
	return values
}

func TestView(t *testing.T) {
	w := newWorld(t)
	first := w.publish("workorder.created", `{"_id":"48","state":"PENDIENTE"}`)
	w.publish("client.created", `{"uid_client":"Ferretería Ñandú 5%"}`)
	w.publish("workorder.finished", `{"_id":"48","state":"INFORME"}`)
	w.publish("delivery.created", `[{"_id":"D.1"},{"_id":"D 2"},{"_id":"D*3"},{}]`)
	w.publish("delivery.deleted", `[{"_id":"D.1"},{"_id":"D*3"}]`)
	w.publish("client.deleted", `{"uid_client":"Ferretería Ñandú 5%"}`)
	w.publish("deliveryRoute.assigned", `{"_id":1707684808389}`)
	w.publish("visita.nueva", `{"_id":"v"}`)
	w.publish("form.created", `[7]`)
	if _, err := w.js.Publish(t.Context(), "persat.by.hand", []byte("not JSON")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"persat.workorder.48": `3 {"_id":"48","state":"INFORME"}`,
		"persat.client.Ferreter=C3=ADa=20=C3=91and=C3=BA=205=25": "6 gone",
		"persat.delivery.D=2E1":                                  "5 gone",
		"persat.delivery.D=202":                                  `4 {"_id":"D 2"}`,
		"persat.delivery.D=2A3":                                  "5 gone",
		"persat.deliveryRoute.1707684808389":                     `7 {"_id":1707684808389}`,
		"persat.visita.v":                                        `8 {"_id":"v"}`,
	}
	check := func(when string) {
		t.Helper()
		if got := w.values(); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", when, got, want)
		}
	}
	w.run("latest")
	check("at first")

	// A consumer that begins again brings every message again: the old ones, and
	// the creation of what is deleted, come late.
	w.run("again")
	check("all messages again")

	// A replay has a new sequence and an old snapshot.
	first.Replay = 1
	w.send(first)
	w.run("latest")
	check("after a replay")

	// What was lost from the bucket, a replay does bring back.
	bucket, err := w.js.KeyValue(t.Context(), "PERSAT_LATEST")
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Delete(t.Context(), "persat.workorder.48"); err != nil {
		t.Fatal(err)
	}
	first.Replay = 2
	w.send(first)
	want["persat.workorder.48"] = `12 {"_id":"48","state":"PENDIENTE"}`
	w.run("latest")
	check("a replay into a gap")

	w.publish("client.created", `{"uid_client":"Ferretería Ñandú 5%","n":2}`)
	want["persat.client.Ferreter=C3=ADa=20=C3=91and=C3=BA=205=25"] = `13 {"uid_client":"Ferretería Ñandú 5%","n":2}`
	w.run("latest")
	check("made anew")

	if w.js.DeleteKeyValue(t.Context(), "PERSAT_LATEST") != nil {
		t.Fatal("cannot delete the bucket")
	}
	w.run("from-scratch")
	want["persat.workorder.48"] = `3 {"_id":"48","state":"INFORME"}`
	check("built anew")
}

// late is a message that comes when it comes.
type late struct {
	jetstream.Msg
	sequence uint64
	body     string
}

func (m *late) Data() []byte         { return []byte(m.body) }
func (m *late) Headers() nats.Header { return nats.Header{"ce-source": {"/persat/persat"}} }
func (m *late) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: m.sequence}}, nil
}

// A message that is delivered again after newer ones changes nothing: neither a
// snapshot, nor a deletion.
func TestLate(t *testing.T) {
	w := newWorld(t)
	bucket, err := openBucket(t.Context(), w.js, "PERSAT_LATEST")
	if err != nil {
		t.Fatal(err)
	}
	v := &view{bucket: bucket}
	for _, m := range []*late{
		{sequence: 5, body: `{"eventType":"client.updated","payload":{"uid_client":"C","n":5}}`},
		{sequence: 3, body: `{"eventType":"client.updated","payload":{"uid_client":"C","n":3}}`},
		{sequence: 4, body: `{"eventType":"client.deleted","payload":{"uid_client":"C"}}`},
		{sequence: 9, body: `{"eventType":"client.deleted","payload":{"uid_client":"D"}}`},
		{sequence: 8, body: `{"eventType":"client.updated","payload":{"uid_client":"D"}}`},
	} {
		if err := v.apply(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"persat.client.C": `5 {"uid_client":"C","n":5}`, "persat.client.D": "9 gone"}
	if got := w.values(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// contested is a bucket in which somebody writes between a read and the write
// that follows it.
type contested struct {
	jetstream.KeyValue
	between func()
}

func (c *contested) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	entry, err := c.KeyValue.Get(ctx, key)
	if f := c.between; f != nil {
		c.between = nil
		f()
	}
	return entry, err
}

func TestContested(t *testing.T) {
	w := newWorld(t)
	bucket, err := openBucket(t.Context(), w.js, "PERSAT_LATEST")
	if err != nil {
		t.Fatal(err)
	}
	snapshot := func(sequence uint64) *late {
		return &late{sequence: sequence, body: fmt.Sprintf(`{"eventType":"client.updated","payload":{"uid_client":"C","n":%d}}`, sequence)}
	}
	write := func(b jetstream.KeyValue, sequence uint64) {
		t.Helper()
		if err := (&view{bucket: b}).apply(t.Context(), snapshot(sequence)); err != nil {
			t.Fatal(err)
		}
	}
	for first := range uint64(2) { // the key is missing, the key is there
		at := 10*first + 1
		write(&contested{bucket, func() { write(bucket, at+2) }}, at+1)
		if got, want := w.values()["persat.client.C"], fmt.Sprintf(`%d {"uid_client":"C","n":%d}`, at+2, at+2); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestKey(t *testing.T) {
	long := strings.Repeat("ñ", 1000)
	seen := map[string]string{}
	for _, entity := range []string{"48", "4.8", "4=8", "4=3D8", " ", ".", "*", ">", "a/b", long, long + "x", "ñ"} {
		k := key("persat", "workorder.closed", entity)
		if strings.Trim(k, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=.") != "" || strings.Count(k, ".") != 2 || len(k) > 300 {
			t.Errorf("%q: got %q, which is no key", entity, k)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q have the same key", entity, other)
		}
		seen[k] = entity
	}
}

// Two views at work on one bucket end with the newest value all the same.
func TestConcurrentViews(t *testing.T) {
	w := newWorld(t)
	const events = 300
	for n := range events {
		w.publish("workorder.updated", fmt.Sprintf(`{"_id":"%d","n":%d}`, n%3, n))
	}
	end := make(chan struct{})
	go func() { defer close(end); w.run("one") }()
	w.run("two")
	<-end
	want := map[string]string{}
	for n := events - 3; n < events; n++ {
		want[fmt.Sprintf("persat.workorder.%d", n%3)] = fmt.Sprintf(`%d {"_id":"%d","n":%d}`, n+1, n%3, n)
	}
	if got := w.values(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The sequences of a stream that was recreated begin at 1 again. The view took its events
// for old ones, and showed for ever how things had been.
func TestStreamIsRecreated(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.publish("workorder.updated", `{"_id":"47","n":1}`)
	}
	filled := w.publish("workorder.updated", `{"_id":"48","n":1}`)
	w.publish("workorder.updated", `{"_id":"48","n":2}`)
	w.run("before")
	stream, err := w.js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.js.DeleteStream(t.Context(), "PERSAT"); err != nil {
		t.Fatal(err)
	}
	natstest.CreateStream(t, w.js, stream.CachedInfo().Config)
	w.connect()
	w.send(filled) // what the bridge fills it with is older than the bucket
	w.publish("workorder.updated", `{"_id":"47","n":2}`)
	w.run("after")
	want := map[string]string{"persat.workorder.47": `2 {"_id":"47","n":2}`, "persat.workorder.48": `5 {"_id":"48","n":2}`}
	if got := w.values(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
