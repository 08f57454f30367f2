package publisher

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

func configOf(t *testing.T, js jetstream.JetStream) jetstream.StreamConfig {
	t.Helper()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

func TestStreamIsMade(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	o := optionsFor(n.URL)
	o.Prefixes = map[string]string{"south": "acme.south", "north": "acme.north"}
	o.Stream.MaxAge, o.Stream.MaxBytes, o.Stream.DuplicateWindow = 24*time.Hour, 1<<20, 2*time.Hour
	o.Stream.Compress = true
	connect(t, o)
	got := configOf(t, n.JetStream())
	if want := []string{"acme.north.>", "acme.south.>"}; !slices.Equal(got.Subjects, want) {
		t.Errorf("got subjects %q, want %q", got.Subjects, want)
	}
	if got.Storage != jetstream.FileStorage || got.Retention != jetstream.LimitsPolicy || got.Discard != jetstream.DiscardOld || got.Replicas != 1 || got.NoAck {
		t.Errorf("got %+v", got)
	}
	if got.Duplicates != 2*time.Hour || got.MaxAge != 24*time.Hour || got.MaxBytes != 1<<20 || got.Compression != jetstream.S2Compression {
		t.Errorf("got duplicates %v, max_age %v, max_bytes %d, compression %s", got.Duplicates, got.MaxAge, got.MaxBytes, got.Compression)
	}
	if different := o.differences(got); len(different) > 0 {
		t.Errorf("what it made is not what it wants: %q", different)
	}
}

// An operator's stream gets the subjects it lacks, and keeps everything else.
func TestStreamIsWidenedOnly(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, jetstream.StreamConfig{
		Name: "PERSAT", Description: "ours", Subjects: []string{"audit.>", "persat.client.>", "acme.>"},
		Retention: jetstream.InterestPolicy, Discard: jetstream.DiscardNew, MaxMsgs: 1000, MaxBytes: 1 << 20, MaxAge: time.Hour,
		MaxMsgSize: 5000, Duplicates: time.Minute, Storage: jetstream.MemoryStorage, Compression: jetstream.NoCompression,
		Metadata: map[string]string{"owner": "us"}, AllowRollup: true,
	})
	before := configOf(t, js)
	o := optionsFor(n.URL)
	o.Prefixes["second"], o.Prefixes["covered"] = "second", "acme.third"
	s := connect(t, o)
	after := configOf(t, js)
	slices.Sort(after.Subjects)
	// persat.client.> is in persat.>, and a stream's subjects may not overlap.
	if want := []string{"acme.>", "audit.>", "persat.>", "second.>"}; !slices.Equal(after.Subjects, want) {
		t.Errorf("got subjects %q, want %q", after.Subjects, want)
	}
	after.Subjects = before.Subjects
	if !reflect.DeepEqual(before, after) {
		t.Errorf("got\n%+v\nwant\n%+v", after, before)
	}
	state, err := s.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"storage is memory", "retention is interest", "max_age is 1h", "max_bytes"} {
		if !slices.ContainsFunc(state.Info.Differences, func(d string) bool { return strings.Contains(d, word) }) {
			t.Errorf("the differences %q do not say %q", state.Info.Differences, word)
		}
	}
}

// What is different is told when it is found, and again only when it changes.
func TestDifferencesAreToldOnce(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, with(func(c *jetstream.StreamConfig) { c.MaxAge = 48 * time.Hour }))
	core, logs := observer.New(zap.WarnLevel)
	o := optionsFor(n.URL)
	o.Log = zap.New(core)
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	tell := func(want int) {
		t.Helper()
		open(t, p).Close()
		if got := logs.Len(); got != want {
			t.Fatalf("got %d warnings, want %d: %v", got, want, logs.All())
		}
	}
	tell(1)
	tell(1)
	if got := logs.All()[0].ContextMap()["problems"]; got != "its max_age is 48h0m0s, not 0s" {
		t.Errorf("got %q", got)
	}
	updateStream(func(c *jetstream.StreamConfig) { c.MaxAge = 24 * time.Hour })(t, n, js)
	tell(2)
	updateStream(func(c *jetstream.StreamConfig) { c.MaxAge = 0 })(t, n, js)
	tell(2) // all is well: nothing to warn of
	updateStream(func(c *jetstream.StreamConfig) { c.MaxAge = 24 * time.Hour })(t, n, js)
	tell(3)
}

