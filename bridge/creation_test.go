package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// A server that starts once without its key, or with limits that are too small, does not
// find the stream. The bridge created it again, by which the server deleted what it could
// not read: all 60 of 60 events were gone.
func TestStreamThatTheServerCannotReadIsNotCreated(t *testing.T) {
	t.Parallel()
	const right = `jetstream: {store_dir: $STORE, key: "correct-horse-battery", cipher: chachapoly}`
	for name, wrong := range map[string]string{
		"wrong key":        `jetstream: {store_dir: $STORE, key: "another-key", cipher: chachapoly}`,
		"no key":           `jetstream: {store_dir: $STORE}`,
		"too small limits": `jetstream: {store_dir: $STORE, key: "correct-horse-battery", cipher: chachapoly, limits: {duplicate_window: "1s"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := natstest.Start(t, right)
			core, said := observer.New(zapcore.WarnLevel)
			r := &rig{t: t, dir: t.TempDir()}
			r.open(true, func(o *bridge.Options) {
				o.Creation = bridge.NewCreation(o.Journal, "PERSAT", false)
				o.Publisher = overURL(t, n.URL, o.Creation, zap.New(core))
			})
			for i := range 20 {
				r.accept(delivery(fmt.Sprint("msg_", i), fmt.Sprint(i%3)), bridge.Accepted)
			}
			r.drained()
			n.Stop()
			n.Configure(wrong)
			n.Run()
			r.accept(delivery("msg_20", "0"), bridge.Accepted)
			testwait.Eventually(t, "the stream is missing", func() bool { return said.FilterMessageSnippet("cannot be looked at or made").Len() > 0 })
			n.Stop()
			n.Configure(right)
			n.Run()
			r.drained()
			if ids := messageIDs(t, n.JetStream()); len(ids) != 21 {
				t.Errorf("got %d messages, want 21: %s", len(ids), ids)
			}
		})
	}
}

// A stream that was deleted stays so until an operator says otherwise; then its events go.
func TestStreamIsRecreatedByAnOperator(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	r := &rig{t: t, dir: t.TempDir()}
	r.open(true, func(o *bridge.Options) {
		o.Creation = bridge.NewCreation(o.Journal, "PERSAT", false)
		o.Publisher = overURL(t, n.URL, o.Creation, zap.NewNop())
	})
	testwait.Eventually(t, "the stream is created", func() bool { _, err := js.Stream(t.Context(), "PERSAT"); return err == nil })
	testwait.Eventually(t, "the bridge has seen it", func() bool {
		s := r.bridge.Status(t.Context())
		return s.NATS.Up && !s.StreamMissing
	})
	if err := r.bridge.RecreateStream(t.Context()); err == nil {
		t.Error("a stream that is there may be recreated")
	}
	// A message that the journal does not have: it cannot fill the stream.
	if _, err := js.Publish(t.Context(), "persat.stranger", nil); err != nil {
		t.Fatal(err)
	}
	r.accept(delivery("msg_1", "48"), bridge.Accepted)
	r.drained()
	if err := js.DeleteStream(t.Context(), "PERSAT"); err != nil {
		t.Fatal(err)
	}
	r.accept(delivery("msg_2", "48"), bridge.Accepted)
	testwait.Eventually(t, "a notice says what to do", func() bool {
		s := r.bridge.Status(t.Context())
		return s.StreamMissing && strings.Contains(strings.Join(s.Notices, "\n"), "persat-bridge stream recreate")
	})
	if _, err := js.Stream(t.Context(), "PERSAT"); err == nil {
		t.Fatal("it was created unasked")
	}
	if err := r.bridge.RecreateStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.drained()
	if s := r.bridge.Status(t.Context()); s.StreamMissing {
		t.Errorf("it is there, and status says that it is missing: %q", s.Notices)
	}
	if ids := messageIDs(t, js); !strings.Contains(strings.Join(ids, " "), "persat:msg_2") {
		t.Errorf("got %s, want the event that was held", ids)
	}
}

// overURL publishes to a server elsewhere, as creation allows.
func overURL(t *testing.T, url string, creation *bridge.Creation, log *zap.Logger) bridge.Publisher {
	t.Helper()
	p, err := publisher.New(publisher.Options{
		Connect:  publisher.ConnectOptions{URL: url},
		Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true},
		Prefixes: map[string]string{"persat": "persat"},
		Creation: creation,
		Log:      log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// messageIDs are those of the whole stream, in order.
func messageIDs(t *testing.T, js jetstream.JetStream) (ids []string) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.Header.Get(jetstream.MsgIDHeader))
	}
	return ids
}
