package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// atBacklog measures accept, memory and restart with many events waiting, NATS away.
func (b *bench) atBacklog(ctx context.Context) error {
	sizes := []struct {
		name   string
		events int
	}{{"none", 0}, {"tenth", b.backlog / 10}, {"large", b.backlog}}
	bridges := make(map[string]*contender)
	dirs := make(map[string]string)
	for _, size := range sizes {
		dir, err := os.MkdirTemp(b.dir, "backlog-")
		if err != nil {
			return err
		}
		c, err := b.startBridge(size.name, dir, nowhere)
		if err != nil {
			return err
		}
		if size.events > 0 {
			if _, err := b.loadOf(c, 64).run(ctx, time.Hour, size.events); err != nil {
				return err
			}
		}
		settle(ctx, c)
		bridges[size.name], dirs[size.name] = c, dir
	}
	for round := range b.rounds {
		for i := range sizes {
			size := sizes[(i+round)%len(sizes)]
			c := bridges[size.name]
			settle(ctx, c)
			o, err := b.loadOf(c, 64).run(ctx, b.slice, 0)
			if err != nil {
				return err
			}
			b.report.note(o.perSecond(), "backlog %s rate", size.name)
			b.report.note(millis(o.quantile(.99)), "backlog %s p99", size.name)
			b.report.note(mebibytes(c.memory()), "backlog %s memory", size.name)
		}
	}
	for _, size := range sizes {
		c := bridges[size.name]
		for _, way := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			_ = c.cmd.Process.Signal(way)
			<-c.gone
			begin := time.Now()
			var err error
			if c, err = b.startBridge(size.name, dirs[size.name], nowhere); err != nil {
				return err
			}
			b.report.note(time.Since(begin).Seconds(), "backlog %s ready", size.name)
			settle(ctx, c)
		}
		n, err := c.pending()
		if err != nil {
			return err
		}
		b.report.note(float64(n), "backlog %s events", size.name)
	}
	var rows [][]string
	for _, size := range sizes {
		get := func(what string) float64 {
			v, _ := b.report.figure("backlog %s %s", size.name, what)
			return v
		}
		rows = append(rows, []string{count(float64(size.events)), count(get("rate")), fmt.Sprintf("%.2f", get("p99")), fmt.Sprintf("%.0f", get("memory")), fmt.Sprintf("%.2f", get("ready")), count(get("events"))})
	}
	b.report.add("backlog", "Accept with events waiting, NATS away, 64 connections; ready is after a restart, with what had been accepted by then",
		[]string{"waiting at the begin", "answers/s", "p99 ms", "MiB", "ready s", "waiting then"}, rows)
	return nil
}

// sources measures accept with many sources.
func (b *bench) sources(ctx context.Context) error {
	counts := []int{1, 10, 100}
	loads := make(map[int]load)
	for _, n := range counts {
		var text strings.Builder
		text.WriteString("sources:\n")
		l := load{connections: 64, entities: entities}
		for i := range n {
			fmt.Fprintf(&text, "  s%d:\n    secrets: [%s]\n    subject_prefix: s%d\n", i, secret, i)
			l.paths = append(l.paths, fmt.Sprintf("/webhooks/s%d", i))
		}
		file := filepath.Join(b.dir, fmt.Sprintf("sources-%d.yaml", n))
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			return err
		}
		c, err := b.startBridgeOf(file, fmt.Sprint(n), "", nowhere)
		if err != nil {
			return err
		}
		l.address = c.address
		loads[n] = l
	}
	for round := range b.rounds {
		for i := range counts {
			n := counts[(i+round)%len(counts)]
			o, err := loads[n].run(ctx, b.slice, 0)
			if err != nil {
				return err
			}
			b.report.note(o.perSecond(), "sources %d rate", n)
			b.report.note(millis(o.quantile(.99)), "sources %d p99", n)
		}
	}
	var rows [][]string
	for _, n := range counts {
		rate, _ := b.report.figure("sources %d rate", n)
		p99, _ := b.report.figure("sources %d p99", n)
		rows = append(rows, []string{fmt.Sprint(n), count(rate), fmt.Sprintf("%.2f", p99)})
	}
	b.report.add("sources", "Accept with several sources, NATS away, 64 connections", []string{"sources", "answers/s", "p99 ms"}, rows)
	return nil
}

// idle measures the memory of a bridge that has nothing to do.
func (b *bench) idle(ctx context.Context) error {
	server, err := b.startNATS("nats", "", "default")
	if err != nil {
		return err
	}
	listen, err := freeAddress()
	if err != nil {
		return err
	}
	outside, err := b.startBridge("outside", "", "nats://"+server.address)
	if err != nil {
		return err
	}
	embedded, err := b.startBridge("embedded", "", "", "PERSAT_BRIDGE_NATS_EMBEDDED_LISTEN="+listen)
	if err != nil {
		return err
	}
	select {
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
	}
	b.report.note(mebibytes(outside.memory()), "idle outside")
	b.report.note(mebibytes(embedded.memory()), "idle embedded")
	b.report.add("idle", "Memory at rest", []string{"", "MiB"}, [][]string{
		{"NATS outside", fmt.Sprintf("%.0f", b.report.Figures["idle outside"])}, {"NATS embedded", fmt.Sprintf("%.0f", b.report.Figures["idle embedded"])}})
	return nil
}
