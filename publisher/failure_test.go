package publisher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// failing is one row of the failure table: a server in some state, an event, and
// what the attempt to publish it has to say.
type failing struct {
	name   string
	config string // of the server, beside JetStream
	server func(*server.Options)
	// user is who the bridge and the test are on the server.
	user string
	// stream is made before the bridge connects; without a name, none is.
	stream  jetstream.StreamConfig
	options func(*Options)
	// spoil brings about the fault after the bridge has connected.
	spoil func(*testing.T, *natstest.Server, jetstream.JetStream, bridge.Session)
	event func(*bridge.Event)

	class  bridge.Class
	code   jetstream.ErrorCode // of the server's answer; 0 when it is none
	reason []string            // words that the reason has to have

	// repair is what an operator does about it; then the same event goes.
	repair func(*testing.T, *natstest.Server, jetstream.JetStream)
}

func unmanaged(o *Options) { o.Stream.Manage = false }

func plain() jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: "PERSAT", Subjects: []string{"persat.>"}, Duplicates: time.Minute}
}

func with(change func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	c := plain()
	change(&c)
	return c
}

// fill publishes until the server does not take any more.
func fill(size int) func(*testing.T, *natstest.Server, jetstream.JetStream, bridge.Session) {
	return func(t *testing.T, _ *natstest.Server, js jetstream.JetStream, _ bridge.Session) {
		for range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := js.Publish(ctx, "persat.filler", make([]byte, size), jetstream.WithRetryAttempts(0))
			cancel()
			if err != nil {
				return
			}
		}
		t.Fatal("it does not get full")
	}
}

