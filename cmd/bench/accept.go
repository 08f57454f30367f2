package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// floor is what one durable write of this disk takes, alone: no answer can come before
// that.
func (b *bench) floor(ctx context.Context) error {
	f, err := os.Create(filepath.Join(b.dir, "floor"))
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 4<<10)
	// The file is there already, as a log is that is used again.
	const blocks = 4096
	for range blocks {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	for range b.rounds {
		var took []time.Duration
		for n := 0; len(took) < 400 && ctx.Err() == nil; n++ {
			block[0]++
			begin := time.Now()
			if _, err := f.WriteAt(block, int64(n%blocks)*int64(len(block))); err != nil {
				return err
			}
			if err := syscall.Fdatasync(int(f.Fd())); err != nil {
				return err
			}
			took = append(took, time.Since(begin))
		}
		o := newOutcome(took, time.Second)
		b.report.note(millis(o.quantile(.5)), "fdatasync 4KiB")
		b.report.note(millis(o.quantile(.99)), "fdatasync 4KiB p99")
	}
	p50, _ := b.report.figure("fdatasync 4KiB")
	p99, _ := b.report.figure("fdatasync 4KiB p99")
	b.report.add("floor", "The floor of latency: a bare write and fdatasync of 4 KiB", []string{"", "p50 ms", "p99 ms"},
		[][]string{{"fdatasync", fmt.Sprintf("%.2f", p50), fmt.Sprintf("%.2f", p99)}})
	return nil
}

// connections of the load, from one sender to many.
var connections = []int{1, 16, 64, 256}

// entities is divisible by all of connections, so that each entity's events come over
// one of them, in order.
const entities = 10_240

// acceptors are who answers the same requests, in the order of the table.
var acceptors = []string{"ceiling", "by hand", "by hand synced", "bridge", "bridge NATS away"}

// accept compares the answers: the Echo handler that says 202 and nothing else, the
// bridge that people write by hand, the same on a NATS that syncs, and ours, with
// NATS there and away.
func (b *bench) accept(ctx context.Context) error {
	acceptors := acceptors
	if b.before != "" {
		acceptors = append(slices.Clone(acceptors), before, before+" NATS away")
	}
	for _, n := range connections {
		if err := b.acceptAt(ctx, acceptors, n); err != nil {
			return err
		}
		b.stopAll()
	}
	header := []string{"", "connections", "answers/s", "of ceiling", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs each", "NATS µs each", "MiB"}
	var rows [][]string
	for _, n := range connections {
		ceiling, _ := b.report.figure("ceiling %d rate", n)
		for _, name := range acceptors {
			get := func(what string) float64 {
				v, _ := b.report.figure("%s %d %s", name, n, what)
				return v
			}
			rows = append(rows, []string{name, fmt.Sprint(n), count(get("rate")), fmt.Sprintf("%.2f", get("rate")/ceiling),
				fmt.Sprintf("%.2f", get("p50")), fmt.Sprintf("%.2f", get("p99")), fmt.Sprintf("%.2f", get("p999")),
				fmt.Sprintf("%.0f", get("cpu")), fmt.Sprintf("%.0f", get("nats")), fmt.Sprintf("%.0f", get("memory"))})
		}
	}
	b.report.add("accept", "Signed POST of 2 KiB to its answer. The bridge has its event fsynced before that; with NATS there, answers/s is of events that are published as well", header, rows)
	return nil
}

func (b *bench) acceptAt(ctx context.Context, acceptors []string, n int) error {
	type pair struct{ server, nats *contender }
	pairs := make(map[string]pair)
	for _, name := range acceptors {
		var p pair
		var err error
		switch name {
		case "ceiling":
			p.server, err = b.startChild(name, "ceiling")
		case "bridge NATS away", before + " NATS away":
			p.server, err = b.startBridge(name, "", nowhere)
		case "bridge", before:
			if p.nats, err = b.startNATS("nats", "", "default"); err == nil {
				p.server, err = b.startBridge(name, "", "nats://"+p.nats.address)
			}
		case "by hand", "by hand synced":
			sync := "default"
			if name == "by hand synced" {
				sync = "always"
			}
			if p.nats, err = b.startNATS("nats", "", sync); err == nil {
				p.server, err = b.startChild(name, "handwritten", "nats://"+p.nats.address)
			}
		default:
			err = fmt.Errorf("-acceptors: there is no %q", name)
		}
		if err != nil {
			return err
		}
		pairs[name] = p
		// Warm: connections are there, and the journal's logs are used again, as the file
		// that the floor is measured with. That takes three of 16 MiB.
		if _, err := b.loadOf(p.server, 64).run(ctx, 2*time.Second, 0); err != nil {
			return err
		}
	}
	for round := range b.rounds {
		for i := range acceptors {
			name := acceptors[(i+round)%len(acceptors)] // each has each place in the round
			p := pairs[name]
			if err := b.measureAccept(ctx, name, n, p.server, p.nats); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func (b *bench) loadOf(c *contender, n int) load {
	return load{address: c.address, paths: []string{"/webhooks/persat"}, connections: n, entities: entities}
}

func (b *bench) measureAccept(ctx context.Context, name string, n int, server, nats *contender) error {
	all := []*contender{server}
	if nats != nil {
		all = append(all, nats)
	}
	settle(ctx, all...)
	cpu, natsCPU := server.cpu(), time.Duration(0)
	if nats != nil {
		natsCPU = nats.cpu()
	}
	begin := time.Now()
	o, err := b.loadOf(server, n).run(ctx, b.slice, 0)
	if err != nil {
		return err
	}
	b.report.note(o.perSecond(), "%s %d accepted", name, n)
	if server.admin != "" && nats != nil {
		left, err := server.pending()
		if err != nil {
			return err
		}
		b.report.note(float64(left)/float64(o.accepted), "%s %d left", name, n)
		if err := server.drained(ctx); err != nil {
			return err
		}
		o.elapsed = time.Since(begin)
	}
	memory := server.memory()
	settle(ctx, all...)
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(o.accepted) }
	b.report.note(o.perSecond(), "%s %d rate", name, n)
	b.report.note(millis(o.quantile(.5)), "%s %d p50", name, n)
	b.report.note(millis(o.quantile(.99)), "%s %d p99", name, n)
	b.report.note(millis(o.quantile(.999)), "%s %d p999", name, n)
	b.report.note(each(server.cpu()-cpu), "%s %d cpu", name, n)
	if nats != nil {
		b.report.note(each(nats.cpu()-natsCPU), "%s %d nats", name, n)
	}
	b.report.note(mebibytes(memory), "%s %d memory", name, n)
	return nil
}
