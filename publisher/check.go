package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Finding is one thing that Check has to say.
type Finding struct {
	// Level is OK, Note, Warning or Error.
	Level string `json:"level"`
	// Text says what is so and, if that is not well, what to change.
	Text string `json:"text"`
	// File, Line and Key say where a mistake of the configuration is, as far as there are
	// such.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Key  string `json:"key,omitempty"`
}

// The levels of a Finding. With an Error the bridge cannot do its work as
// configured; a Note is what cannot be found out from here.
const (
	OK      = "ok"
	Note    = "note"
	Warning = "warning"
	Error   = "error"
)

// headerRoom is how much the headers of a message can add to its body: more
// than that JetStream refuses.
const headerRoom = 64 << 10

// checkTimeout bounds each question. A permission that is missing is found by
// its end, for the server does not answer then.
const checkTimeout = 2 * time.Second

// Check asks NATS whether a bridge with these options and bodies of up to maxBody
// bytes can do its work there. It stores and changes nothing.
func Check(ctx context.Context, o Options, maxBody int64) []Finding {
	p, err := New(o)
	if err != nil {
		return []Finding{{Level: Error, Text: err.Error()}}
	}
	s, err := p.dial(ctx)
	if err != nil {
		return []Finding{{Level: Error, Text: err.Error() + ": if that is not where NATS is, correct nats.url (NATS_URL) or nats.context"}}
	}
	defer s.Close()
	c := &check{session: s, largest: maxBody + headerRoom}
	c.server(ctx)
	c.stream(ctx)
	for _, prefix := range slices.Sorted(maps.Values(p.o.Prefixes)) {
		c.mayPublish(ctx, prefix)
	}
	return c.found
}

// check is one run of Check.
type check struct {
	*session
	largest int64 // message that the door lets in
	found   []Finding
}

func (c *check) say(level, format string, args ...any) {
	c.found = append(c.found, Finding{Level: level, Text: fmt.Sprintf(format, args...)})
}

// judge says well when fine, and else what is wrong at level.
func (c *check) judge(fine bool, level, wrong, well string) {
	if fine {
		level, wrong = OK, well
	}
	c.say(level, "%s", wrong)
}

func (c *check) server(ctx context.Context) {
	// The limit of a user or an account, as in a JWT, comes behind the server's own, once
	// it knows who has connected.
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for range 2 {
		_ = c.nc.FlushWithContext(ctx) // what is wrong with the connection shows below
	}
	cluster := ""
	if name := c.nc.ConnectedClusterName(); name != "" {
		cluster = ", cluster " + name
	}
	c.say(OK, "connected to %s: server %s, version %s%s", c.where(), c.nc.ConnectedServerName(), c.nc.ConnectedServerVersion(), cluster)
	c.fits("the server's max_payload", "max_payload: %d on the servers, or the payload limit of the account and the user", c.nc.MaxPayload())
}

// fits compares a limit with the largest message.
func (c *check) fits(limit, change string, bytes int64) {
	change = fmt.Sprintf("set "+change, c.largest)
	if lower := bytes - headerRoom; lower > 0 {
		change += fmt.Sprintf(", or server.max_body_bytes: %d", lower)
	}
	c.judge(bytes >= c.largest, Error,
		fmt.Sprintf("%s is %d bytes, below server.max_body_bytes (%d) and %d for headers: an event above it becomes a dead letter: %s", limit, bytes, c.largest-headerRoom, headerRoom, change),
		fmt.Sprintf("%s is %d bytes, room for server.max_body_bytes (%d) and the headers", limit, bytes, c.largest-headerRoom))
}