func updateStream(change func(*jetstream.StreamConfig)) func(*testing.T, *natstest.Server, jetstream.JetStream) {
	return func(t *testing.T, _ *natstest.Server, js jetstream.JetStream) {
		t.Helper()
		stream, err := js.Stream(t.Context(), "PERSAT")
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		change(&c)
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

func purge(t *testing.T, _ *natstest.Server, js jetstream.JetStream) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func deleteStream(name string) func(*testing.T, *natstest.Server, jetstream.JetStream) {
	return func(t *testing.T, _ *natstest.Server, js jetstream.JetStream) {
		t.Helper()
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	deniedPublish = `authorization: {users: [
		{user: admin, password: pw}
		{user: bridge, password: pw, permissions: {publish: {deny: ["persat.client.created"]}}}
	]}`
	deniedAnswers = `authorization: {users: [
		{user: admin, password: pw}
		{user: bridge, password: pw, permissions: {subscribe: {deny: ["_INBOX.>"]}}}
	]}`
	deniedLook = `authorization: {users: [
		{user: admin, password: pw}
		{user: bridge, password: pw, permissions: {publish: {deny: ["$JS.API.>"]}}}
	]}`
	permitted = `authorization: {users: [{user: admin, password: pw}, {user: bridge, password: pw}]}`
)

var failures = []failing{
	{
		name:    "no stream",
		options: unmanaged,
		class:   bridge.Held,
		reason:  []string{"no stream answers", "create it with subjects persat.>"},
		repair: func(t *testing.T, _ *natstest.Server, js jetstream.JetStream) {
			makeStream(t, js, plain())
		},
	},
	{
		name:   "publish denied",
		config: deniedPublish, user: "bridge",
		class:  bridge.Held,
		reason: []string{"may not publish to persat.client.created", "permission"},
		repair: func(_ *testing.T, n *natstest.Server, _ jetstream.JetStream) { n.Reload(permitted) },
	},
	{
		name:   "answers denied",
		config: deniedAnswers, user: "bridge",
		stream: plain(),
		class:  bridge.Held,
		reason: []string{"may not subscribe to _INBOX.persat-bridge.>", "permission"},
	},
	{
		name:   "larger than max_payload",
		config: "max_payload: 64KB",
		event:  func(e *bridge.Event) { e.Body = make([]byte, 64<<10) },
		class:  bridge.Rejected,
		reason: []string{"max_payload", "raise the limit", "replay"},
	},
	{
		name:   "larger than max_payload with its headers",
		config: "max_payload: 64KB",
		event:  func(e *bridge.Event) { e.Body = make([]byte, 64<<10-100) },
		class:  bridge.Rejected,
		reason: []string{"max_payload"},
	},
	{
		name:   "larger than max_msg_size",
		stream: with(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }),
		event:  func(e *bridge.Event) { e.Body = make([]byte, 1000) },
		class:  bridge.Rejected, code: 10054,
		reason: []string{"max_msg_size", "raise the limit", "replay"},
	},
	{
		name:  "headers too large",
		event: func(e *bridge.Event) { e.Traceparent = strings.Repeat("0", 64<<10) },
		class: bridge.Rejected, code: 10097,
		reason: []string{"headers", "64 KB", "discard"},
	},
	{
		name:   "stream full of messages",
		stream: with(func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, 3 }),
		spoil:  fill(1), class: bridge.Held, code: 10077,
		reason: []string{"limit", "make room", "raise"},
		repair: updateStream(func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }),
	},
	{
		name:   "stream full of bytes",
		stream: with(func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardNew, 10_000 }),
		spoil:  fill(500), event: func(e *bridge.Event) { e.Body = make([]byte, 1000) },
		class: bridge.Held, code: 10077,
		reason: []string{"limit", "make room"},
		repair: purge,
	},
	{
		name: "subject full",
		stream: with(func(c *jetstream.StreamConfig) {
			c.Discard, c.DiscardNewPerSubject, c.MaxMsgsPerSubject = jetstream.DiscardNew, true, 1
		}),
		spoil: func(t *testing.T, _ *natstest.Server, _ jetstream.JetStream, s bridge.Session) {
			mustPublish(t, s, "first")
		},
		class: bridge.Held, code: 10077,
		reason: []string{"limit"},
		repair: purge,
	},
	{
		name:   "account full",
		config: `accounts: {A: {jetstream: {max_file: 20000}, users: [{user: bridge, password: pw}]}}`, user: "bridge",
		spoil: fill(1000), event: func(e *bridge.Event) { e.Body = make([]byte, 2000) },
		class: bridge.Held, code: 10002,
		reason: []string{"account", "limit", "raise it"},
		repair: purge,
	},
	{
		name:   "server full",
		server: func(o *server.Options) { o.JetStreamMaxStore = 20_000 },
		spoil:  fill(1000), event: func(e *bridge.Event) { e.Body = make([]byte, 2000) },
		class: bridge.Held, code: 10023,
		reason: []string{"out of resources", "disk"},
		repair: purge,
	},
	{
		name:   "server full in memory",
		server: func(o *server.Options) { o.JetStreamMaxMemory = 20_000 },
		stream: with(func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }),
		spoil:  fill(1000), event: func(e *bridge.Event) { e.Body = make([]byte, 2000) },
		class: bridge.Held, code: 10023,
		reason: []string{"memory"},
		repair: purge,
	},
	{
		name: "sealed",
		spoil: func(t *testing.T, n *natstest.Server, js jetstream.JetStream, s bridge.Session) {
			updateStream(func(c *jetstream.StreamConfig) { c.Sealed = true })(t, n, js)
		},
		class: bridge.Held, code: 10109,
		reason: []string{"sealed", "recreate this one"},
		repair: deleteStream("PERSAT"),
	},
	{
		name:   "subject taken out of the stream",
		stream: with(func(c *jetstream.StreamConfig) { c.Subjects = []string{"persat.delivery.>"} }), options: unmanaged,
		class:  bridge.Held,
		reason: []string{"does not have subject persat.client.created", "add persat.>"},
		repair: updateStream(func(c *jetstream.StreamConfig) { c.Subjects = []string{"persat.>"} }),
	},
	{
		name:   "another stream has the subject, the configured one is missing",
		stream: jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"persat.>"}},
		class:  bridge.Held, code: 10060,
		reason: []string{"another stream has this subject", "overlap"},
		repair: deleteStream("OTHER"),
	},
	{
		name:   "another stream has the subject, and the bridge may not look",
		config: deniedLook, user: "bridge",
		stream: jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"persat.>"}},
		class:  bridge.Held, code: 10060,
		reason: []string{"another stream has this subject"},
		repair: func(t *testing.T, n *natstest.Server, js jetstream.JetStream) {
			deleteStream("OTHER")(t, n, js)
			makeStream(t, js, plain())
		},
	},
	{
		name: "another stream took the subject over",
		spoil: func(t *testing.T, n *natstest.Server, js jetstream.JetStream, _ bridge.Session) {
			deleteStream("PERSAT")(t, n, js)
			makeStream(t, js, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"persat.>"}})
		},
		class:  bridge.Held,
		reason: []string{"stream OTHER took subject persat.client.created instead of PERSAT", "give it to the other"},
		repair: deleteStream("OTHER"),
	},
	{
		name:   "stream without acks",
		stream: with(func(c *jetstream.StreamConfig) { c.NoAck = true }),
		class:  bridge.Held,
		reason: []string{"no acknowledgement in time", "stream without acks"},
		repair: updateStream(func(c *jetstream.StreamConfig) { c.NoAck = false }),
	},
	{
		name:    "a responder that is not JetStream",
		options: unmanaged,
		spoil:   respond("hello"),
		class:   bridge.Held,
		reason:  []string{"not JetStream", "stop that responder"},
	},
	{
		name:    "a responder that speaks JSON",
		options: unmanaged,
		spoil:   respond(`{"ok":true}`),
		class:   bridge.Held,
		reason:  []string{"not JetStream", "stop that responder"},
	},
	{
		name:   "JetStream off on the server",
		server: func(o *server.Options) { o.JetStream = false },
		class:  bridge.Held,
		reason: []string{"no stream answers", "JetStream is not enabled on the NATS server"},
	},
	{
		name:   "JetStream off for the account",
		config: `accounts: {A: {users: [{user: bridge, password: pw}]}}`, user: "bridge",
		class:  bridge.Held,
		reason: []string{"no stream answers", "JetStream not enabled for account"},
	},
	{
		name:   "headers off on the server",
		server: func(o *server.Options) { o.NoHeaderSupport = true },
		stream: plain(),
		class:  bridge.Held,
		reason: []string{"headers switched off", "switch them on"},
	},
	{
		name:   "a subject that is none",
		event:  func(e *bridge.Event) { e.Type = "client created" },
		class:  bridge.Rejected,
		reason: []string{"subject is not valid"},
	},
	{
		name:   "a source that is gone from the configuration",
		event:  func(e *bridge.Event) { e.Source = "gone" },
		class:  bridge.Held,
		reason: []string{`source "gone"`, "put it back"},
	},
}

