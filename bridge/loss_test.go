package bridge_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// difference is one way in which a stream can differ from what the journal knows. The
// table in docs/integrity.md has a row for each.
type difference struct {
	name, does string
	// size is that of each body; large ones make the stream have several blocks.
	size   int
	config func(*jetstream.StreamConfig)
	make   func(*differing)
	// healed is how many events are published again; -1 is some.
	healed int
	// complete says that in the end the stream has every event once.
	complete bool
	notice   string
}

const events = 60

var differences = []difference{
	{name: "rolled back: the server lost its tail", does: "publishes the tail again, in order", healed: 20, complete: true,
		make: func(d *differing) {
			d.server.Stop()
			d.server.PutStore(d.kept)
			d.server.Run()
		}},
	{name: "rolled back, and others wrote over it", does: "publishes the tail again, in order", healed: 20, complete: true,
		make: func(d *differing) {
			d.r.stop()
			d.server.Stop()
			d.server.PutStore(d.kept)
			d.server.Run()
			d.strangers(40)
			d.open()
		}},
	{name: "index ahead: the last messages are missing below the last sequence", does: "publishes them again, in order", healed: -1, complete: true,
		make: func(d *differing) { d.cutTail() }},
	{name: "hole at the tail: the same, and others wrote behind it", does: "publishes them again, in order", healed: -1, complete: true,
		make: func(d *differing) {
			d.r.stop()
			d.cutTail()
			d.strangers(5)
			d.open()
		}},
	{name: "hole in the middle: a block is gone", does: "publishes what was in it again; it stands behind newer events of the same entities", size: 400 << 10, healed: -1, complete: true,
		make: func(d *differing) {
			d.server.Stop()
			if err := os.Remove(filepath.Join(d.messages(), "2.blk")); err != nil {
				d.t.Fatal(err)
			}
			d.server.Run()
		}},
	{name: "purged", does: "nothing", make: func(d *differing) {
		d.must(d.stream().Purge(d.t.Context()))
		d.observedThenRestarted()
	}},
	{name: "purged by subject", does: "nothing", make: func(d *differing) {
		d.must(d.stream().Purge(d.t.Context(), jetstream.WithPurgeSubject("persat.client.created")))
		d.observedThenRestarted()
	}},
	{name: "the newest message deleted", does: "nothing", make: func(d *differing) {
		d.must(d.stream().DeleteMsg(d.t.Context(), events))
		d.observedThenRestarted()
	}},
	{name: "all messages of an entity deleted", does: "nothing", make: func(d *differing) {
		for seq := uint64(2); seq <= events; seq += 5 {
			d.must(d.stream().DeleteMsg(d.t.Context(), seq))
		}
		d.observedThenRestarted()
	}},
	{name: "purged by subject while the bridge was away, and the server restarted", does: "a notice with the number and `persat-bridge replay --missing`", notice: "replay --missing",
		make: func(d *differing) {
			d.r.stop()
			d.must(d.stream().Purge(d.t.Context(), jetstream.WithPurgeSubject("persat.client.created")))
			d.server.Restart()
			d.open()
		}},
	{name: "max_age", does: "nothing", make: func(d *differing) {
		d.update(func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Second, time.Second })
		testwait.Eventually(d.t, "aged", func() bool { return d.stream().CachedInfo().State.Msgs == 0 })
		d.observedThenRestarted()
	}},
	{name: "max_msgs", does: "nothing", make: func(d *differing) {
		d.r.stop()
		d.update(func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 })
		d.server.Restart()
		d.open()
	}},
	{name: "max_msgs_per_subject", does: "nothing", make: func(d *differing) {
		d.r.stop()
		d.update(func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 })
		d.server.Restart()
		d.open()
	}},
	{name: "WorkQueue: consumed", does: "nothing", config: func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, make: func(d *differing) {
		d.consume()
		d.server.Restart()
	}},
	{name: "Interest: consumed", does: "nothing", config: func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, make: func(d *differing) {
		d.consume()
		d.server.Restart()
	}},
	{name: "lost by its server in its first seconds", does: "fills the stream from the journal, when the journal has all of it", healed: events, complete: true,
		make: func(d *differing) {
			d.r.stop()
			d.server.Stop()
			d.server.WipeStore()
			d.server.Run()
			d.create()
			d.open()
		}},
	{name: "recreated empty, on purpose", does: "a notice with the command that fills it", notice: "To fill it",
		make: func(d *differing) {
			d.r.stop()
			d.must(d.js().DeleteStream(d.t.Context(), "PERSAT"))
			d.create()
			d.open()
		}},
	{name: "recreated with strangers' messages", does: "a notice with the command that fills it", notice: "To fill it",
		make: func(d *differing) {
			d.r.stop()
			d.must(d.js().DeleteStream(d.t.Context(), "PERSAT"))
			d.create()
			d.strangers(events + 5)
			d.open()
		}},
	{name: "unreadable for a while", does: "holds its events until it is back", complete: true,
		make: func(d *differing) {
			d.server.Stop()
			hidden := d.server.Store + ".hidden"
			d.must(os.Rename(d.server.Store, hidden))
			d.server.Run()
			d.r.accept(d.delivery("held"), bridge.Accepted)
			testwait.Eventually(d.t, "held", func() bool { return d.r.bridge.Status(context.Background()).NATS.Up })
			d.server.Stop()
			d.server.WipeStore()
			d.must(os.Rename(hidden, d.server.Store))
			d.server.Run()
		}},
}

