package publisher

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

const deniedAPI = `authorization: {users: [
	{user: admin, password: pw}
	{user: bridge, password: pw, permissions: {publish: {deny: [%s]}}}
]}`

// account has a user for the test and one for the bridge, and these limits of JetStream.
func account(limits string) string {
	return "accounts {A {jetstream {" + limits + "}, users [{user: admin, password: pw}, {user: bridge, password: pw}]}}"
}

// TestCheck looks at servers in many states. Every finding that is not ok has to
// be expected, and the stream is afterwards what it was.
func TestCheck(t *testing.T) {
	const body = 512 << 10 // fits into a server's 1 MiB
	for _, test := range []struct {
		name    string
		config  string
		server  func(*server.Options)
		user    string
		stream  jetstream.StreamConfig
		other   jetstream.StreamConfig // one more
		options func(*Options)
		body    int64
		ok      []string // findings that are ok
		bad     []string // all others, by their beginning and words: "level: words…"
	}{
		{
			name:   "all is well",
			stream: plain(),
			ok: []string{"connected to nats://127.0.0.1", "version 2.", "max_payload is 1048576 bytes", "stream PERSAT is there", "subjects of every source: persat.>",
				"may use $JS.API.STREAM.MSG.GET.PERSAT", "duplicate window is 1m", "storage is file", "it has 1 replica, as configured", "retention is limits",
				"no limits", "it takes no atomic batches (allow_atomic)", "may publish to persat.persat-bridge.check, and stream PERSAT answers"},
		},
		{
			name: "a stream that takes batches", stream: with(batches),
			ok: []string{"it takes atomic batches (allow_atomic)"},
		},
		{
			name: "to be made",
			ok:   []string{"does not exist yet: the bridge makes it, with subjects persat.>", "may use $JS.API.STREAM.CREATE.PERSAT", "no stream has that subject yet"},
		},
		{
			name: "to be made by somebody else", options: unmanaged,
			bad: []string{"error: stream PERSAT does not exist|create it with subjects persat.>"},
		},
		{
			name: "to be widened", stream: plain(), options: func(o *Options) { o.Prefixes["second"] = "acme.second" },
			ok: []string{"does not have the subjects acme.second.> yet: the bridge adds them", "may use $JS.API.STREAM.UPDATE.PERSAT"},
		},
		{
			name: "to be widened by somebody else", stream: plain(), options: func(o *Options) {
				o.Stream.Manage = false
				o.Prefixes["second"] = "acme.second"
			},
			bad: []string{"error: it does not have the subjects acme.second.>|add them"},
		},
		{
			name: "bodies too large for the server", stream: plain(), body: 4 << 20,
			bad: []string{"error: the server's max_payload is 1048576 bytes|4194304|set max_payload: 4259840|or server.max_body_bytes: 983040"},
		},
		{
			name: "bodies too large for the stream", stream: with(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100_000 }),
			bad: []string{"error: its max_msg_size is 100000 bytes|524288|set it to 589824|or server.max_body_bytes: 34464"},
		},
		{
			name: "an operator's stream", stream: with(func(c *jetstream.StreamConfig) {
				c.Storage, c.Retention, c.Discard = jetstream.MemoryStorage, jetstream.WorkQueuePolicy, jetstream.DiscardNew
				c.MaxMsgs, c.MaxAge, c.Duplicates = 100, time.Hour, 30*time.Second
			}),
			options: func(o *Options) { o.Stream.Replicas = 3 },
			bad: []string{
				"warning: its duplicate window is 30s|is 1m0s", "error: its storage is memory", "warning: it has 1 replica,|is 3",
				"warning: it discards new messages when it is full (max_msgs 100)|held", "warning: its max_age is 1h0m0s|is 0s", "warning: its retention is workqueue",
			},
		},
		{
			name: "old messages go", stream: with(func(c *jetstream.StreamConfig) { c.MaxBytes, c.MaxMsgsPerSubject = 1<<20, 5 }),
			bad: []string{"warning: it discards old messages at its limits (max_bytes 1048576, max_msgs_per_subject 5)"},
		},
		{
			name: "old messages go, as configured", stream: with(func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }),
			options: func(o *Options) { o.Stream.MaxBytes = 1 << 20 },
			ok:      []string{"discards old messages at max_bytes 1048576, as configured"},
		},
		{
			name: "no limits on the disk of the journal", stream: plain(), options: func(o *Options) { o.JournalDiskStore = os.TempDir() },
			ok:  []string{"it has grown by 0 messages, about 0.0 MiB, in the last day"},
			bad: []string{"warning: it has no limits, and is on the disk of the journal|nats.embedded.max_store"},
		},
		{
			name: "max_age on the disk of the journal", stream: with(func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }),
			options: func(o *Options) { o.JournalDiskStore, o.Stream.MaxAge = os.TempDir(), time.Hour },
		},
		{
			name: "no acks", stream: with(func(c *jetstream.StreamConfig) { c.NoAck = true }),
			bad: []string{"error: it does not acknowledge (no_ack)", "error: publish to persat.persat-bridge.check: no answer|does not acknowledge"},
		},
		{
			name: "another stream has the subjects", stream: jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"persat.>"}},
			ok:  []string{"does not exist yet"},
			bad: []string{"error: stream OTHER has the subject persat.persat-bridge.check, and not PERSAT", "error: stream OTHER has subjects in persat.>"},
		},
		{
			name: "another stream has a part of the subjects", stream: jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"persat.client.*"}},
			bad: []string{"error: stream OTHER has subjects in persat.>|give the source another subject_prefix"},
		},
		{
			name: "another stream has a part of those to be added", stream: plain(), other: jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"acme.second.x"}},
			options: func(o *Options) { o.Prefixes["second"] = "acme.second" },
			bad:     []string{"error: stream OTHER has subjects in acme.second.>"},
		},
		{
			name: "three replicas on one server", options: func(o *Options) { o.Stream.Replicas = 3 },
			bad: []string{"error: nats.stream.replicas is 3, but the server is one alone"},
		},
		{
			name: "max_age below the duplicate window", options: func(o *Options) { o.Stream.MaxAge = 10 * time.Second },
			bad: []string{"error: the server would not create the stream|duplicates window can not be larger then max age"},
		},
		{
			name: "the server limits the duplicate window", server: func(o *server.Options) { o.JetStreamLimits.Duplicates = 10 * time.Second },
			bad: []string{"error: the server would not create the stream|server limit of 10s"},
		},
		{
			name: "the account asks for max_bytes", user: "bridge", config: account("max_file: 100MB, max_streams: 5, max_bytes_required: true"),
			bad: []string{"error: the server would not create the stream|max bytes set"},
		},
		{
			name: "the account has its one stream", user: "bridge", config: account("max_file: 100MB, max_streams: 1"), stream: jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"o.>"}},
			bad: []string{"error: the account has 1 of at most 1 streams"},
		},
		{
			name: "more than the account's storage", user: "bridge", config: account("max_file: 100MB"), options: func(o *Options) { o.Stream.MaxBytes = 200 << 20 },
			bad: []string{"error: nats.stream.max_bytes is 209715200, and the account has 104857600 bytes"},
		},
		{
			name: "an account without file storage", user: "bridge", config: account("max_mem: 100MB, max_file: 0"),
			bad: []string{"error: the account has no file storage"},
		},
		{
			name: "a mirror", stream: plain(), other: jetstream.StreamConfig{Name: "MIRROR", Mirror: &jetstream.StreamSource{Name: "PERSAT"}},
			options: func(o *Options) { o.Stream.Name = "MIRROR" },
			bad: []string{"error: it is a mirror of PERSAT|every event is held", "error: stream PERSAT has subjects in persat.>",
				"error: stream PERSAT has the subject persat.persat-bridge.check, and not MIRROR", "warning: its duplicate window is 0s"},
		},
		{
			name: "subjects stored under other names", stream: with(func(c *jetstream.StreamConfig) {
				c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "persat.>", Destination: "in.persat.>"}
			}),
			bad: []string{`warning: it stores subjects under other names (subject_transform from "persat.>" to "in.persat.>")`},
		},
		{
			name: "acknowledged before it is written", stream: with(func(c *jetstream.StreamConfig) {
				c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
			}),
			bad: []string{"warning: it acknowledges before it has written (persist_mode async)"},
		},
		{
			name: "counters", stream: with(func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true }),
			bad: []string{"error: it is for counters (allow_msg_counter)"},
		},
		{
			name: "interest, and nobody has any", stream: with(func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }),
			bad: []string{"error: nobody consumes it", "warning: its retention is interest"},
		},
		{
			name: "may not ask for the account and other streams", user: "bridge", config: fmt.Sprintf(deniedAPI, `"$JS.API.INFO", "$JS.API.STREAM.NAMES"`),
			bad: []string{"note: the NATS user may not use $JS.API.INFO and $JS.API.STREAM.NAMES"},
		},
		{
			name: "JetStream is off", server: func(o *server.Options) { o.JetStream = false },
			bad: []string{"error: look up stream PERSAT: JetStream is not enabled"},
		},
		{
			name: "may not publish", user: "bridge", config: fmt.Sprintf(deniedAPI, `"persat.>"`), stream: plain(),
			bad: []string{"error: the NATS user may not publish to persat.persat-bridge.check|for persat.>"},
		},
		{
			name: "may not look", user: "bridge", config: fmt.Sprintf(deniedAPI, `"$JS.API.STREAM.INFO.>"`), stream: plain(),
			ok:  []string{"stream PERSAT answers"},
			bad: []string{"warning: look up stream PERSAT|publish to $JS.API.STREAM.INFO.PERSAT|does not heal"},
		},
		{
			name: "may not read", user: "bridge", config: fmt.Sprintf(deniedAPI, `"$JS.API.STREAM.MSG.GET.>"`), stream: plain(),
			bad: []string{"warning: the NATS user may not publish to $JS.API.STREAM.MSG.GET.PERSAT|not healed"},
		},
		{
			name: "may not make", user: "bridge", config: fmt.Sprintf(deniedAPI, `"$JS.API.STREAM.CREATE.>"`),
			bad: []string{"error: the NATS user may not publish to $JS.API.STREAM.CREATE.PERSAT|cannot make the stream"},
		},
		{
			name: "may not hear answers", user: "bridge", config: deniedAnswers, stream: plain(),
			bad: []string{"warning: look up stream PERSAT|subscribe to _INBOX.persat-bridge.>", "error: the NATS user may not subscribe to _INBOX.persat-bridge.>"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var change []func(*server.Options)
			if test.server != nil {
				change = append(change, test.server)
			}
			n := natstest.Start(t, test.config, change...)
			o := optionsFor(n.URL)
			var admin []nats.Option
			if test.user != "" {
				o.Connect.User, o.Connect.Password = test.user, "pw"
				admin = append(admin, nats.UserInfo("admin", "pw"))
			}
			js := n.JetStream(admin...)
			if test.stream.Name != "" {
				makeStream(t, js, test.stream)
			}
			if test.other.Name != "" {
				makeStream(t, js, test.other)
			}
			if test.options != nil {
				test.options(&o)
			}
			if test.body == 0 {
				test.body = body
			}
			before := streams(t, js)
			found := Check(t.Context(), o, test.body)
			for _, f := range found {
				t.Logf("%s: %s", f.Level, f.Text)
			}
			for _, words := range test.ok {
				if !slices.ContainsFunc(found, func(f Finding) bool { return f.Level == OK && strings.Contains(f.Text, words) }) {
					t.Errorf("nothing is ok with the words %q", words)
				}
			}
			left := slices.DeleteFunc(found, func(f Finding) bool { return f.Level == OK })
			for _, want := range test.bad {
				words := strings.Split(want, "|")
				i := slices.IndexFunc(left, func(f Finding) bool {
					line := f.Level + ": " + f.Text
					return strings.HasPrefix(line, words[0]) && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
				})
				if i < 0 {
					t.Errorf("no finding like %q", want)
					continue
				}
				left = slices.Delete(left, i, i+1)
			}
			if len(left) > 0 {
				t.Errorf("not expected: %+v", left)
			}
			if after := streams(t, js); !reflect.DeepEqual(before, after) {
				t.Errorf("the streams were changed: got\n%+v\nwant\n%+v", after, before)
			}
		})
	}
}

