// Latest keeps the newest snapshot of every entity in a NATS key-value bucket,
// for services that want to know how things are and not what has happened:
//
//	nats kv get PERSAT_LATEST persat.workorder.48 --raw
//	nats kv watch PERSAT_LATEST 'persat.client.>'
//
// It keeps no state of its own: the bucket says which event each entry is from.
// So it can be stopped and killed at any time, and to build the view anew, delete
// the bucket and the durable consumer. See view.go for what newest means.
//
// Run it beside a bridge: go run ./bridge/persat/examples/latest. It says when the view
// is up to date.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/persat/examples/durable"
)

// options say what is kept, and where.
type options struct {
	url, stream, filter, bucket, durable string
}

func main() {
	var o options
	flag.StringVar(&o.url, "nats", cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), "the NATS server; the default is NATS_URL's")
	flag.StringVar(&o.stream, "stream", "PERSAT", "the stream")
	flag.StringVar(&o.filter, "filter", "persat.>", "the subjects")
	flag.StringVar(&o.bucket, "bucket", "PERSAT_LATEST", "the key-value bucket")
	flag.StringVar(&o.durable, "durable", "latest", "the name of the durable consumer")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, log, o); err != nil {
		log.Error("latest ends", "err", err)
		os.Exit(1)
	}
}

// run keeps the view until ctx ends.
func run(ctx context.Context, log *slog.Logger, o options) error {
	nc, err := nats.Connect(o.url, nats.Name(o.durable), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	bucket, err := openBucket(ctx, js, o.bucket)
	if err != nil {
		return err
	}
	reader, err := durable.Open(ctx, js, o.stream, jetstream.ConsumerConfig{
		Durable:       o.durable,
		FilterSubject: o.filter,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       10 * time.Second,
		// More than one: a message that comes again, or too late, is recognised.
		MaxAckPending: 256,
	}, log)
	if err != nil {
		return err
	}
	defer reader.Stop()
	log.Info("building the view", "bucket", o.bucket)
	v := &view{bucket: bucket, stream: reader.Created()}
	reopen := func(ctx context.Context) (err error) {
		v.bucket, err = openBucket(ctx, js, o.bucket)
		return err
	}
	if err := follow(ctx, log, reader, v, reopen); err != nil {
		return err
	}
	return nc.FlushTimeout(5 * time.Second) // the last acknowledgement
}

// follow applies messages until ctx ends, and says when the view is up to date for the
// first time. A NATS that lost the stream has lost the bucket too: then reopen makes it.
func follow(ctx context.Context, log *slog.Logger, reader *durable.Reader, v *view, reopen func(context.Context) error) error {
	pending := reader.Pending()
	for upToDate := false; ; {
		if !upToDate && pending == 0 {
			upToDate = true
			log.Info("the view is up to date, and follows")
		}
		m, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		apply := context.WithoutCancel(ctx)
		if created := reader.Created(); !created.Equal(v.stream) {
			if err = reopen(apply); err == nil {
				v.stream = created
			}
		}
		if err == nil {
			err = v.apply(apply, m)
		}
		if err != nil {
			log.Error("view is not up to date, again in 5s", "subject", m.Subject(), "err", err)
			if err := m.NakWithDelay(5 * time.Second); err != nil {
				return err
			}
			continue
		}
		if err := m.Ack(); err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read metadata: %w", err)
		}
		pending = meta.NumPending
	}
}

// openBucket looks the bucket up and makes it when it is missing. One that is
// there stays as its operator made it.
func openBucket(ctx context.Context, js jetstream.JetStream, name string) (jetstream.KeyValue, error) {
	bucket, err := js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		bucket, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, Description: "The newest snapshot of every entity of Persat", Storage: jetstream.FileStorage})
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return bucket, nil
}