func respond(with string) func(*testing.T, *natstest.Server, jetstream.JetStream, bridge.Session) {
	return func(t *testing.T, _ *natstest.Server, js jetstream.JetStream, _ bridge.Session) {
		t.Helper()
		if _, err := js.Conn().Subscribe("persat.>", func(m *nats.Msg) { _ = m.Respond([]byte(with)) }); err != nil {
			t.Fatal(err)
		}
		if err := js.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailures produces each failure on a real server. What an operator can repair
// is repaired, and then the same event goes, and is there once.
func TestFailures(t *testing.T) {
	for _, row := range failures {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var change []func(*server.Options)
			if row.server != nil {
				change = append(change, row.server)
			}
			n := natstest.Start(t, row.config, change...)
			o := optionsFor(n.URL)
			var as []nats.Option
			if row.user != "" {
				o.Connect.User, o.Connect.Password = row.user, "pw"
				as = append(as, nats.UserInfo(row.user, "pw"))
				if strings.Contains(row.config, "admin") {
					as = []nats.Option{nats.UserInfo("admin", "pw")}
				}
			}
			js := n.JetStream(as...)
			if row.stream.Name != "" {
				makeStream(t, js, row.stream)
			}
			if row.options != nil {
				row.options(&o)
			}
			p, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, p)
			if row.spoil != nil {
				row.spoil(t, n, js, s)
			}
			e := event("msg_1")
			if row.event != nil {
				row.event(e)
			}
			for _, attempt := range []string{"first", "second"} {
				_, f := publish(t, s, e)
				if f == nil {
					t.Fatalf("%s attempt: it was published", attempt)
				}
				if attempt == "second" && strings.Contains(row.name, "took the subject over") {
					// Known now: it is not sent into the wrong stream again.
					if code := codeOf(f); code != jetstream.ErrorCode(server.JSStreamNotMatchErr) {
						t.Errorf("second attempt: got code %d, want 10060: %v", code, f)
					}
					continue
				}
				if f.Class != row.class {
					t.Errorf("%s attempt: got class %v, want %v: %v", attempt, f.Class, row.class, f)
				}
				if code := codeOf(f); code != row.code {
					t.Errorf("%s attempt: got code %d, want %d: %v", attempt, code, row.code, f)
				}
				for _, word := range row.reason {
					if !strings.Contains(f.Reason, word) {
						t.Errorf("%s attempt: the reason %q does not say %q", attempt, f.Reason, word)
					}
				}
			}
			if row.repair == nil {
				return
			}
			row.repair(t, n, js)
			storedOnce(t, js, p, s, e)
		})
	}
}

func codeOf(f *bridge.Failure) jetstream.ErrorCode {
	if api, ok := errors.AsType[*jetstream.APIError](f.Err); ok {
		return api.ErrorCode
	}
	return 0
}

