package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// tailing is 'persat-bridge tail' at work in this process.
type tailing struct {
	t      *testing.T
	cancel context.CancelFunc
	end    chan int

	stdout, stderr testproc.Output
}

func (g *tailing) lines() []string {
	return slices.Collect(strings.Lines(g.stdout.String()))
}

// startTail runs it against a server until the test or stop ends it.
func startTail(t *testing.T, natsURL string, args ...string) *tailing {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	g := &tailing{t: t, cancel: cancel, end: make(chan int, 1)}
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := "sources: {persat: {}, north: {subject_prefix: norte}, east: {subject_prefix: este, subject: entity}}\nnats: {url: " + natsURL + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		g.end <- run(ctx, append([]string{"tail", "-c", file}, args...), nil, strings.NewReader(""), &g.stdout, &g.stderr)
	}()
	return g
}

// waitFor returns the lines when there are n.
func (g *tailing) waitFor(n int) []string {
	g.t.Helper()
	testwait.Eventually(g.t, fmt.Sprintf("%d lines of tail", n), func() bool { return len(g.lines()) >= n })
	return g.lines()
}

func (g *tailing) stop() {
	g.t.Helper()
	g.cancel()
	if code := <-g.end; code != exitDone {
		g.t.Errorf("exit code %d, want 0: %s", code, g.stderr.String())
	}
}