// differing is a bridge, a server of its own, and a stream with events.
type differing struct {
	t        *testing.T
	r        *rig
	server   *natstest.Server
	registry *prometheus.Registry
	config   jetstream.StreamConfig
	kept     string // the store when the stream had the first forty events
	accepted int
	size     int
	all      []string
}

func newDiffering(t *testing.T, c difference) *differing {
	d := &differing{t: t, server: natstest.Start(t, ""), size: c.size}
	d.config = jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}, Duplicates: 2 * time.Hour, Discard: jetstream.DiscardOld}
	if c.config != nil {
		c.config(&d.config)
	}
	d.create()
	if d.config.Retention != jetstream.LimitsPolicy {
		_, err := d.stream().CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "work"})
		d.must(err)
	}
	d.r = &rig{t: t, dir: t.TempDir()}
	d.open()
	d.accept(40)
	d.kept = d.server.CopyStore()
	d.accept(events - 40)
	return d
}

func (d *differing) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *differing) js() jetstream.JetStream { return d.server.JetStream() }

func (d *differing) stream() jetstream.Stream {
	d.t.Helper()
	s, err := d.js().Stream(d.t.Context(), "PERSAT")
	d.must(err)
	return s
}

func (d *differing) create() {
	_, err := d.js().CreateStream(d.t.Context(), d.config)
	d.must(err)
}

func (d *differing) update(change func(*jetstream.StreamConfig)) {
	c := d.stream().CachedInfo().Config
	change(&c)
	_, err := d.js().UpdateStream(d.t.Context(), c)
	d.must(err)
}

// open runs a bridge on the journal that is there.
func (d *differing) open() {
	d.registry = prometheus.NewRegistry()
	d.r.open(true, func(o *bridge.Options) {
		o.Registerer = d.registry
		o.Creation = bridge.NewCreation(o.Journal, "PERSAT", false)
		p, err := publisher.New(publisher.Options{
			Connect:  publisher.ConnectOptions{URL: d.server.URL},
			Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true, DuplicateWindow: 2 * time.Hour},
			Prefixes: map[string]string{"persat": "persat"}, AckTimeout: 2 * time.Second, Creation: o.Creation,
		})
		d.must(err)
		o.Publisher = p
	})
}

// delivery is one of three types and five entities.
func (d *differing) delivery(id string) bridge.Delivery {
	types := []string{"workorder.created", "client.created", "workorder.closed"}
	e := bridge.Delivery{Source: "persat", ID: id, Type: types[d.accepted%3], Entities: []string{fmt.Sprint(d.accepted % 5)}, Body: []byte("{}")}
	if d.size > 0 {
		e.Body = []byte(strings.Repeat("x", d.size))
	}
	d.accepted++
	d.all = append(d.all, "persat:"+id)
	return e
}

