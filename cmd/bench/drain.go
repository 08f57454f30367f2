package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// inARow is how many events of a work order lie close together in a backlog as it comes about:
// it was created, assigned, begun, changed and finished while NATS was away.
const inARow = 5

// drain compares how fast a backlog goes out with a loop that publishes as many equal
// messages and does nothing else: no order to keep, nothing to read, nothing to mark.
func (b *bench) drain(ctx context.Context) error {
	rounds := min(b.rounds, 3) // of which each takes a minute
	closeBy := fmt.Sprintf("bridge, %d events of an entity in a row", inARow)
	names := []string{"bare", "bridge", closeBy}
	if b.before != "" {
		names = append(names, before)
	}
	for round := range rounds {
		for _, name := range names[1:] {
			run := 1
			if name == closeBy {
				run = inARow
			}
			rate, nats, err := b.drainBridge(ctx, name, run)
			if err != nil {
				return err
			}
			b.report.note(rate, "drain %s", name)
			if round == rounds-1 {
				if err := checkOrder(ctx, nats.address, b.drained); err != nil {
					return err
				}
			}
			b.stopAll()
		}
		rate, err := b.drainBare(ctx)
		if err != nil {
			return err
		}
		b.report.note(rate, "drain bare")
		b.stopAll()
	}
	var rows [][]string
	bare, _ := b.report.figure("drain bare")
	for _, name := range names {
		rate, _ := b.report.figure("drain %s", name)
		rows = append(rows, []string{name, count(rate), fmt.Sprintf("%.2f", rate/bare)})
	}
	b.report.add("drain", fmt.Sprintf("A backlog of %s events goes to a nats-server on loopback, beside a bare PublishMsgAsync loop; their order per entity was checked", count(float64(b.drained))),
		[]string{"", "events/s", "of bare"}, rows)
	return nil
}

func (b *bench) drainBridge(ctx context.Context, name string, run int, env ...string) (rate float64, server *contender, err error) {
	address, err := freeAddress()
	if err != nil {
		return 0, nil, err
	}
	c, err := b.startBridge(name, "", "nats://"+address, append(env, "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=100ms")...)
	if err != nil {
		return 0, nil, err
	}
	backlog := b.loadOf(c, 64)
	backlog.inARow = run
	if _, err := backlog.run(ctx, time.Hour, b.drained); err != nil {
		return 0, nil, err
	}
	settle(ctx, c)
	if server, err = b.startNATS("nats", address, "default"); err != nil {
		return 0, nil, err
	}
	for n := b.drained; n == b.drained && ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
		if n, err = c.pending(); err != nil {
			return 0, nil, err
		}
	}
	before, err := c.pending()
	if err != nil {
		return 0, nil, err
	}
	begin := time.Now()
	if err := c.drained(ctx); err != nil {
		return 0, nil, err
	}
	return float64(before) / time.Since(begin).Seconds(), server, nil
}

func (b *bench) drainBare(ctx context.Context) (float64, error) {
	server, err := b.startNATS("nats", "", "default")
	if err != nil {
		return 0, err
	}
	settle(ctx, server) // as before the bridge's
	out, err := exec.CommandContext(ctx, b.self, "child", "bare", "nats://"+server.address, strconv.Itoa(b.drained)).Output()
	if err != nil {
		return 0, fmt.Errorf("bare loop: %w", err)
	}
	took, err := time.ParseDuration(string(bytes.TrimSpace(out)))
	return float64(b.drained) / took.Seconds(), err
}

// publishBare is the bare loop. It prints how long it took.
func publishBare(ctx context.Context, natsURL string, n int) error {
	js, err := connect(natsURL)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}, Duplicates: 2 * time.Hour, AllowDirect: true}); err != nil {
		return err
	}
	body, err := newBody()
	if err != nil {
		return err
	}
	begin := time.Now()
	for i := range n {
		id := fmt.Sprintf("msg_%d_%d", begin.UnixNano(), i)
		m := &nats.Msg{Subject: "persat.workorder.finished", Data: body, Header: nats.Header{
			"Nats-Msg-Id": {"persat:" + id}, "Content-Type": {"application/json"}, "ce-specversion": {"1.0"}, "ce-id": {id}, "ce-type": {"workorder.finished"},
			"ce-source": {"/persat/persat"}, "ce-time": {time.Now().UTC().Format(time.RFC3339Nano)}, "ce-datacontenttype": {"application/json"},
			"ce-subject": {fmt.Sprintf("WO-%07d", i%entities)},
		}}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err = fmt.Println(time.Since(begin))
	return err
}

// checkOrder reads a stream of n events and holds each entity's to the order in which
// they were posted.
func checkOrder(ctx context.Context, address string, n int) error {
	js, err := connect("nats://" + address)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	consumer, err := js.OrderedConsumer(ctx, "PERSAT", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	last := make(map[string]int)
	for i := range n {
		m, err := messages.Next(jetstream.NextMaxWait(10 * time.Second))
		if err != nil {
			return fmt.Errorf("message %d of %d: %w", i+1, n, err)
		}
		entity, id := m.Headers()["ce-subject"], m.Headers()["ce-id"]
		if len(entity) != 1 || len(id) != 1 {
			return errors.New("a message without ce-subject and ce-id")
		}
		place, err := strconv.Atoi(id[0][strings.LastIndexByte(id[0], '_')+1:])
		if err != nil {
			return err
		}
		if before, ok := last[entity[0]]; ok && before >= place {
			return fmt.Errorf("event %d of %s comes after %d", place, entity[0], before)
		}
		last[entity[0]] = place
	}
	return nil
}