func (c *check) stream(ctx context.Context) {
	name, wanted := c.p.o.Stream.Name, c.p.o.subjects()
	info := c.api.subject("STREAM.INFO." + name)
	ask, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	stream, err := c.js.Stream(ask, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && c.p.o.Stream.Manage:
		c.say(OK, "stream %s does not exist yet: the bridge makes it, with subjects %s", name, strings.Join(wanted, ", "))
		c.mayAsk(ctx, c.api.subject("STREAM.CREATE."+name), Error, "the bridge cannot make the stream")
		c.creation(ctx, c.p.o.streamConfig())
		return
	case errors.Is(err, jetstream.ErrStreamNotFound):
		c.say(Error, "stream %s does not exist, and nats.stream.manage is off: create it with subjects %s", name, strings.Join(wanted, ", "))
		return
	case err != nil:
		err = c.apiError("look up stream "+name, info, err)
		if errors.Is(err, bridge.ErrNotPermitted) {
			c.say(Warning, "%v; without it the bridge cannot see the stream, and does not heal its losses", err)
		} else {
			c.say(Error, "%v", err)
		}
		return
	}
	c.say(OK, "stream %s is there; the NATS user may look at it", name)
	if missing := missingSubjects(wanted, stream.CachedInfo().Config.Subjects); len(missing) == 0 {
		c.say(OK, "it has the subjects of every source: %s", strings.Join(wanted, ", "))
	} else if list := strings.Join(missing, ", "); c.p.o.Stream.Manage {
		c.say(OK, "it does not have the subjects %s yet: the bridge adds them", list)
		c.mayAsk(ctx, c.api.subject("STREAM.UPDATE."+name), Error, "the bridge cannot add the subjects")
		if !c.subjectsFree(ctx, missing) {
			c.say(Note, "the NATS user may not use %s, so other streams with these subjects cannot be seen from here", c.api.subject(askNames))
		}
	} else {
		c.say(Error, "it does not have the subjects %s, and nats.stream.manage is off: add them to it, or its events are held", list)
	}
	c.mayAsk(ctx, c.api.subject("STREAM.MSG.GET."+name), Warning, "what the stream loses is not healed")
	c.filters(ctx, stream.CachedInfo())
	c.growth(ctx, stream.CachedInfo())
	c.configuration(stream.CachedInfo())
}

// configuration compares a stream that is there with what was asked for.
func (c *check) configuration(info *jetstream.StreamInfo) {
	have, want := info.Config, c.p.o.streamConfig()
	c.judge(have.Duplicates == want.Duplicates, Warning,
		fmt.Sprintf("its duplicate window is %s, nats.stream.duplicate_window is %s: make them the same; a shorter one stores an event twice when the bridge does not come to publish for longer", have.Duplicates, want.Duplicates),
		fmt.Sprintf("its duplicate window is %s", have.Duplicates))
	if have.MaxMsgSize > 0 {
		c.fits("its max_msg_size", "it to %d or to -1, no limit", int64(have.MaxMsgSize))
	}
	c.judge(have.Storage == jetstream.FileStorage, Error,
		"its storage is memory: a restart of its server loses every event: recreate it with file storage", "its storage is file")
	c.replicas(info, want.Replicas)
	c.limits(have, want)
	c.behaviour(info)
	c.judge(have.Retention == jetstream.LimitsPolicy, Warning,
		fmt.Sprintf("its retention is %s: a consumed message is gone, for other consumers too, and may be stored again when it is repeated", strings.ToLower(have.Retention.String())), "its retention is limits")
	if have.Retention == jetstream.InterestPolicy && info.State.Consumers == 0 {
		c.say(Error, "nobody consumes it, so with interest retention every event is dropped as soon as it is stored: create the consumers first, or give it limits retention")
	}
	if have.NoAck {
		c.say(Error, "it does not acknowledge (no_ack): every event is held: switch no_ack off")
	}
	c.say(OK, "%s", batchesOf(have))
	if have.Sealed {
		c.say(Error, "it is sealed: every event is held: configure another, or recreate it")
	}
}

