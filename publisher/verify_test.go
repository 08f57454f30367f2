package publisher

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// What a session tells of the stream, by which a loss is told from a deletion.
func TestStateNamesHostAndDeleted(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	s, js := connect(t, optionsFor(n.URL)), n.JetStream()
	for i := range 10 {
		mustPublish(t, s, fmt.Sprint("msg_", i))
	}
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{3, 6, 7, 8} {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	state, err := s.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if state.FirstSequence != 1 || state.LastSequence != 10 || state.Messages != 6 || state.Deleted != 4 || state.Limits.RemovedOnceHandled {
		t.Errorf("got %+v", state)
	}
	if again, err := connect(t, optionsFor(n.URL)).Stream(t.Context()); err != nil || state.Host == "" || again.Host != state.Host {
		t.Errorf("another session: got host %q, %v; want %q", again.Host, err, state.Host)
	}
	got, err := s.Deleted(t.Context())
	if want := []bridge.SequenceRange{{First: 3, Last: 3}, {First: 6, Last: 8}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// The ids of messages come without their bodies, from every kind of stream.
func TestHeads(t *testing.T) {
	t.Parallel()
	for name, retention := range map[string]jetstream.RetentionPolicy{"limits": jetstream.LimitsPolicy, "work queue": jetstream.WorkQueuePolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := natstest.Start(t, "")
			js := n.JetStream()
			config := plain()
			config.Retention = retention
			makeStream(t, js, config)
			s := connect(t, optionsFor(n.URL))
			for i := range 5 {
				e := event(fmt.Sprint("msg_", i+1))
				e.Body = bytes.Repeat([]byte("x"), 500<<10)
				if _, f := publish(t, s, e); f != nil {
					t.Fatal(f)
				}
			}
			if _, err := js.Publish(t.Context(), "persat.foreign", nil); err != nil {
				t.Fatal(err)
			}
			stream, err := js.Stream(t.Context(), "PERSAT")
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.DeleteMsg(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
			before := s.(*session).nc.Stats().InBytes
			for _, test := range []struct {
				from uint64
				n    int
				want []string
			}{
				{0, 2, []string{"1 persat:msg_1", "2 persat:msg_2"}},
				{2, 2, []string{"2 persat:msg_2", "4 persat:msg_4"}},
				{4, 9, []string{"4 persat:msg_4", "5 persat:msg_5", "6 "}},
				{7, 9, nil},
			} {
				heads, err := s.Heads(t.Context(), test.from, test.n)
				var got []string
				for _, h := range heads {
					got = append(got, fmt.Sprint(h.Seq, " ", h.ID))
					if time.Since(h.Stored).Abs() > time.Minute {
						t.Errorf("message %d: stored at %s", h.Seq, h.Stored)
					}
				}
				if err != nil || !slices.Equal(got, test.want) {
					t.Errorf("from %d: got %q, %v; want %q", test.from, got, err, test.want)
				}
			}
			if read := s.(*session).nc.Stats().InBytes - before; retention == jetstream.LimitsPolicy && read > 100<<10 {
				t.Errorf("read %d bytes for the ids of seven messages: the bodies came along", read)
			}
		})
	}
}

// Without the permission to make a consumer, ids are still read, and nobody waits for the
// answer that does not come.
func TestHeadsWithoutPermissionForConsumers(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, `authorization: {users: [
		{user: admin, password: pw}
		{user: bridge, password: pw, permissions: {publish: {deny: ["$JS.API.CONSUMER.>"]}}}
	]}`)
	makeStream(t, n.JetStream(nats.UserInfo("admin", "pw")), plain())
	o := optionsFor(n.URL)
	o.Connect.User, o.Connect.Password = "bridge", "pw"
	o.AckTimeout = time.Hour // how long an answer is waited for
	s := connect(t, o)
	mustPublish(t, s, "msg_1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if heads, err := s.Heads(ctx, 1, 5); err != nil || len(heads) != 1 || heads[0].ID != "persat:msg_1" {
		t.Errorf("got %v, %v", heads, err)
	}
}