func TestStreamIsNotManaged(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	o := optionsFor(n.URL)
	o.Stream.Manage = false
	s := connect(t, o)
	if _, err := s.Stream(t.Context()); !errors.Is(err, bridge.ErrNoStream) {
		t.Errorf("got %v, want ErrNoStream", err)
	}
	_, f := publish(t, s, event("msg_1"))
	if f == nil || !strings.Contains(f.Reason, "nats.stream.manage is off: create it with subjects persat.>") {
		t.Errorf("got %v", f)
	}
	js := n.JetStream()
	if _, err := js.Stream(t.Context(), "PERSAT"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("got %v, want no stream", err)
	}

	makeStream(t, js, with(func(c *jetstream.StreamConfig) { c.Subjects = []string{"persat.delivery.>"} }))
	connect(t, o)
	if got := configOf(t, js).Subjects; !slices.Equal(got, []string{"persat.delivery.>"}) {
		t.Errorf("it was widened to %q", got)
	}
}

// A stream that is deleted under the bridge is made again, and the session ends:
// what the journal knows is about another stream, and the next session looks first.
func TestStreamIsDeleted(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	p, err := New(optionsFor(n.URL))
	if err != nil {
		t.Fatal(err)
	}
	s, js := open(t, p), n.JetStream()
	mustPublish(t, s, "msg_1")
	before, err := s.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	deleteStream("PERSAT")(t, n, js)
	if _, f := publish(t, s, event("msg_2")); f == nil || f.Class == bridge.Rejected || f.Class == bridge.Unknown {
		t.Errorf("got %v, want a failure that waits", f)
	}
	ended(t, s)
	s = open(t, p)
	after, err := s.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before.Identity == after.Identity || before.LastSequence != 1 || after.LastSequence != 0 {
		t.Errorf("got %+v after %+v: not told apart", after, before)
	}
	mustPublish(t, s, "msg_2")
}

func TestStreamAndItsMessages(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	s, js := connect(t, optionsFor(n.URL)), n.JetStream()
	first, second := mustPublish(t, s, "msg_1"), mustPublish(t, s, "msg_2")
	if again := mustPublish(t, s, "msg_1"); !again.Duplicate || again.Sequence != first.Sequence {
		t.Errorf("the same id again: got %+v, want a duplicate of %+v", again, first)
	}
	foreign, err := js.Publish(t.Context(), "persat.foreign", nil)
	if err != nil {
		t.Fatal(err)
	}
	headed, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "persat.foreign", Header: nats.Header{"x": {"y"}}})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), second.Sequence); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		seq  uint64
		want string
		err  error
	}{
		{"ours", first.Sequence, "persat:msg_1", nil},
		{"deleted", second.Sequence, "", bridge.ErrNoMessage},
		{"somebody's without headers", foreign.Sequence, "", nil},
		{"somebody's without an id", headed.Sequence, "", nil},
		{"not there yet", headed.Sequence + 1, "", bridge.ErrNoMessage},
	} {
		got, err := s.Message(t.Context(), test.seq)
		if got.ID != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: got %q, %v, want %q, %v", test.name, got.ID, err, test.want, test.err)
		}
		if err == nil && time.Since(got.Stored).Abs() > time.Minute {
			t.Errorf("%s: stored at %s, want now", test.name, got.Stored)
		}
	}
	state, err := s.Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if state.LastSequence != headed.Sequence || state.Info.Messages != 3 || state.Info.Discard != "old" || state.Info.MaxBytes != 0 {
		t.Errorf("got %+v", state)
	}
	deleteStream("PERSAT")(t, n, js)
	if _, err := s.Stream(t.Context()); !errors.Is(err, bridge.ErrNoStream) {
		t.Errorf("deleted: got %v, want ErrNoStream", err)
	}
}

