package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testproc"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// TestOraclePartitions runs the commands of docs/consuming.md for parallel consumers, on
// the real bridge: four processes, each with a partition. One of them is killed, and the
// partitioned stream is made again while they run. In the end each event that was answered
// 2xx had its effect once, and those of an entity in order, at one consumer.
func TestOraclePartitions(t *testing.T) {
	t.Parallel()
	events, entities, kills := 2000, 100, 2
	if *long {
		events, entities, kills = 100_000, 5000, 5
	}
	random := newRandom(t)
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_SOURCES_PERSAT_SUBJECT=entity")
	b.Start()
	js := natstest.JetStream(t, n.URL)
	waitForStream(t, js, "PERSAT")
	makePartitions(t, js)
	consumers := partitionConsumers(t, n.URL)
	for _, c := range consumers {
		c.Launch()
	}

	testwait.Eventually(t, "a consumer for each partition", func() bool {
		return !slices.ContainsFunc(consumers, func(c *partitionConsumer) bool { return c.info(js) == nil })
	})
	if _, err := js.CreateConsumer(t.Context(), "PERSAT_4", jetstream.ConsumerConfig{Durable: "another", FilterSubject: "2.>", AckPolicy: jetstream.AckExplicitPolicy}); err == nil {
		t.Error("a partition has two consumers")
	}

	o := newOracle(t, b.url)
	o.padding = 200
	begin := time.Now()
	var sending sync.WaitGroup
	sending.Go(func() { o.postAll(events, entities) })
	killed := consumers[random.IntN(len(consumers))]
	for kill := range kills {
		target := uint64(events / len(consumers) * (kill + 1) / (kills + 2))
		testwait.Eventually(t, "progress of "+killed.name, func() bool { return killed.acknowledged(js) >= target })
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		killed.Kill()
		if stored, left := partitioned(t, js); stored == uint64(events) && left == 0 {
			t.Errorf("kill %d came after the work was done", kill)
		}
		killed.Launch()
	}
	sending.Wait()
	posted := time.Since(begin)
	b.drained()
	worked(t, js, consumers, uint64(events))
	t.Logf("%d events of %d entities posted in %v, consumed in %v; %s killed %d times", events, entities, posted, time.Since(begin), killed.name, kills)

	// Made again, the stream has everything once more.
	if err := js.DeleteStream(t.Context(), "PERSAT_4"); err != nil {
		t.Fatal(err)
	}
	makePartitions(t, js)
	late := newOracle(t, b.url)
	late.padding = 200
	late.postAll(entities, entities)
	b.drained()
	worked(t, js, consumers, uint64(events+entities))
	o.promised = append(o.promised, late.promised...)
	o.judge(readStream(t, n.URL))
	effects := make(map[string][]string)
	at := make(map[string]*partitionConsumer)
	for _, c := range consumers {
		if code := c.Stop(); code != 0 {
			t.Errorf("%s: exit code %d, want 0\n%s", c.name, code, c.Output.String())
		}
		if !strings.Contains(c.Output.String(), "the stream was recreated") {
			t.Errorf("%s did not notice the new stream", c.name)
		}
		mine := 0
		for entity, ids := range c.effects() {
			if other := at[entity]; other != nil {
				t.Errorf("the events of %s had effects at %s and at %s", entity, other.name, c.name)
			}
			at[entity], effects[entity] = c, append(effects[entity], ids...)
			mine += len(ids)
		}
		if mine == 0 {
			t.Errorf("%s had no events", c.name)
		}
		t.Logf("%s: %d effects", c.name, mine)
	}
	o.judgeEffects(effects)
}

// postAll posts so many events, in turn of so many entities, each entity's in order.
func (o *oracle) postAll(events, entities int) {
	var group sync.WaitGroup
	for connection := range oracleConnections {
		group.Go(func() {
			s := newSender(o.url, o.secret, 1)
			defer s.close()
			for n := range events {
				if e := n % entities; e%oracleConnections == connection {
					entity := fmt.Sprintf("WO-%d", e)
					if e%10 == 0 {
						entity = fmt.Sprintf("Ñandú *.> %d%%/B", e)
					}
					o.deliver(s, entity, n)
				}
			}
		})
	}
	group.Wait()
}

// judgeEffects compares what was promised with the ids of the events that had effects, by
// entity, in their order.
func (o *oracle) judgeEffects(got map[string][]string) {
	o.t.Helper()
	want := make(map[string][]string)
	for _, p := range o.promised { // an entity's promises are in their order
		want[p.entity] = append(want[p.entity], p.id)
	}
	for entity, ids := range want {
		have := got[entity]
		if slices.Equal(have, ids) {
			continue
		}
		i := 0
		for i < min(len(have), len(ids)) && have[i] == ids[i] {
			i++
		}
		o.t.Errorf("%s: got %d effects, want %d; from the effect %d on, %q, want %q", entity, len(have), len(ids), i, have[i:min(i+3, len(have))], ids[i:min(i+3, len(ids))])
	}
	if len(got) != len(want) {
		o.t.Errorf("got effects of %d entities, want %d", len(got), len(want))
	}
}

