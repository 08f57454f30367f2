package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

const resetPermission = "$JS.API.CONSUMER.RESET.PERSAT.*"

// A service that lost its work of a day gets the events of that day again, without a
// replay: its own consumer goes back, the stream and the other consumers stay as they are.
func TestConsumerReset(t *testing.T) {
	n := newSecuredNATS(t, "", "", func(o *server.Options) {
		for _, u := range o.Users {
			if u.Username == "consumer" {
				u.Permissions.Publish.Allow = append(u.Permissions.Publish.Allow, resetPermission)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fill(t, ctx, n)
	for range 4 {
		if _, err := n.admin.Publish(ctx, "persat.client.created", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	nc, denied := n.consumer()
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumers := make(map[string]jetstream.Consumer)
	for _, name := range []string{"billing", "audit"} {
		if consumers[name], err = js.CreateConsumer(ctx, "PERSAT", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
			t.Fatal(err)
		}
		if got, want := take(t, ctx, consumers[name], 5), []uint64{1, 2, 3, 4, 5}; !slices.Equal(got, want) {
			t.Fatalf("%s: got sequences %v, want %v", name, got, want)
		}
	}

	// The day began with the third event.
	m, err := n.admin.Stream(ctx, "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	third, err := m.GetMsg(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	first := firstSince(t, ctx, js, third.Time)
	if first != 3 {
		t.Fatalf("the first event since %s: got sequence %d, want 3", third.Time, first)
	}
	if _, err := js.ResetConsumerToSequence(ctx, "PERSAT", "billing", first); err != nil {
		t.Fatalf("reset: %v; the server complains of %q", err, denied())
	}
	if got, want := take(t, ctx, consumers["billing"], 3), []uint64{3, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("after the reset: got sequences %v, want %v", got, want)
	}
	for name, c := range consumers {
		info, err := c.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if info.NumPending != 0 || info.NumAckPending != 0 || info.AckFloor.Stream != 5 {
			t.Errorf("%s: got %d pending, %d not acknowledged, floor %d; want 0, 0, 5", name, info.NumPending, info.NumAckPending, info.AckFloor.Stream)
		}
	}
	info, err := m.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 5 || info.State.LastSeq != 5 {
		t.Errorf("the stream has %d messages, last %d; want 5 and 5 as before", info.State.Msgs, info.State.LastSeq)
	}
}

// A consumer's user may not reset unless it was given that.
func TestConsumerResetNeedsPermission(t *testing.T) {
	n := newSecuredNATS(t, "", "")
	fill(t, t.Context(), n)
	nc, denied := n.consumer()
	defer nc.Close()
	const subject = "$JS.API.CONSUMER.RESET.PERSAT.billing"
	if err := nc.Publish(subject, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	testwait.Eventually(t, "the server refuses "+subject, func() bool { return slices.Contains(denied(), subject) })
}

// take acknowledges the next n messages and returns their sequences.
func take(t *testing.T, ctx context.Context, c jetstream.Consumer, n int) (sequences []uint64) {
	t.Helper()
	for range n {
		m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.DoubleAck(ctx); err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, meta.Sequence.Stream)
	}
	return sequences
}

// firstSince is the sequence of the first message that was stored at a time or later.
func firstSince(t *testing.T, ctx context.Context, js jetstream.JetStream, since time.Time) uint64 {
	t.Helper()
	c, err := js.OrderedConsumer(ctx, "PERSAT", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := m.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	return meta.Sequence.Stream
}