// accept publishes n more events.
func (d *differing) accept(n int) {
	for range n {
		d.r.accept(d.delivery(fmt.Sprint("msg_", d.accepted)), bridge.Accepted)
		if d.accepted%20 == 0 {
			d.r.drained()
		}
	}
	d.r.drained()
}

func (d *differing) strangers(n int) {
	for range n {
		_, err := d.js().Publish(d.t.Context(), "persat.stranger", []byte("{}"))
		d.must(err)
	}
}

func (d *differing) messages() string {
	return filepath.Join(d.server.Store, "jetstream", "$G", "streams", "PERSAT", "msgs")
}

// cutTail cuts the last third off the newest block, whose index says that it is whole.
func (d *differing) cutTail() {
	d.server.Stop()
	blocks, err := filepath.Glob(filepath.Join(d.messages(), "*.blk"))
	d.must(err)
	info, err := os.Stat(blocks[len(blocks)-1])
	d.must(err)
	d.must(os.Truncate(blocks[len(blocks)-1], info.Size()*2/3))
	d.server.Run()
}

func (d *differing) observedThenRestarted() {
	d.r.observedOf(d.js())
	d.server.Restart()
}

func (d *differing) consume() {
	c, err := d.stream().Consumer(d.t.Context(), "work")
	d.must(err)
	batch, err := c.Fetch(events)
	d.must(err)
	for m := range batch.Messages() {
		d.must(m.DoubleAck(d.t.Context()))
	}
}

// TestWaysInWhichAStreamDiffers holds the bridge to the table in docs/integrity.md.
func TestWaysInWhichAStreamDiffers(t *testing.T) {
	table, err := os.ReadFile("../docs/integrity.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range differences {
		t.Run(c.name, func(t *testing.T) {
			if row := fmt.Sprintf("| %s | %s |", c.name, c.does); !strings.Contains(string(table), row) {
				t.Errorf("docs/integrity.md does not have the row\n%s", row)
			}
			d := newDiffering(t, c)
			c.make(d)
			d.r.accept(d.delivery("after"), bridge.Accepted)
			d.r.drained()
			if c.healed != 0 {
				testwait.Eventually(t, "healed", func() bool { return healed(t, d.registry) > 0 })
				d.r.drained()
			}
			if got := healed(t, d.registry); c.healed >= 0 && got != float64(c.healed) || c.healed < 0 && got == 0 {
				t.Errorf("%v events healed, want %d", got, c.healed)
			}
			if c.complete {
				there := d.there()
				for _, id := range d.all {
					if there[id] != 1 {
						t.Errorf("%s is there %d times", id, there[id])
					}
				}
			}
			notices := strings.Join(d.r.bridge.Status(t.Context()).Notices, "\n")
			if c.notice == "" && notices != "" || !strings.Contains(notices, c.notice) {
				t.Errorf("notices %q, want %q", notices, c.notice)
			}
		})
	}
}

// there counts the messages of the stream by id.
func (d *differing) there() map[string]int {
	s := d.stream()
	there := make(map[string]int)
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(d.t.Context(), seq)
		if err == nil {
			there[m.Header.Get("Nats-Msg-Id")]++
		}
	}
	return there
}