func waitForStream(t *testing.T, js jetstream.JetStream, name string) {
	t.Helper()
	testwait.Eventually(t, "stream "+name, func() bool {
		_, err := js.Stream(t.Context(), name)
		return err == nil
	})
}

// makePartitions is the stream of the example, as the nats command makes it of the file.
func makePartitions(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	text, err := os.ReadFile("../../bridge/persat/examples/consumer/partitions.json")
	if err != nil {
		t.Fatal(err)
	}
	var config jetstream.StreamConfig
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	natstest.CreateStream(t, js, config)
}

// partitionConsumer is the example consumer with one partition.
type partitionConsumer struct {
	testproc.Process
	name, dir string // the durable, the ledger's directory
}

// partitionConsumers are the commands of docs/consuming.md, not yet started.
func partitionConsumers(t *testing.T, url string) (all []*partitionConsumer) {
	t.Helper()
	text := readDocument(t, consumingFile)
	dir := t.TempDir()
	path := filepath.Join(dir, "consumer")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../bridge/persat/examples/consumer").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	for line := range strings.Lines(between(t, string(text), "partitions")) {
		args, ok := strings.CutPrefix(strings.TrimSpace(line), "go run ./bridge/persat/examples/consumer ")
		if !ok {
			continue
		}
		c := new(partitionConsumer)
		words := strings.Fields(strings.ReplaceAll(args, "'", ""))
		for i, word := range words[:len(words)-1] {
			switch word {
			case "-durable":
				c.name = words[i+1]
			case "-dir":
				c.dir = filepath.Join(dir, words[i+1])
				words[i+1] = c.dir
			}
		}
		c.Process = testproc.Process{TB: t, Name: c.name, Path: path, Args: append(words, "-nats", url, "-ack-wait", "1s"), Env: os.Environ()}
		all = append(all, c)
	}
	if len(all) != 4 {
		t.Fatalf("%s has %d consumers, want 4", consumingFile, len(all))
	}
	return all
}

// info is the state of its durable, nil when there is none.
func (c *partitionConsumer) info(js jetstream.JetStream) *jetstream.ConsumerInfo {
	c.TB.Helper()
	durable, err := js.Consumer(c.TB.Context(), "PERSAT_4", c.name)
	if err != nil {
		return nil
	}
	return durable.CachedInfo()
}

func (c *partitionConsumer) acknowledged(js jetstream.JetStream) uint64 {
	if info := c.info(js); info != nil {
		return info.AckFloor.Consumer
	}
	return 0
}

// worked waits until the partitioned stream has taken so many messages and its consumers
// have acknowledged them all.
func worked(t *testing.T, js jetstream.JetStream, consumers []*partitionConsumer, messages uint64) {
	t.Helper()
	testwait.Eventually(t, "all messages acknowledged", func() bool {
		for _, c := range consumers {
			if !c.Running() {
				t.Fatalf("%s ended by itself:\n%s", c.name, c.Output.String())
			}
		}
		stored, left := partitioned(t, js)
		return stored == messages && left == 0
	})
}

// partitioned is how many messages the partitioned stream has taken, and how many of them
// are not acknowledged.
func partitioned(t *testing.T, js jetstream.JetStream) (stored, left uint64) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "PERSAT_4")
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	return state.LastSeq, state.Msgs
}

// effects are the ids of the events in its ledger, by entity, in their order.
func (c *partitionConsumer) effects() map[string][]string {
	c.TB.Helper()
	db, err := pebble.Open(c.dir, &pebble.Options{Logger: quietPebble{c.TB}})
	if err != nil {
		c.TB.Fatal(err)
	}
	defer db.Close()
	entries, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte("history/"), UpperBound: []byte("history0")})
	if err != nil {
		c.TB.Fatal(err)
	}
	defer entries.Close()
	all := make(map[string][]string)
	for entries.First(); entries.Valid(); entries.Next() {
		var entry struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(entries.Value(), &entry); err != nil {
			c.TB.Fatal(err)
		}
		// history/<kind>/<entity>/<eight bytes>
		entity, err := url.PathUnescape(strings.Split(string(entries.Key()), "/")[2])
		if err != nil {
			c.TB.Fatal(err)
		}
		all[entity] = append(all[entity], strings.TrimPrefix(entry.ID, "/persat/persat "))
	}
	return all
}

// quietPebble keeps Pebble's notices out of the test's log.
type quietPebble struct{ testing.TB }

func (quietPebble) Infof(string, ...any)                {}
func (q quietPebble) Errorf(format string, args ...any) { q.TB.Errorf(format, args...) }