// batchesOf says whether a stream takes atomic batches, and what that is for.
func batchesOf(have jetstream.StreamConfig) string {
	if have.AllowAtomicPublish {
		return "it takes atomic batches (allow_atomic): where NATS syncs each message, a backlog goes in them"
	}
	return "it takes no atomic batches (allow_atomic): where NATS syncs each message (sync_interval always), a backlog goes with one sync an event; switch allow_atomic on to have it go faster"
}

// behaviour says what a stream does to the events beside storing them.
func (c *check) behaviour(info *jetstream.StreamInfo) {
	have := info.Config
	if have.Mirror != nil {
		c.say(Error, "it is a mirror of %s, which takes no events of its own: every event is held: configure another stream, or promote it", have.Mirror.Name)
	}
	if t := have.SubjectTransform; t != nil {
		c.say(Warning, "it stores subjects under other names (subject_transform from %q to %q): consumers of <prefix>.<type> do not get those: remove the transform, or tell them", t.Source, t.Destination)
	}
	if have.PersistMode == jetstream.AsyncPersistMode {
		c.say(Warning, "it acknowledges before it has written (persist_mode async): a crash of its server takes events, which the bridge heals only at its next look: set persist_mode to default")
	}
	if have.AllowMsgCounter {
		c.say(Error, "it is for counters (allow_msg_counter), and takes no message without Nats-Incr: every event is refused: configure another")
	}
}

func (c *check) replicas(info *jetstream.StreamInfo, want int) {
	have := info.Config.Replicas
	switch {
	case have != want:
		c.say(Warning, "it has %s, nats.stream.replicas is %d: make them the same", replicas(have), want)
	case have == 1 && c.nc.ConnectedClusterName() != "":
		c.say(Warning, "it has 1 replica in a cluster: while that server is down, events wait, and its disk is the only one: set replicas to 3")
	default:
		c.say(OK, "it has %s, as configured", replicas(have))
	}
	if info.Cluster == nil {
		return
	}
	for _, peer := range info.Cluster.Replicas {
		if peer.Offline || !peer.Current {
			c.say(Warning, "its replica on %s is offline or behind: look at that server", peer.Name)
		}
	}
}

func replicas(n int) string {
	if n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", n)
}

func (c *check) limits(have, want jetstream.StreamConfig) {
	var limits []string
	if have.MaxBytes > 0 {
		limits = append(limits, fmt.Sprintf("max_bytes %d", have.MaxBytes))
	}
	if have.MaxMsgs > 0 {
		limits = append(limits, fmt.Sprintf("max_msgs %d", have.MaxMsgs))
	}
	if have.MaxMsgsPerSubject > 0 {
		limits = append(limits, fmt.Sprintf("max_msgs_per_subject %d", have.MaxMsgsPerSubject))
	}
	list := strings.Join(limits, ", ")
	configured := len(limits) == 1 && want.MaxBytes > 0 && have.MaxBytes == want.MaxBytes
	switch {
	case have.Discard == jetstream.DiscardNew:
		c.say(Warning, "it discards new messages when it is full (%s): events are held then until there is room", orNone(list))
	case configured:
		c.say(OK, "it discards old messages at %s, as configured", list)
	case len(limits) > 0:
		c.say(Warning, "it discards old messages at its limits (%s), whether they were consumed or not: raise them, or let consumers keep up", list)
	case c.p.o.JournalDiskStore != "" && have.MaxAge <= 0:
		c.say(Warning, "it has no limits, and is on the disk of the journal (%s): when that is full but for its last part, events wait in the journal, and the sender gets 503 once that is full too: set nats.embedded.max_store, or give the stream a limit (nats stream edit %s --max-age, and nats.stream.max_age the same)", c.p.o.JournalDiskStore, have.Name)
	default:
		c.say(OK, "it has no limits at which messages are discarded, but its disk")
	}
	if have.MaxAge != want.MaxAge {
		c.say(Warning, "its max_age is %s, nats.stream.max_age is %s (0s is for ever): make them the same", have.MaxAge, want.MaxAge)
	}
}