// "the stream has lost 10 events whose bodies the journal no longer keeps …: ask the sender to send them again". The sender does.
func TestSentAgainAfterAnUnrecoverableLoss(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := newRig(t)
	r.open(true, func(o *bridge.Options) { o.Registerer = registry })
	r.acceptMany(0, 5)
	r.drained()
	kept := r.keepStore()
	for i := range 10 {
		r.accept(delivery(fmt.Sprint("b", i), fmt.Sprint(i)), bridge.Accepted)
	}
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); err != nil || n != 15 { // what journal.max_bytes does
		t.Fatal(n, err)
	}
	r.losePower(kept)
	testwait.Eventually(t, "a notice", func() bool { return len(r.bridge.Status(t.Context()).Notices) > 0 })
	outcomes := make(map[bridge.Outcome]int)
	for i := range 10 {
		got, err := r.bridge.Accept(t.Context(), delivery(fmt.Sprint("b", i), fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		outcomes[got]++
	}
	r.drained()
	time.Sleep(100 * time.Millisecond)
	if has := len(r.messages()); has != 15 {
		t.Errorf("notice %q; the sender has sent all 10 again: outcomes %v; the stream has %d of 15 events", r.bridge.Status(t.Context()).Notices, outcomes, has)
	}
}

// The bodies were dropped for want of room, then the stream loses its tail.
func TestUnrecoverableLossIsReported(t *testing.T) {
	m := &memory{created: "1"}
	core, logs := observer.New(zap.InfoLevel)
	r := memoryRig(t, m, func(o *bridge.Options) { o.Log = zap.New(core) })
	for i := range 10 {
		r.accept(delivery(fmt.Sprintf("a%d", i), "1"), bridge.Accepted)
	}
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	m.set(func() { m.ids, m.bodies = m.ids[:5:5], m.bodies[:5:5]; m.sessions[len(m.sessions)-1].Close() })
	time.Sleep(300 * time.Millisecond)
	logs.TakeAll()
	m.cut()
	time.Sleep(300 * time.Millisecond)
	said := false
	for _, e := range logs.All() {
		t.Log(e.Message, e.ContextMap())
		said = said || e.Message != "connection to NATS lost; events are taken and wait on disk" && e.Message != "connected to NATS"
	}
	if s := r.bridge.Status(t.Context()); !said && len(s.Notices) == 0 {
		t.Errorf("the stream has %d of 10 events, and neither log nor status say so: %+v", len(m.stored()), s)
	}
}

// A loss for good, and the process is killed right after the journal has forgotten the places of what was lost.
func TestKilledBeforeALossIsReported(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	r.acceptMany(0, 20)
	r.drained()
	if n, _, err := r.journal.DropPublished(1 << 30); err != nil || n != 20 {
		t.Fatal(n, err)
	}
	r.stop()
	m.set(func() { m.ids, m.bodies = m.ids[:10:10], m.bodies[:10:10] })
	j, err := journal.Open(journal.Options{Dir: r.dir + "/journal"})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := j.Unpublish(11, func(journal.Item) {}) // heal.go, heal; the kill comes when it has returned
	if err != nil || gone != 10 {
		t.Fatal(gone, err)
	}
	j.Close()
	r.open(true, func(o *bridge.Options) { o.Publisher = m })
	if s := r.bridge.Status(t.Context()); s.Gone != 10 || !strings.Contains(fmt.Sprint(s.Notices), "lost 10 events") {
		t.Errorf("gone %d, notices %q; the stream has %d of 20 events", s.Gone, s.Notices, len(m.stored()))
	}
}

// Two losses for good, and what the notice says of them.
func TestNoticeOfTwoLosses(t *testing.T) {
	m := &memory{created: "1"}
	r := memoryRig(t, m)
	lose := func(n int) {
		if _, _, err := r.journal.DropPublished(1 << 30); err != nil {
			t.Fatal(err)
		}
		before := r.bridge.Status(t.Context()).Gone
		m.set(func() {
			k := len(m.ids) - n
			m.ids, m.bodies = m.ids[:k:k], m.bodies[:k:k]
			m.sessions[len(m.sessions)-1].Close()
		})
		testwait.Eventually(t, "told", func() bool { return r.bridge.Status(t.Context()).Gone > before })
	}
	for i := range 20 {
		r.accept(delivery(fmt.Sprint("a", i), "1"), bridge.Accepted)
	}
	r.drained()
	lose(10)
	r.accept(delivery("b", "1"), bridge.Accepted)
	r.drained()
	lose(1)
	if s := r.bridge.Status(t.Context()); s.Gone != 11 || !strings.Contains(fmt.Sprint(s.Notices), "lost 11 events") {
		t.Errorf("gone %d, notices %q", s.Gone, s.Notices)
	}
}
