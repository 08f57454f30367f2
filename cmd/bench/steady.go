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
	names := []string{"bridge"}
	if b.before != "" {
		names = append(names, before)
	}
	servers, bridges := make([]*contender, len(names)), make([]*contender, len(names))
	for i, name := range names {
		var err error
		if servers[i], err = b.startNATS("nats", "", "default"); err != nil {
			return err
		}
		if bridges[i], err = b.startBridge(name, "", "nats://"+servers[i].address); err != nil {
			return err
		}
		o, err := b.loadOf(bridges[i], 64).run(ctx, b.slice, 0) // warm, too
		if err != nil {
			return err
		}
		b.report.note(o.perSecond(), "steady %s most", name)
		if err := bridges[i].drained(ctx); err != nil {
			return err
		}
	}
	most, _ := b.report.figure("steady bridge most")
	for range min(b.rounds, 3) {
		rate, err := b.highest(ctx, b.loadOf(bridges[0], 64), bridges[0], servers[0], .3*most, 1.1*most, 6)
		if err != nil {
			return err
		}
		b.report.note(rate, "steady rate")
	}
	highest, _ := b.report.figure("steady rate")
	shares := []float64{.1, .25, .5, .75, .9}
	for range min(b.rounds, 3) {
		for _, share := range shares {
			for i, name := range names {
				if err := b.steadyAt(ctx, name, share, highest, bridges[i], servers[i]); err != nil {
					return err
				}
			}
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
