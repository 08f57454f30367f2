package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// Three partitions in place of two, by the steps of docs/consuming.md: the consumers of
// the old ones are stopped amid their work, and those of the new ones begin again with the
// same database. Entities change their consumer, and each event has its effect once, each
// entity's in order.
func TestAnotherNumberOfPartitions(t *testing.T) {
	at := place{database: startPostgres(t)}
	n := natstest.Start(t, "")
	js := natstest.JetStream(t, n.URL)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}}); err != nil {
		t.Fatal(err)
	}
	const events = 600
	publish := func(from, to int) {
		t.Helper()
		for n := from; n < to; n++ {
			_, err := js.PublishMsg(t.Context(), &nats.Msg{
				Subject: "persat.workorder.updated." + persat.SubjectToken([]string{entityOf(n)}),
				Header:  nats.Header{"ce-source": {"/persat/persat"}, "ce-id": {fmt.Sprint("msg_", n)}},
				Data:    fmt.Appendf(nil, `{"eventType":"workorder.updated","payload":{"_id":%q,"state":"%d"}}`, entityOf(n), n),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(0, events/2)

	old := startPartitions(t, js, 2, n.URL, at.database)
	testwait.Eventually(t, "some work done by two", func() bool { return done(t, js, 2) >= events/8 })
	old.stop(t)
	before := done(t, js, 2)
	publish(events/2, events)
	fresh := startPartitions(t, js, 3, n.URL, at.database)
	if err := js.DeleteStream(t.Context(), "PERSAT_2"); err != nil {
		t.Fatal(err)
	}
	testwait.Eventually(t, "all work done by three", func() bool { return done(t, js, 3) == events })
	fresh.stop(t)
	judge(t, at, events, nil)
	t.Logf("%d of %d events consumed in 2 partitions", before, events)
}

// partitions are the consumers of a partitioned stream.
type partitions []*testproc.Process

// startPartitions makes the stream of partitions.json with another number, and starts a
// consumer for each partition.
func startPartitions(t *testing.T, js jetstream.JetStream, number int, url, database string) (p partitions) {
	t.Helper()
	text, err := os.ReadFile("partitions.json")
	if err != nil {
		t.Fatal(err)
	}
	of := func(n int) string { return fmt.Sprintf("(%d,", n) }
	text = []byte(strings.ReplaceAll(string(text), of(4), of(number)))
	var config jetstream.StreamConfig
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config.Name = fmt.Sprint("PERSAT_", number)
	natstest.CreateStream(t, js, config)
	for partition := range number {
		durable := fmt.Sprintf("history-%d-of-%d", partition, number)
		c := &testproc.Process{
			TB: t, Name: durable, Env: append(os.Environ(), childVariable+"=consumer"),
			Args: []string{"-nats", url, "-database", database, "-stream", config.Name, "-filter", fmt.Sprint(partition, ".>"), "-durable", durable},
		}
		c.Launch()
		p = append(p, c)
	}
	return p
}

func (p partitions) stop(t *testing.T) {
	t.Helper()
	for _, c := range p {
		if code := c.Stop(); code != 0 {
			t.Errorf("%s: exit code %d\n%s", c.Name, code, c.Output.String())
		}
	}
}

// done is how many messages of a partitioned stream are acknowledged.
func done(t *testing.T, js jetstream.JetStream, number int) uint64 {
	t.Helper()
	stream, err := js.Stream(t.Context(), fmt.Sprint("PERSAT_", number))
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	return state.LastSeq - state.Msgs
}