// Who may publish but not ask gets events through, and is told what is missing.
func TestNotPermittedToAsk(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, `authorization: {users: [
		{user: admin, password: pw}
		{user: bridge, password: pw, permissions: {publish: {deny: ["$JS.API.STREAM.INFO.>", "$JS.API.STREAM.MSG.GET.>"]}}}
	]}`)
	makeStream(t, n.JetStream(nats.UserInfo("admin", "pw")), plain())
	o := optionsFor(n.URL)
	o.Connect.User, o.Connect.Password = "bridge", "pw"
	s := connect(t, o)
	receipt := mustPublish(t, s, "msg_1")
	_, err := s.Stream(t.Context())
	if !errors.Is(err, bridge.ErrNotPermitted) || !strings.Contains(err.Error(), "publish to $JS.API.STREAM.INFO.PERSAT") {
		t.Errorf("Stream: got %v, want ErrNotPermitted with the subject", err)
	}
	_, err = s.Message(t.Context(), receipt.Sequence)
	if !errors.Is(err, bridge.ErrNotPermitted) || !strings.Contains(err.Error(), "publish to $JS.API.STREAM.MSG.GET.PERSAT") {
		t.Errorf("Message: got %v, want ErrNotPermitted with the subject", err)
	}
}

// JetStream knows a repeat by its id alone. An id that was used for something else must not
// swallow an event.
func TestRepeatIsTheSameEvent(t *testing.T) {
	n := natstest.Start(t, "")
	s := connect(t, optionsFor(n.URL))
	replayed := event("x")
	replayed.Replay = 1
	if _, f := publish(t, s, replayed); f != nil {
		t.Fatal(f)
	}
	if receipt, f := publish(t, s, replayed); f != nil || !receipt.Duplicate {
		t.Errorf("the same again: got %+v %v, want a duplicate", receipt, f)
	}
	if _, f := publish(t, s, event("x:r1")); f == nil || f.Class != bridge.Rejected {
		t.Errorf("an id that looks like that of the replay: got %v, want rejected", f)
	}
	mustPublish(t, s, "y")
	other := event("y")
	other.Body = []byte(`{"eventType":"client.created","payload":1}`)
	if _, f := publish(t, s, other); f == nil || f.Class != bridge.Rejected || !strings.Contains(f.Reason, "used before") {
		t.Errorf("other bytes under a known id: got %v, want rejected", f)
	}
	other.Replay = 2
	if receipt, f := publish(t, s, other); f != nil || receipt.Duplicate {
		t.Errorf("the same as a replay: got %+v %v, want it stored", receipt, f)
	}
}

// Nobody looked again for a stream that could not be looked at when the session began, until
// an event came: a consumer had nothing to read from. The session ends when it is there: what
// the journal knows may be about another one.
func TestStreamIsLookedForWithoutEvents(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options func(*Options)
		repair  func(*natstest.Server, jetstream.JetStream)
	}{
		"made by somebody else": {
			options: unmanaged,
			repair:  func(n *natstest.Server, js jetstream.JetStream) { makeStream(t, js, plain()) },
		},
		"its subjects were another stream's": {
			options: func(*Options) {},
			repair:  func(n *natstest.Server, js jetstream.JetStream) { deleteStream("OTHER")(t, n, js) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := natstest.Start(t, "")
			js := n.JetStream()
			o := optionsFor(n.URL)
			if test.options(&o); o.Stream.Manage {
				makeStream(t, js, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"persat.>"}})
			}
			s := connect(t, o)
			test.repair(n, js)
			ended(t, s)
			if _, err := js.Stream(t.Context(), "PERSAT"); err != nil {
				t.Error(err)
			}
		})
	}
}
