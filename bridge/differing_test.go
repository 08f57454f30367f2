package bridge_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// differing is a bridge, a server of its own, and a stream with events.
type differing struct {
	t        *testing.T
	r        *rig
	server   *natstest.Server
	registry *prometheus.Registry
	config   jetstream.StreamConfig
	kept     string // the store when the stream had the first forty events
	domain   string
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
	s, err := d.js().Stream(d.t.Context(), d.config.Name)
	d.must(err)
	return s
}

func (d *differing) create() {
	natstest.CreateStream(d.t, d.js(), d.config)
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
		o.Creation = bridge.NewCreation(o.Journal, d.config.Name, false)
		p, err := publisher.New(publisher.Options{
			Connect:  publisher.ConnectOptions{URL: d.server.URL, Domain: d.domain},
			Stream:   publisher.StreamOptions{Name: d.config.Name, Manage: true, DuplicateWindow: 2 * time.Hour},
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

// directory is that of the stream in the server's store.
func (d *differing) directory() string {
	return filepath.Join(d.server.Store, "jetstream", "$G", "streams", d.config.Name)
}

func (d *differing) messages() string { return filepath.Join(d.directory(), "msgs") }

// restore puts a backup of the stream into a server that has nothing else.
func (d *differing) restore() {
	manager := func() *jsm.Manager {
		m, err := jsm.New(d.js().Conn())
		d.must(err)
		return m
	}
	backup := d.t.TempDir()
	stream, err := manager().LoadStream(d.config.Name)
	d.must(err)
	_, err = stream.SnapshotToDirectory(d.t.Context(), backup)
	d.must(err)
	d.server.Stop()
	d.server.WipeStore()
	d.server.Run()
	_, _, err = manager().RestoreSnapshotFromDirectory(d.t.Context(), d.config.Name, backup)
	d.must(err)
}

// promote makes a mirror, and puts it in the place of the stream.
func (d *differing) promote() {
	mirror := d.config
	mirror.Name, mirror.Subjects, mirror.Mirror = "PERSAT_MIRROR", nil, &jetstream.StreamSource{Name: d.config.Name}
	m, err := d.js().CreateStream(d.t.Context(), mirror)
	d.must(err)
	testwait.Eventually(d.t, "mirrored", func() bool {
		info, err := m.Info(d.t.Context())
		return err == nil && info.State.Msgs == events
	})
	d.must(d.js().DeleteStream(d.t.Context(), d.config.Name))
	subjects := d.config.Subjects
	d.config = mirror
	d.config.Subjects, d.config.Mirror = subjects, nil
	d.update(func(c *jetstream.StreamConfig) { c.Subjects, c.Mirror = subjects, nil })
}

// joinHub makes the server a leaf node of one that has a stream for the same subjects.
func (d *differing) joinHub() (hub jetstream.Stream) {
	address := testwait.FreeAddress(d.t)
	server := natstest.Start(d.t, fmt.Sprintf("server_name: hub\njetstream: {store_dir: $STORE, domain: hub}\nleafnodes: {listen: %q}", address))
	hub, err := server.JetStream().CreateStream(d.t.Context(), d.config)
	d.must(err)
	d.server.Stop()
	d.domain = "leaf"
	d.server.Configure(fmt.Sprintf("server_name: leaf\njetstream: {store_dir: $STORE, domain: leaf}\nleafnodes: {remotes: [{url: %q}]}", "nats://"+address))
	d.server.Run()
	testwait.Eventually(d.t, "the leaf reaches its hub", func() bool { return server.Inside.NumLeafNodes() == 1 })
	return hub
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

// identity is the journal's of the stream.
func (d *differing) identity() string {
	d.t.Helper()
	identity, err := d.r.journal.Stream()
	d.must(err)
	return identity
}

// heldAttempts counts the attempts after which an event was held.
func (d *differing) heldAttempts() (n float64) {
	families, err := d.registry.Gather()
	d.must(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "persat_bridge_publish_attempts_total" && l.GetValue() == "held" {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}
