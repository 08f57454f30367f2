package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// steady finds the highest rate at which nothing piles up, and the time from a POST to
// a subscriber at parts of it. Another build is measured at the same rates, in turns.
func (b *bench) steady(ctx context.Context) error {
	highest, err := b.steadyRate(ctx)
	if err != nil {
		return err
	}
	names := []string{"bridge"}
	if b.before != "" {
		names = append(names, before)
	}
	shares := []float64{.1, .25, .5, .75, .9}
	for round := range b.rounds {
		if err := b.steadyRound(ctx, round, names, shares, highest); err != nil {
			return err
		}
	}
	rows := [][]string{}
	for _, share := range shares {
		for _, name := range names {
			row := []string{name, count(share * highest)}
			for _, what := range []string{"answer p50", "answer p99", "subscriber p50", "subscriber p99"} {
				v, _ := b.report.figure("steady %s %g %s", name, share, what)
				row = append(row, fmt.Sprintf("%.2f", v))
			}
			rows = append(rows, row)
		}
	}
	b.report.add("steady", fmt.Sprintf("At a steady rate: up to %s events/s nothing piles up (64 connections). Times are from when the event was due", count(highest)),
		[]string{"", "events/s", "POST to answer p50 ms", "p99", "POST to subscriber p50 ms", "p99"}, rows)
	return nil
}

// steadyRound measures all builds at all shares. Each has a bridge and a NATS of its own,
// started for this round, another build's first each time: one of two processes of the same
// build can be a third slower than the other for as long as both run.
func (b *bench) steadyRound(ctx context.Context, round int, names []string, shares []float64, highest float64) error {
	defer b.stopAll()
	servers, bridges := make(map[string]*contender), make(map[string]*contender)
	for i := range names {
		name := names[(i+round)%len(names)]
		var err error
		if servers[name], bridges[name], _, err = b.steadyPair(ctx, name); err != nil {
			return err
		}
	}
	for j, share := range shares {
		for i := range names {
			name := names[(i+j+round)%len(names)] // each is the first as often
			if err := b.steadyAt(ctx, name, share, highest, bridges[name], servers[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// steadyRate is the highest rate of the bridge, found with a bridge and a NATS of its own:
// what these have on disk by then must not burden one of those that are compared.
func (b *bench) steadyRate(ctx context.Context) (float64, error) {
	defer b.stopAll()
	server, bridge, most, err := b.steadyPair(ctx, "bridge")
	if err != nil {
		return 0, err
	}
	for range min(b.rounds, 3) {
		rate, err := b.highest(ctx, b.loadOf(bridge, 64), bridge, server, .3*most, 1.1*most, 6)
		if err != nil {
			return 0, err
		}
		b.report.note(rate, "steady rate")
	}
	highest, _ := b.report.figure("steady rate")
	return highest, nil
}

// steadyPair starts a build with its NATS and warms both. most is what they did meanwhile.
func (b *bench) steadyPair(ctx context.Context, name string) (server, bridge *contender, most float64, err error) {
	if server, err = b.startNATS("nats", "", "default"); err != nil {
		return nil, nil, 0, err
	}
	if bridge, err = b.startBridge(name, "", "nats://"+server.address); err != nil {
		return nil, nil, 0, err
	}
	o, err := b.loadOf(bridge, 64).run(ctx, b.slice, 0)
	if err != nil {
		return nil, nil, 0, err
	}
	return server, bridge, o.perSecond(), bridge.drained(ctx)
}

// steadyAt measures one build at a share of the highest rate.
func (b *bench) steadyAt(ctx context.Context, name string, share, highest float64, c, server *contender) error {
	settle(ctx, c, server)
	l := b.loadOf(c, 64)
	l.rate = share * highest
	answers, arrivals, err := b.endToEnd(ctx, l, server.address)
	if err != nil {
		return err
	}
	for what, o := range map[string]outcome{"answer": answers, "subscriber": arrivals} {
		b.report.note(millis(o.quantile(.5)), "steady %s %g %s p50", name, share, what)
		b.report.note(millis(o.quantile(.99)), "steady %s %g %s p99", name, share, what)
	}
	return nil
}

// highest finds, in so many halvings of what lies between low and high, the highest rate at
// which nothing piles up.
func (b *bench) highest(ctx context.Context, l load, c, server *contender, low, high float64, steps int) (float64, error) {
	for range steps {
		settle(ctx, c, server)
		l.rate = (low + high) / 2
		flat, err := b.isFlat(ctx, l, c)
		if err != nil {
			return 0, err
		}
		if flat {
			low = l.rate
		} else {
			high = l.rate
		}
	}
	return low, nil
}

// isFlat posts at a rate and says whether all was accepted in time and as good as all
// published: what is in flight to NATS and a hundredth of a second's events may be left.
func (b *bench) isFlat(ctx context.Context, l load, c *contender) (bool, error) {
	o, err := l.run(ctx, b.slice, 0)
	if err != nil {
		return false, err
	}
	left, err := c.pending()
	if err != nil {
		return false, err
	}
	flat := float64(o.accepted) > .98*l.rate*b.slice.Seconds() && float64(left) < 256+l.rate/100
	return flat, c.drained(ctx)
}

// endToEnd posts at a rate while a subscriber listens.
func (b *bench) endToEnd(ctx context.Context, l load, natsAddress string) (answers, arrivals outcome, err error) {
	nc, err := nats.Connect("nats://" + natsAddress)
	if err != nil {
		return answers, arrivals, err
	}
	defer nc.Close()
	var mu sync.Mutex
	arrived := make(map[string]time.Time) // by delivery id
	if _, err := nc.Subscribe("persat.>", func(m *nats.Msg) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		if id := m.Header["ce-id"]; len(id) == 1 {
			arrived[id[0]] = now
		}
	}); err != nil {
		return answers, arrivals, err
	}
	if err := nc.Flush(); err != nil {
		return answers, arrivals, err
	}
	l.due = make(map[string]*dueTimes)
	if answers, err = l.run(ctx, b.slice, 0); err != nil {
		return answers, arrivals, err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		n := len(arrived)
		mu.Unlock()
		if n >= answers.accepted {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	var took []time.Duration
	for id, at := range arrived {
		cut := strings.LastIndexByte(id, '_') + 1
		n, err := strconv.Atoi(id[cut:])
		if err != nil {
			return answers, arrivals, err
		}
		if due := l.due[id[:cut]]; due != nil {
			took = append(took, at.Sub(due.of(n)))
		}
	}
	if len(took) < answers.accepted {
		return answers, arrivals, fmt.Errorf("%d events were accepted, %d arrived", answers.accepted, len(took))
	}
	return answers, newOutcome(took, b.slice), nil
}