// storedOnce publishes e until it goes, as the bridge does, over sessions that
// end, and then looks for it in the stream.
func storedOnce(t *testing.T, js jetstream.JetStream, p *JetStream, s bridge.Session, e *bridge.Event) {
	t.Helper()
	var last *bridge.Failure
	testwait.Eventually(t, "the event goes after the repair", func() bool {
		select {
		case <-s.Done():
			s = open(t, p)
		default:
		}
		_, last = publish(t, s, e)
		if last != nil {
			t.Logf("after the repair: %v", last)
		}
		return last == nil
	})
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for seq := stream.CachedInfo().State.FirstSeq; seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err == nil && m.Header.Get(jetstream.MsgIDHeader) == e.MessageID() {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the event is in the stream %d times, want once", found)
	}
}

// A paused server acknowledges nothing; going on, it takes what it was sent, once.
func TestServerPaused(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	p, err := New(optionsFor(n.URL))
	if err != nil {
		t.Fatal(err)
	}
	s, js := open(t, p), n.JetStream()
	n.Pause()
	e := event("msg_1")
	_, f := publish(t, s, e)
	if f == nil || f.Class != bridge.Held || !strings.Contains(f.Reason, "paused") {
		t.Errorf("got %v, want held, for it may be paused", f)
	}
	n.Resume()
	storedOnce(t, js, p, s, e)
}

// A server that dies under an attempt ends the attempt and the session.
func TestServerGone(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	o := optionsFor(n.URL)
	o.AckTimeout = 20 * time.Second
	s := connect(t, o)
	n.Pause() // so that the attempt is under way
	time.AfterFunc(200*time.Millisecond, n.Kill)
	begin := time.Now()
	_, f := publish(t, s, event("msg_1"))
	if f == nil || f.Class != bridge.LinkDown || !strings.Contains(f.Reason, "connection") {
		t.Errorf("under way: got %v, want link down", f)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v to notice", took)
	}
	ended(t, s)
	if _, f := publish(t, s, event("msg_2")); f == nil || f.Class != bridge.LinkDown {
		t.Errorf("afterwards: got %v, want link down", f)
	}
	if _, err := s.Stream(t.Context()); err == nil {
		t.Error("Stream answers without a connection")
	}
}

// A disk that is full is no reason to lose or to give up an event.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	n := natstest.Start(t, "", func(o *server.Options) { o.StoreDir, o.JetStreamMaxStore = dir, 1<<30 })
	s := connect(t, optionsFor(n.URL))
	fill(100<<10)(t, n, n.JetStream(), s)
	e := event("msg_1")
	e.Body = make([]byte, 200<<10)
	_, f := publish(t, s, e)
	if f == nil || f.Class != bridge.Held || !strings.Contains(f.Reason, "disk") {
		t.Errorf("got %v, want held, with a word about the disk", f)
	}
}

// What no server here can be brought to say, and what none has said yet.
func TestClassify(t *testing.T) {
	for code, want := range byCode {
		f := classify(fmt.Errorf("publish: %w", &jetstream.APIError{ErrorCode: jetstream.ErrorCode(code), Code: 400}))
		if f.Class != want.Class || f.Reason != want.Reason || codeOf(f) != jetstream.ErrorCode(code) {
			t.Errorf("code %d: got %v %v, want %v", code, f.Class, f, want.Class)
		}
		if f.Class != bridge.Held && f.Class != bridge.Rejected {
			t.Errorf("code %d: an answer of the server is %v", code, f.Class)
		}
	}
	for _, row := range byError {
		f := classify(fmt.Errorf("publish: %w", row.err))
		if f.Class != row.failure.Class || f.Reason != row.failure.Reason || !errors.Is(f, row.err) {
			t.Errorf("%v: got %v %v, want %v", row.err, f.Class, f, row.failure.Class)
		}
	}
	for name, err := range map[string]error{
		"a code that is not in the table": &jetstream.APIError{ErrorCode: 19999, Code: 503, Description: "from a later version"},
		"an error that is not":            errors.New("odd"),
	} {
		f := classify(err)
		if f.Class != bridge.Unknown || !errors.Is(f, err) || !strings.Contains(f.Error(), err.Error()) {
			t.Errorf("%s: got %v %v, want unknown with what it said", name, f.Class, f)
		}
	}
	// The table must not change by being read.
	if byCode[server.JSStreamSealedErr].Err != nil || byError[0].failure.Err != nil {
		t.Error("an attempt's error is in the table")
	}
}
