package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// With the entity in the subject NATS has the last event of an entity, filters one, and
// erases one: docs/consuming.md. What was erased stays away, other entities keep all of
// theirs, and the journal keeps its copy until retention.
func TestConsumingByEntity(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_SOURCES_PERSAT_SUBJECT=entity")
	b.Start()
	entities := []string{"48", "49", "Ñandú *.> 5%"}
	for i := range 12 {
		entity := entities[i%len(entities)]
		b.post(fmt.Sprint("msg_", i), eventBody([]string{"workorder.created", "workorder.closed"}[i/6], entity, fmt.Sprint("note ", i)))
	}
	b.drained()
	ctx := t.Context()
	js := natstest.JetStream(t, n.URL)
	stream, err := js.Stream(ctx, "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	of := func(entity string) (ids []string) {
		t.Helper()
		for _, m := range readStream(t, n.URL) {
			if strings.Contains(string(m.data), fmt.Sprintf(`"_id":%q`, entity)) {
				ids = append(ids, m.id)
			}
		}
		return ids
	}

	for i, entity := range entities {
		token := persat.SubjectToken([]string{entity})
		last, err := stream.GetLastMsgForSubject(ctx, "persat.workorder.closed."+token)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := last.Header.Get("ce-id"), fmt.Sprint("msg_", 9+i); got != want {
			t.Errorf("the last event of %s: got %s, want %s", entity, got, want)
		}
		c, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{FilterSubject: "persat.*.*." + token})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.CachedInfo().NumPending; got != 4 {
			t.Errorf("the filter of %s: got %d events, want 4", entity, got)
		}
	}

	before := of("49")
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject("persat.*.*.48")); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	b.Start()
	b.post("msg_after", eventBody("workorder.closed", "49", "after"))
	b.drained()
	if got := of("48"); len(got) > 0 {
		t.Errorf("erased events are back: %q", got)
	}
	if got, want := of("49"), append(before, "persat:msg_after"); !slices.Equal(got, want) {
		t.Errorf("another entity: got %q, want %q", got, want)
	}
	if healed := b.metric("persat_bridge_healed_events_total"); healed != 0 {
		t.Errorf("%v events were healed, want 0", healed)
	}
	b.Stop()
	code, dumped, _ := b.tool("journal", "dump")
	if code != 0 || !strings.Contains(dumped, "msg_0") {
		t.Errorf("journal dump: exit code %d, want the erased events, which the journal keeps until retention:\n%s", code, dumped)
	}
}

// The commands of docs/consuming.md do the same.
func TestConsumingByEntityCLI(t *testing.T) {
	t.Parallel()
	text := readDocument(t, consumingFile)
	bin := installNATSCLI(t)
	b := newBridgeProcess(t, "PERSAT_BRIDGE_SOURCES_PERSAT_SUBJECT=entity")
	b.Start()
	for i, entity := range []string{"48", "49", "48", "48"} {
		b.post(fmt.Sprint("msg_", i), eventBody("workorder.closed", entity, fmt.Sprint("note ", i)))
	}
	b.drained()
	commands := natsCommands{t: t, env: natsEnvironment(bin, b.dir, b.nats)}
	commands.run(between(t, string(text), "by-entity"), []documented{
		{"nats stream get PERSAT", "Nats-Msg-Id: persat:msg_3"},
		{"nats consumer add PERSAT", "Unprocessed Messages: 3"},
		{"nats stream purge PERSAT", "Messages: 1"},
	})

	partitions := between(t, string(text), "partitions")
	makeThem, report, _ := strings.Cut(partitions, "Then one consumer")
	added := []documented{{"nats stream add", "Stream PERSAT_4 was created"}}
	commands.run(makeThem, added)
	commands.run(report, []documented{{"nats consumer report", "Consumer report for PERSAT_4"}})
	commands.run(between(t, string(text), "partitions-again"), append(added, documented{"nats stream rm", ""}))
	js := natstest.JetStream(t, b.nats)
	testwait.Eventually(t, "the message that was not erased in PERSAT_4", func() bool {
		stored, left := partitioned(t, js)
		return stored == 1 && left == 1
	})
}
