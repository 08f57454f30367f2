package durable

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

func config() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{Durable: "d", DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy}
}

// reader finds the server silent sooner than Open's.
func reader(js jetstream.JetStream) *Reader {
	return &Reader{js: js, stream: "S", config: config(), log: slog.New(slog.DiscardHandler), heartbeat: time.Second}
}

func create(t *testing.T, js jetstream.JetStream, messages ...string) {
	t.Helper()
	natstest.CreateStream(t, js, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	for _, m := range messages {
		if _, err := js.Publish(t.Context(), "s", []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that came back without its store, and a stream that was deleted and made again,
// were waited for, for ever: the consumer was gone with them.
func TestReaderGoesOnInARecreatedStream(t *testing.T) {
	for name, recreate := range map[string]func(*testing.T, *natstest.Server, jetstream.JetStream){
		"with an empty store": func(t *testing.T, n *natstest.Server, _ jetstream.JetStream) {
			n.Stop()
			n.WipeStore()
			n.Run()
		},
		"behind a connection that stays up": func(t *testing.T, _ *natstest.Server, js jetstream.JetStream) {
			if err := js.DeleteStream(t.Context(), "S"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := natstest.Start(t, "")
			js := n.JetStream(nats.MaxReconnects(-1), nats.ReconnectWait(0))
			create(t, js, "1", "2")
			ctx, stop := context.WithCancel(t.Context())
			r := reader(js)
			if err := r.open(ctx); err != nil {
				t.Fatal(err)
			}
			defer r.Stop()
			read := func(want ...string) {
				t.Helper()
				for _, w := range want {
					m, err := r.Next(ctx)
					if err != nil {
						t.Fatal(err)
					}
					if string(m.Data()) != w {
						t.Fatalf("got %s, want %s", m.Data(), w)
					}
					if err := m.DoubleAck(ctx); err != nil {
						t.Fatal(err)
					}
				}
			}
			read("1", "2")
			first := r.Created()
			recreate(t, n, js)
			create(t, js, "3", "4")
			read("3", "4")
			if r.Created().Equal(first) {
				t.Error("it takes the stream for the same")
			}
			stop()
			if _, err := r.Next(ctx); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: got %v, want io.EOF", err)
			}
		})
	}
}

// A consumer that somebody deleted from a stream that is there is not made again.
func TestDeletedConsumerEndsTheReader(t *testing.T) {
	n := natstest.Start(t, "")
	js := n.JetStream()
	create(t, js)
	r := reader(js)
	if err := r.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	if err := js.DeleteConsumer(t.Context(), "S", "d"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "consumer d of stream S: it was deleted") {
		t.Errorf("got %v", err)
	}
}