// The limit in the JWT of a user is not the one that the server tells: check said ok, and
// each event over it ended the connection.
func TestCheckPayloadOfAJWT(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]bool{100_000: true, -1: false} {
		n, creds, _ := operatorMode(t, func(c *jwt.UserClaims) { c.Limits.Payload = limit })
		o := optionsFor(n.URL)
		o.Connect.CredsFile = creds
		found := Check(t.Context(), o, 512<<10)
		if got := slices.ContainsFunc(found, func(f Finding) bool {
			return f.Level == Error && strings.Contains(f.Text, "payload") && strings.Contains(f.Text, "server.max_body_bytes (524288)")
		}); got != want {
			t.Errorf("limit %d: got %+v, want an error about the payload: %v", limit, found, want)
		}
	}
}

// streams are all streams, with what is in them.
func streams(t *testing.T, js jetstream.JetStream) []jetstream.StreamInfo {
	t.Helper()
	var all []jetstream.StreamInfo
	for info := range js.ListStreams(t.Context()).Info() {
		info.TimeStamp = time.Time{}
		all = append(all, *info)
	}
	return all
}

// The server that is asked has nothing to complain of in its log.
func TestCheckIsQuiet(t *testing.T) {
	t.Parallel()
	core, said := observer.New(zap.WarnLevel)
	e, err := StartEmbedded(t.Context(), EmbeddedOptions{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	o := optionsFor("")
	o.Connect.URL = e.URL()
	asked := func(part string) {
		t.Helper()
		found := Check(t.Context(), o, 1000)
		if !slices.Contains(found, Finding{Level: OK, Text: "the NATS user may use $JS.API.STREAM." + part + ".PERSAT"}) {
			t.Errorf("%s was not asked for: got %+v", part, found)
		}
	}
	asked("CREATE")
	makeStream(t, natstest.JetStream(t, e.URL()), plain())
	o.Prefixes["second"] = "acme.second"
	asked("UPDATE")
	asked("MSG.GET")
	for _, entry := range said.All() {
		t.Errorf("the server says: %s", entry.Message)
	}
}

// A sealed stream is told, and is no want of permission.
func TestCheckSealed(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, plain())
	updateStream(func(c *jetstream.StreamConfig) { c.Sealed = true })(t, n, js)
	var bad []string
	for _, f := range Check(t.Context(), optionsFor(n.URL), 1000) {
		if f.Level != OK {
			bad = append(bad, f.Level+": "+f.Text)
		}
	}
	if len(bad) != 2 || !strings.HasPrefix(bad[0], "warning: it discards new messages") || !strings.HasPrefix(bad[1], "error: it is sealed") {
		t.Errorf("got %q", bad)
	}
}

func TestCheckWithoutServer(t *testing.T) {
	o := optionsFor("")
	o.Connect.URL = "nats://user:pa55@127.0.0.1:1"
	found := Check(t.Context(), o, 1)
	if len(found) != 1 || found[0].Level != Error || !strings.Contains(found[0].Text, "nats://<secret>@127.0.0.1:1: connection refused: if that is not where NATS is, correct nats.url") {
		t.Errorf("got %+v", found)
	}
	o.Connect.URL = "127.0.0.1:1,nats://nowhere.invalid:4333"
	found = Check(t.Context(), o, 1)
	if len(found) != 1 || !strings.Contains(found[0].Text, ": 127.0.0.1:1: connection refused; nowhere.invalid:4333: ") {
		t.Errorf("got %+v", found)
	}
	if found := Check(t.Context(), Options{}, 1); len(found) != 1 || found[0].Level != Error {
		t.Errorf("without options: got %+v", found)
	}
}

// In a cluster, one replica is a warning, and the cluster has its name.
func TestCheckInCluster(t *testing.T) {
	t.Parallel()
	nodes := natstest.Cluster(t, "")
	js := nodes[0].JetStream()
	o := optionsFor(nodes[0].URL)
	testwait.Eventually(t, "the cluster makes a stream", func() bool {
		_, err := js.CreateStream(t.Context(), plain())
		return err == nil
	})
	said := func(words string) bool {
		return slices.ContainsFunc(Check(t.Context(), o, 1000), func(f Finding) bool {
			return strings.Contains(f.Level+": "+f.Text, words)
		})
	}
	if !said("cluster three") || !said("warning: it has 1 replica in a cluster") {
		t.Errorf("got %+v", Check(t.Context(), o, 1000))
	}
	o.Stream.Replicas = 3
	updateStream(func(c *jetstream.StreamConfig) { c.Replicas = 3 })(t, nodes[0], js)
	testwait.Eventually(t, "three replicas, as configured", func() bool { return said("ok: it has 3 replicas") && !said("warning: ") })
}
