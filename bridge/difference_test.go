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

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
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
	// another says that the stream has another identity in the end.
	another bool
	notice  string
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
	{name: "restored from its newest backup", does: "adopts it", another: true, complete: true,
		make: func(d *differing) {
			d.r.stop()
			d.restore()
			d.open()
		}},
	{name: "restored from an older backup", does: "adopts it, and publishes the events that it lacks again, in order", another: true, healed: 20, complete: true,
		make: func(d *differing) {
			d.r.stop()
			d.server.Stop()
			d.server.PutStore(d.kept)
			d.server.Run()
			d.restore()
			d.open()
		}},
	{name: "meta.inf damaged, and the stream created over its messages", does: "adopts it", another: true, complete: true,
		make: func(d *differing) {
			d.r.stop()
			d.server.Stop()
			d.must(os.Truncate(filepath.Join(d.directory(), "meta.inf"), 10))
			d.server.Run()
			d.create()
			d.open()
		}},
	{name: "a mirror promoted in its place", does: "adopts it", another: true, complete: true,
		make: func(d *differing) {
			d.r.stop()
			d.promote()
			d.open()
		}},
	{name: "lost by its server in its first seconds", does: "fills the stream from the journal, when the journal has all of it", another: true, healed: events, complete: true,
		make: func(d *differing) {
			d.r.stop()
			d.server.Stop()
			d.server.WipeStore()
			d.server.Run()
			d.create()
			d.open()
		}},
	{name: "recreated empty, on purpose", does: "a notice with the command that fills it", another: true, notice: "To fill it",
		make: func(d *differing) {
			d.r.stop()
			d.must(d.js().DeleteStream(d.t.Context(), "PERSAT"))
			d.create()
			d.open()
		}},
	{name: "recreated with strangers' messages", does: "a notice with the command that fills it", another: true, notice: "To fill it",
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
	{name: "only the stream of another domain acknowledges", does: "holds its events, and counts nothing for stored", complete: true,
		make: func(d *differing) {
			d.r.stop()
			hub := d.joinHub()
			d.update(func(c *jetstream.StreamConfig) { c.NoAck = true })
			d.open()
			d.r.accept(d.delivery("held"), bridge.Accepted)
			testwait.Eventually(d.t, "refused", func() bool { return d.heldAttempts() > 0 })
			info, err := hub.Info(d.t.Context())
			d.must(err)
			if pending := d.r.bridge.Status(d.t.Context()).Pending; info.State.Msgs != 1 || pending != 1 {
				d.t.Errorf("got %d messages in the hub and %d pending, want 1 and 1", info.State.Msgs, pending)
			}
			d.update(func(c *jetstream.StreamConfig) { c.NoAck = false })
		}},
}

// TestWaysInWhichAStreamDiffers holds the bridge to the table in docs/integrity.md.
func TestWaysInWhichAStreamDiffers(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("../docs/integrity.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range differences {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if row := fmt.Sprintf("| %s | %s |", c.name, c.does); !strings.Contains(string(table), row) {
				t.Errorf("docs/integrity.md does not have the row\n%s", row)
			}
			d := newDiffering(t, c)
			before := d.identity()
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
			if now := d.identity(); (now != before) != c.another {
				t.Errorf("the stream was %s and is %s; another identity: want %t", before, now, c.another)
			}
			notices := strings.Join(d.r.bridge.Status(t.Context()).Notices, "\n")
			if c.notice == "" && notices != "" || !strings.Contains(notices, c.notice) {
				t.Errorf("notices %q, want %q", notices, c.notice)
			}
		})
	}
}
