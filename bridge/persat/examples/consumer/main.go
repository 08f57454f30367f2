// Consumer is a complete consumer of the events of persat-bridge, to start from.
// What it does with an event is to write it into a history of its entity; put
// your own work in its place (postgres.go, tables.sql) and keep the rest. The ledger is
// in PostgreSQL, by database/sql and pgx, the driver that is kept up (lib/pq is in
// maintenance and points to it); without -database it is in a directory, by Pebble.
//
// # What it promises
//
// Each event has its effect exactly once, whatever is killed and whenever:
// JetStream delivers until the acknowledgement, and the ledger knows an event
// that it has had before, because the effect and the event's id are one atomic,
// synced write. The events of an entity have their effects in the order of the
// stream. An event that can never be handled is put aside with the reason, and
// does not hold up the rest.
//
// # How
//
//   - A durable pull consumer: its place in the stream outlives the process. When the
//     stream was recreated, package durable makes the consumer again and reads it from
//     the beginning; the ledger knows what it has had.
//   - Explicit acknowledgement, after the effect is on disk.
//   - One message at a time (MaxAckPending: 1). That is the order, also when a
//     message has to wait and be delivered again. For more throughput, run one
//     such consumer for each kind, filtered by subject, persat.workorder.> and
//     persat.client.>, or one for each partition of the entities (partitions.json,
//     docs/consuming.md): order among the events of an entity is all there is.
//   - SIGTERM finishes the message at hand and acknowledges it.
//
// Run it beside a bridge:
//
//	go run ./bridge/persat/examples/consumer -database postgres://localhost/mine
//	go run ./bridge/persat/examples/consumer # its ledger is ./history
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/persat/examples/durable"
)

func main() {
	url := flag.String("nats", cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), "the NATS server; the default is NATS_URL's")
	stream := flag.String("stream", "PERSAT", "the stream")
	name := flag.String("durable", "history", "the name of the durable consumer")
	filter := flag.String("filter", "persat.>", "the subjects")
	database := flag.String("database", os.Getenv("DATABASE_URL"), "the PostgreSQL database of the ledger, as postgres://…; the default is DATABASE_URL's")
	dir := flag.String("dir", "./history", "the directory of the ledger, when there is no database")
	ackWait := flag.Duration("ack-wait", 10*time.Second, "how long a message may take; a crash costs this pause")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := run(ctx, log, *url, *stream, *database, *dir, jetstream.ConsumerConfig{
		Durable:       *name,
		FilterSubject: *filter,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       *ackWait,
		MaxAckPending: 1,
		// No MaxDeliver: a message must not vanish because it was tried often.
		// handle puts it aside instead.
	})
	if err != nil {
		log.Error("consumer ends", "err", err)
		os.Exit(1)
	}
}

// run consumes until ctx ends.
func run(ctx context.Context, log *slog.Logger, url, stream, database, dir string, config jetstream.ConsumerConfig) (err error) {
	l, err := openLedger(database, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	nc, err := nats.Connect(url, nats.Name(config.Durable), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	// Drain, and not Close: the last acknowledgement has to go out.
	defer func() { err = errors.Join(err, drain(nc)) }()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	source, err := durable.Open(ctx, js, stream, config, log)
	if err != nil {
		return err
	}
	defer source.Stop()
	c := &consumer{source: source, ledger: l, log: log}
	c.note(source.Pending())
	return c.run(ctx)
}

func drain(nc *nats.Conn) error {
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	if err := nc.Drain(); err != nil {
		nc.Close()
		return fmt.Errorf("drain: %w", err)
	}
	<-closed // at the latest after the connection's drain timeout, 30 s
	return nil
}