// publish publishes events as the bridge does.
func publish(t *testing.T, natsURL string, events ...*bridge.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p, err := publisher.New(publisher.Options{
		Connect:      publisher.ConnectOptions{URL: natsURL},
		Stream:       publisher.StreamOptions{Name: "PERSAT", Manage: true, Replicas: 1, DuplicateWindow: time.Hour},
		Prefixes:     map[string]string{"persat": "persat", "north": "norte", "east": "este"},
		EntityTokens: map[string]func([]string) string{"east": persat.SubjectToken},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		store(ctx, t, p, e)
	}
}

// store publishes as the bridge does, with another session while the event is held: a stream that
// was just deleted cannot be created at once (natstest.CreateStream).
func store(ctx context.Context, t *testing.T, p *publisher.JetStream, e *bridge.Event) {
	t.Helper()
	for {
		session, err := p.Connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = publishOne(session, e)
		session.Close()
		var failure *bridge.Failure
		switch {
		case err == nil:
			return
		case ctx.Err() != nil, !errors.As(err, &failure), failure.Class != bridge.Held:
			t.Fatal(err)
		}
	}
}

// publishOne makes one attempt and waits for its end.
func publishOne(s bridge.Session, e *bridge.Event) (receipt bridge.Receipt, err error) {
	ended := make(chan struct{})
	s.Publish(e, func(r bridge.Receipt, e error) {
		receipt, err = r, e
		close(ended)
	})
	<-ended
	return receipt, err
}

func event(source, id, eventType, payload string, entities ...string) *bridge.Event {
	return &bridge.Event{
		Source: source, ID: id, Type: eventType, Entities: entities, Accepted: time.Now().Add(-1500 * time.Millisecond),
		Body: []byte(`{"eventType":"` + eventType + `","payload":` + payload + `}`),
	}
}

func TestTail(t *testing.T) {
	n := natstest.StartChild(t, "")
	publish(t, n.URL,
		event("persat", "a", "workorder.closed", `{"_id":"48","state":"CERRADA_OK"}`, "48"),
		event("persat", "b", "client.updated", `{"uid_client":"Ferretería Ñandú 5%"}`, "Ferretería Ñandú 5%"),
		event("north", "c", "delivery.deleted", `[{"_id":"D-1","state":"PENDING"},{"_id":"D-2","state":"PENDING"},{"_id":"D-3","state":"PENDING"}]`, "D-1", "D-2", "D-3"),
		event("persat", "d", "workorder.created", "{\"_id\":\"\\u001b[31mred\",\"state\":\"PENDIENTE\"}", "\x1b[31mred"),
		event("persat", "e", "form.created", `{"_id":"f1","state":{"name":"Nuevo"}}`, "f1"),
		event("persat", "f", "delivery.deleted", `[{"_id":"D-4","state":"PENDING"},{"_id":"D-5","state":"ASSIGNED"}]`, "D-4", "D-5"),
	)
	nc, err := nats.Connect(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("persat.by.hand", []byte("not JSON")); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}

	t.Run("for people", func(t *testing.T) {
		g := startTail(t, n.URL, "--since", "1h")
		lines := g.waitFor(7)
		g.stop()
		for i, want := range [][]string{
			{"persat.workorder.closed", "48", "CERRADA_OK", "15"},
			{"persat.client.updated", "Ferretería Ñandú 5%"},
			{"norte.delivery.deleted", "D-1 +2", "PENDING"},
			{"persat.workorder.created", "�[31mred", "PENDIENTE"},
			{"persat.form.created", "f1", "Nuevo"},
			{"persat.delivery.deleted", "D-4 +1"},
			{"persat.by.hand", " -"},
		} {
			for _, part := range want {
				if !strings.Contains(lines[i], part) {
					t.Errorf("line %q: no %q", lines[i], part)
				}
			}
		}
		if strings.Contains(lines[5], "PENDING") || strings.Contains(strings.Join(lines, ""), "\x1b") {
			t.Errorf("got %q: a state that not all have, or an escape", lines)
		}
	})

	filters := []struct {
		name string
		args []string
		want []string // sequences
	}{
		{"a type", []string{"--type", "workorder.closed"}, []string{"1"}},
		{"a pattern over both sources", []string{"--type", "delivery.*"}, []string{"3", "6"}},
		{"patterns that overlap", []string{"--type", "workorder.>", "--type", "*.created"}, []string{"1", "4", "5"}},
		{"a type under a subject", []string{"--type", "delivery.deleted", "--subject", "norte.>"}, []string{"3"}},
		{"a subject", []string{"--subject", "persat.*.*"}, []string{"1", "2", "4", "5", "6", "7"}},
		{"an entity, decoded", []string{"--entity", "Ferretería Ñandú 5%"}, []string{"2"}},
		{"an entity of a bulk event, or another", []string{"--entity", "D-2", "--entity", "48"}, []string{"1", "3"}},
		{"an entity of that type alone", []string{"--entity", "48", "--type", "client.*", "--entity", "f1", "--type", "form.created"}, []string{"5"}},
	}
	for _, tt := range filters {
		t.Run(tt.name, func(t *testing.T) { tailSequences(t, n.URL, tt.args, tt.want) })
	}

	t.Run("as JSON", func(t *testing.T) {
		g := startTail(t, n.URL, "--since", "1h", "--json")
		lines := g.waitFor(7)
		g.stop()
		var bulk, strange tailed
		for i, m := range map[int]*tailed{2: &bulk, 6: &strange} {
			if err := json.Unmarshal([]byte(lines[i]), m); err != nil {
				t.Fatal(err)
			}
		}
		if bulk.Type != "delivery.deleted" || !slices.Equal(bulk.Entities, []string{"D-1", "D-2", "D-3"}) || bulk.State != "PENDING" || bulk.LatencyMS == nil || *bulk.LatencyMS < 1400 || bulk.Headers["ce-source"] != "/persat/north" {
			t.Errorf("got %#v", bulk)
		}
		if string(strange.Data) != `"not JSON"` || strange.LatencyMS != nil || len(strange.Entities) != 0 {
			t.Errorf("got %#v", strange)
		}
	})
}

// tailSequences holds what tail shows of the last hour to these sequences.
func tailSequences(t *testing.T, natsURL string, args, want []string) {
	t.Helper()
	g := startTail(t, natsURL, append(args, "--since", time.Now().Add(-time.Hour).Format(time.RFC3339), "--json")...)
	g.waitFor(len(want))
	time.Sleep(100 * time.Millisecond) // for what should not come
	lines := g.lines()
	g.stop()
	var got []string
	for _, line := range lines {
		var m tailed
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		got = append(got, fmt.Sprint(m.Sequence))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Of a source whose subjects have the entity the filters show the same events as of the
// others, also those from before its subjects had it.
func TestTailByEntity(t *testing.T) {
	n := natstest.Start(t, "")
	js := n.JetStream()
	publish(t, n.URL,
		event("east", "a", "workorder.closed", `{"_id":"48"}`, "48"),
		event("persat", "b", "workorder.closed", `{"_id":"48"}`, "48"),
		event("east", "c", "workorder.closed", `{"_id":"a.b *"}`, "a.b *"),
		event("east", "d", "delivery.deleted", `[{"_id":"48"},{"_id":"49"}]`, "48", "49"),
		event("east", "e", "workorder.created", `{}`),
	)
	old := nats.NewMsg("este.workorder.closed")
	old.Data = []byte(`{"eventType":"workorder.closed","payload":{"_id":"48"}}`)
	if _, err := js.PublishMsg(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"este.workorder.closed.48", "persat.workorder.closed", "este.workorder.closed.a%2Eb%20%2A", "este.delivery.deleted.~many", "este.workorder.created.~none", "este.workorder.closed"} {
		m, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != want {
			t.Errorf("message %d: got subject %s, want %s", i+1, m.Subject, want)
		}
	}
	for _, tt := range []struct {
		name string
		args []string
		want []string // sequences
	}{
		{"a type", []string{"--type", "workorder.closed"}, []string{"1", "2", "3", "6"}},
		{"a pattern", []string{"--type", "workorder.*"}, []string{"1", "2", "3", "5", "6"}},
		{"an entity", []string{"--entity", "48"}, []string{"1", "2", "4", "6"}},
		{"an entity of a type", []string{"--type", "workorder.closed", "--entity", "48"}, []string{"1", "2", "6"}},
		{"an entity of a bulk event", []string{"--type", "delivery.*", "--entity", "49"}, []string{"4"}},
		{"an entity of any characters", []string{"--type", "workorder.closed", "--entity", "a.b *"}, []string{"3"}},
		{"a subject", []string{"--subject", "este.*.*.48"}, []string{"1"}},
	} {
		t.Run(tt.name, func(t *testing.T) { tailSequences(t, n.URL, tt.args, tt.want) })
	}
}

// Without --since it begins now, and a restart of NATS is only a pause.
func TestTailFollows(t *testing.T) {
	n := natstest.StartChild(t, "")
	publish(t, n.URL, event("persat", "before", "workorder.created", `{"_id":"before"}`, "before"))
	g := startTail(t, n.URL)
	sent := 0
	send := func() string {
		sent++
		id := fmt.Sprintf("WO-%d", sent)
		publish(t, n.URL, event("persat", id, "workorder.created", `{"_id":"`+id+`"}`, id))
		return id
	}
	follow := func() {
		t.Helper()
		testwait.Eventually(t, "an event that is published while tail follows", func() bool {
			id := send()
			time.Sleep(50 * time.Millisecond)
			return strings.Contains(strings.Join(g.lines(), "\n"), " "+id+" ")
		})
	}
	follow()
	n.Kill()
	n.Run()
	follow()
	if said := g.stderr.String(); !strings.Contains(said, "NATS is away; waiting for it\nNATS is back\n") {
		t.Errorf("of the restart it said %q", said)
	}
	g.stop()
	if all := strings.Join(g.lines(), "\n"); strings.Contains(all, "before") {
		t.Errorf("it did not begin now:\n%s", all)
	}
}

// A recreated stream begins at sequence 1 again: tail went on behind the last sequence that it
// had seen, and skipped what came before.
func TestTailFollowsARecreatedStream(t *testing.T) {
	for name, recreate := range map[string]func(*natstest.Server){
		"with an empty store": func(n *natstest.Server) { n.Stop(); n.WipeStore(); n.Run() },
		"behind a connection that stays up": func(n *natstest.Server) {
			if err := n.JetStream().DeleteStream(t.Context(), "PERSAT"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := natstest.Start(t, "")
			for i := range 5 {
				publish(t, n.URL, event("persat", fmt.Sprint("before_", i), "workorder.created", `{"_id":"before"}`, "before"))
			}
			g := startTail(t, n.URL, "--since", "1h")
			g.waitFor(5)
			recreate(n)
			publish(t, n.URL, event("persat", "after", "workorder.created", `{"_id":"after"}`, "after"))
			if lines := g.waitFor(6); !strings.Contains(lines[5], " after ") {
				t.Errorf("got %q", lines[5])
			}
			if said := g.stderr.String(); !strings.Contains(said, "the stream was recreated") {
				t.Errorf("it said %q", said)
			}
			g.stop()
		})
	}
}

// It says what it waits for, doubts what cannot come, and leaves nothing behind on the
// server.
func TestTailSaysWhatItFollows(t *testing.T) {
	n := natstest.StartChild(t, "")
	publish(t, n.URL, event("persat", "a", "workorder.closed", `{"_id":"48"}`, "48"))
	for _, tt := range []struct {
		args []string
		want []string // lines of stderr, by their beginning and end
	}{
		{nil, []string{"following PERSAT at " + n.URL + ": all events |from now on; Ctrl-C ends"}},
		{[]string{"--type", "workorder.*", "--entity", "48", "--since", "1999-12-31"}, []string{"following |: only type workorder.*, entity 48 since 1999-12-31 00:00:00; Ctrl-C ends"}},
		{[]string{"--subject", "foo.>"}, []string{"following |; Ctrl-C ends", "warning: --subject foo.>: stream PERSAT has no such subject, but |: nothing will come"}},
		{[]string{"--type", "persat.workorder.*"}, []string{"following |; Ctrl-C ends", "warning: --type persat.workorder.*: |did you mean --type 'workorder.*', or --subject 'persat.workorder.*'?"}},
		{[]string{"--type", "wokorder.>"}, []string{"following |; Ctrl-C ends", "warning: --type wokorder.>: no known event type is like that; |known"}},
	} {
		g := startTail(t, n.URL, tt.args...)
		testwait.Eventually(t, "what is followed", func() bool { return strings.Count(g.stderr.String(), "\n") >= len(tt.want) })
		g.stop()
		got := strings.Split(strings.TrimSuffix(g.stderr.String(), "\n"), "\n")
		if len(got) != len(tt.want) {
			t.Errorf("%q: got %q, want %d lines", tt.args, got, len(tt.want))
			continue
		}
		for i, want := range tt.want {
			begins, ends, _ := strings.Cut(want, "|")
			if !strings.HasPrefix(got[i], begins) || !strings.HasSuffix(got[i], ends) {
				t.Errorf("%q: got %q, want %q … %q", tt.args, got[i], begins, ends)
			}
		}
	}
	js := natstest.JetStream(t, n.URL)
	defer js.Conn().Close()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(t.Context()).Name() {
		t.Errorf("the consumer %s was left behind", name)
	}
}

func TestTailMistakes(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"--since", "yesterday", `persat-bridge: --since: "yesterday" is no time: write it like ` + timesRead + "\n"},
		{"--since", "-10m", `persat-bridge: --since: "-10m" is no time: write it like ` + timesRead + "\n"},
		{"--type", "work order", `persat-bridge: --type: "work order" is no event type and no pattern of one, as in 'workorder.*'` + "\n"},
		{"--subject", "persat..x", `persat-bridge: --subject: "persat..x" is no subject` + "\n"},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"tail", tt.flag, tt.value}, nil, strings.NewReader(""), io.Discard, &stderr)
		if code != exitUsage || stderr.String() != tt.want {
			t.Errorf("%s %s: got exit code %d, %q, want 2, %q", tt.flag, tt.value, code, stderr.String(), tt.want)
		}
	}
}
