package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// A disk is what a nats-server that syncs each message has under it.
type disk struct {
	name string
	// delay is added to each sync. strace makes it: it stops the server at fsync and
	// fdatasync alone (--seccomp-bpf), and lets it go on so much later.
	delay time.Duration
}

var disks = []disk{{"as it is", 0}, {"2 ms slower", 2 * time.Millisecond}}

// modes are the values of publish.batch.
var modes = []string{"off", "auto"}

// always measures a NATS that syncs each message, with atomic batches and without: how fast
// a backlog goes out, at what cost, and what goes through steadily.
func (b *bench) always(ctx context.Context) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return errors.New("strace is needed for the slow disk")
	}
	rounds := min(b.rounds, 3)
	for round := range rounds {
		for _, d := range disks {
			for i := range modes {
				if err := b.drainAlways(ctx, d, modes[(i+round)%len(modes)]); err != nil {
					return err
				}
				b.stopAll()
			}
		}
	}
	// The same where nothing is synced: to measure both ways must cost nothing.
	for round := range rounds {
		for i := range modes {
			mode := modes[(i+round)%len(modes)]
			rate, _, err := b.drainBridge(ctx, "bridge", 1, "PERSAT_BRIDGE_PUBLISH_BATCH="+mode)
			if err != nil {
				return err
			}
			b.report.note(rate, "unsynced drain %s", mode)
			b.stopAll()
		}
	}
	for _, d := range disks {
		for _, mode := range modes {
			if err := b.steadyAlways(ctx, d, mode); err != nil {
				return err
			}
			b.stopAll()
		}
	}
	var drains, steady [][]string
	get := func(name string, args ...any) float64 {
		v, _ := b.report.figure(name, args...)
		return v
	}
	for _, d := range disks {
		for _, mode := range modes {
			drains = append(drains, []string{d.name, mode, count(get("always %s %s rate", d.name, mode)),
				fmt.Sprintf("%.1f", get("always %s %s rate", d.name, mode)/get("always %s off rate", d.name)),
				fmt.Sprintf("%.0f", get("always %s %s bridge cpu", d.name, mode)), fmt.Sprintf("%.0f", get("always %s %s nats cpu", d.name, mode))})
			steady = append(steady, []string{d.name, mode, count(get("always %s %s steady", d.name, mode)),
				fmt.Sprintf("%.1f", get("always %s %s p50", d.name, mode)), fmt.Sprintf("%.1f", get("always %s %s p99", d.name, mode))})
		}
	}
	for _, mode := range modes {
		drains = append(drains, []string{"nothing synced", mode, count(get("unsynced drain %s", mode)), fmt.Sprintf("%.2f", get("unsynced drain %s", mode)/get("unsynced drain off")), "", ""})
	}
	b.report.add("always", "A backlog goes to a nats-server with sync_interval always, by publish.batch; CPU in µs an event",
		[]string{"disk of NATS", "batch", "events/s", "of off", "CPU bridge", "CPU nats"}, drains)
	b.report.add("always", "Steady there: the highest rate at which nothing piles up, and POST to subscriber at half of it",
		[]string{"disk of NATS", "batch", "events/s", "p50 ms", "p99"}, steady)
	return nil
}

// startSyncing starts a nats-server that syncs each message, on a disk.
func (b *bench) startSyncing(d disk, address string) (*contender, error) {
	if address == "" {
		var err error
		if address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if d.delay == 0 {
		return b.startNATS("nats", address, "always")
	}
	dir, err := os.MkdirTemp(b.dir, "nats-")
	if err != nil {
		return nil, err
	}
	c := &contender{name: "nats", address: address}
	// With -D the server is the child of this process, and the tracer is not.
	args := []string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-e", fmt.Sprintf("inject=fsync,fdatasync:delay_exit=%d", d.delay.Microseconds()),
		"-o", "/dev/null", b.self, "child", "nats", address, dir, "always"}
	return c, b.start(c, args, nil, listens(address))
}

// drainAlways measures how fast a backlog goes out in some slices, or until it has gone.
func (b *bench) drainAlways(ctx context.Context, d disk, mode string) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	c, err := b.startBridge("bridge", "", "nats://"+address, "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=100ms", "PERSAT_BRIDGE_PUBLISH_BATCH="+mode)
	if err != nil {
		return err
	}
	if _, err := b.loadOf(c, 64).run(ctx, time.Hour, b.drained/5); err != nil {
		return err
	}
	settle(ctx, c)
	server, err := b.startSyncing(d, address)
	if err != nil {
		return err
	}
	before, err := c.pending()
	if err != nil {
		return err
	}
	left := before
	for ; left == before && ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
		if left, err = c.pending(); err != nil {
			return err
		}
	}
	before = left
	begin, bridgeCPU, natsCPU := time.Now(), c.cpu(), server.cpu()
	for left > 0 && time.Since(begin) < 3*b.slice && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond) // each look costs the bridge, too
		if left, err = c.pending(); err != nil {
			return err
		}
	}
	events, took := float64(before-left), time.Since(begin)
	b.report.note(events/took.Seconds(), "always %s %s rate", d.name, mode)
	b.report.note(micros(c.cpu()-bridgeCPU)/events, "always %s %s bridge cpu", d.name, mode)
	b.report.note(micros(server.cpu()-natsCPU)/events, "always %s %s nats cpu", d.name, mode)
	if sent, err := c.metric(`persat_bridge_publish_batches_total{mode="batch"}`); err != nil || (sent > 0) != (mode == "auto") {
		return fmt.Errorf("publish.batch is %s, and %.0f batches were sent: %w", mode, sent, err)
	}
	return nil
}

// steadyAlways finds the highest rate at which nothing piles up, and the time from a POST to
// a subscriber at half of it.
func (b *bench) steadyAlways(ctx context.Context, d disk, mode string) error {
	server, err := b.startSyncing(d, "")
	if err != nil {
		return err
	}
	c, err := b.startBridge("bridge", "", "nats://"+server.address, "PERSAT_BRIDGE_PUBLISH_BATCH="+mode)
	if err != nil {
		return err
	}
	l := b.loadOf(c, 64)
	if _, err := l.run(ctx, b.slice, 0); err != nil { // a backlog, to measure with
		return err
	}
	if err := c.drained(ctx); err != nil {
		return err
	}
	drained, _ := b.report.figure("always %s %s rate", d.name, mode)
	highest, err := b.highest(ctx, l, c, server, .1*drained, 1.3*drained, 5)
	if err != nil {
		return err
	}
	b.report.note(highest, "always %s %s steady", d.name, mode)
	settle(ctx, c, server)
	l.rate = highest / 2
	_, arrivals, err := b.endToEnd(ctx, l, server.address)
	if err != nil {
		return err
	}
	b.report.note(millis(arrivals.quantile(.5)), "always %s %s p50", d.name, mode)
	b.report.note(millis(arrivals.quantile(.99)), "always %s %s p99", d.name, mode)
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