func orNone(list string) string {
	if list == "" {
		return "it has no limits now"
	}
	return list
}

// answer is what JetStream says to a request or a publish.
type answer struct {
	Error    *jetstream.APIError `json:"error"`
	Stream   string              `json:"stream"`
	Sequence uint64              `json:"seq"`
}

// ask sends m. Its error is for people; ErrNotPermitted is in it when the server
// refused to pass m on.
func (c *check) ask(ctx context.Context, m *nats.Msg) (*answer, error) {
	got, err := c.request(ctx, m)
	if err != nil {
		return nil, err
	}
	var a answer
	if err := json.Unmarshal(got, &a); err != nil {
		return nil, fmt.Errorf("ask %s: something that is not JetStream answers: stop that responder", m.Subject)
	}
	return &a, nil
}

// request is ask without a look at what is answered.
func (c *check) request(ctx context.Context, m *nats.Msg) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	got, err := c.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return nil, c.apiError("ask "+m.Subject, m.Subject, err)
	}
	return got.Data, nil
}

// noRequest is a request that says nothing. Each part of JetStream's API refuses it
// for that, and, other than what it cannot read at all, without a warning in the
// server's log.
const noRequest = "{}"

// mayAsk finds out whether the user may use a part of JetStream's API: JetStream
// refuses the request only when it gets it.
func (c *check) mayAsk(ctx context.Context, subject, level, otherwise string) {
	_, err := c.ask(ctx, &nats.Msg{Subject: subject, Data: []byte(noRequest)})
	switch {
	case errors.Is(err, bridge.ErrNotPermitted):
		c.say(level, "the NATS user may not %s: give it that permission: without it %s", c.lacking(subject), otherwise)
	case err != nil:
		c.say(level, "%v; without an answer %s", err, otherwise)
	default:
		c.say(OK, "the NATS user may use %s", subject)
	}
}

// noStream is the name of a stream that a probe pretends to expect.
const noStream = "persat-bridge-check-stores-nothing"

// mayPublish sends a message that no stream stores, because it is for another one.
// The refusal says that it came through, and which stream has the subject.
func (c *check) mayPublish(ctx context.Context, prefix string) {
	probe := nats.NewMsg(prefix + ".persat-bridge.check")
	probe.Header.Set(jetstream.ExpectedStreamHeader, noStream)
	a, err := c.ask(ctx, probe)
	name := c.p.o.Stream.Name
	switch {
	case errors.Is(err, bridge.ErrNotPermitted):
		c.say(Error, "the NATS user may not %s: give it that permission, for %s.>", c.lacking(probe.Subject), prefix)
	case errors.Is(err, nats.ErrNoResponders):
		// What there is to say of the stream has been said.
		c.say(OK, "the NATS user may publish to %s; no stream has that subject yet", probe.Subject)
	case errors.Is(err, context.DeadlineExceeded):
		c.say(Error, "publish to %s: no answer: the stream does not acknowledge, has no leader, or its server is paused or its disk full", probe.Subject)
	case err != nil:
		c.say(Error, "publish to %s: %v", probe.Subject, err)
	case a.Stream != "" && a.Stream != name:
		c.say(Error, "stream %s has the subject %s, and not %s: take it from one and give it to the other", a.Stream, probe.Subject, name)
	case a.Error == nil:
		c.say(Error, "publish to %s: stored as message %d: what answers does not keep to Nats-Expected-Stream", probe.Subject, a.Sequence)
	case isCode(a.Error, server.JSStreamNotMatchErr) || isCode(a.Error, server.JSStreamSealedErr):
		c.say(OK, "the NATS user may publish to %s, and stream %s answers", probe.Subject, name)
	default:
		c.say(Error, "publish to %s: %s: %v", probe.Subject, classify(a.Error).Reason, a.Error)
	}
}
