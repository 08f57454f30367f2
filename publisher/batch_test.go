package publisher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

func eventsOf(ids ...string) (events []*bridge.Event) {
	for _, id := range ids {
		events = append(events, event(id))
	}
	return events
}

// publishBatch makes one attempt and waits for its end.
func publishBatch(t *testing.T, s bridge.Session, events []*bridge.Event) ([]bridge.Receipt, *bridge.Failure) {
	t.Helper()
	type end struct {
		receipts []bridge.Receipt
		err      error
	}
	ends := make(chan end, 2)
	s.PublishBatch(events, func(receipts []bridge.Receipt, err error) { ends <- end{receipts, err} })
	select {
	case e := <-ends:
		f, _ := errors.AsType[*bridge.Failure](e.err)
		if e.err != nil && f == nil {
			t.Fatalf("publish a batch: got %v, which is no Failure", e.err)
		}
		return e.receipts, f
	case <-time.After(30 * time.Second):
		t.Fatal("publish a batch: the attempt does not end")
	}
	return nil, nil
}

// singly publishes events one by one, as is done with those of a batch that is undecided,
// and returns where they are.
func singly(t *testing.T, s bridge.Session, events []*bridge.Event) (receipts []bridge.Receipt) {
	t.Helper()
	for _, e := range events {
		r, f := publish(t, s, e)
		if f != nil {
			t.Fatalf("publish %s: %v", e.ID, f)
		}
		receipts = append(receipts, r)
	}
	return receipts
}

func batches(c *jetstream.StreamConfig) { c.AllowAtomicPublish = true }

// A batch is stored as a whole, in its order, and each of its events knows its sequence.
func TestBatch(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	s := connect(t, optionsFor(n.URL))
	mustPublish(t, s, "before")
	events := eventsOf("a", "b", "c")
	receipts, f := publishBatch(t, s, events)
	if f != nil {
		t.Fatal(f)
	}
	if want := []bridge.Receipt{{Sequence: 2}, {Sequence: 3}, {Sequence: 4}}; !slices.Equal(receipts, want) {
		t.Errorf("got %v, want %v", receipts, want)
	}
	stream, err := n.JetStream().Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		m, err := stream.GetMsg(t.Context(), receipts[i].Sequence)
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get("Nats-Msg-Id") != e.MessageID() || string(m.Data) != string(e.Body) || m.Subject != "persat.client.created" {
			t.Errorf("message %d is %q on %s", receipts[i].Sequence, m.Header.Get("Nats-Msg-Id"), m.Subject)
		}
		if m.Header.Get(batchSequence) != fmt.Sprint(i+1) || m.Header.Get(batchID) == "" || (m.Header.Get(batchCommit) == "1") != (i == 2) {
			t.Errorf("message %d has the headers %v", receipts[i].Sequence, m.Header)
		}
	}
	again := singly(t, s, events)
	for i := range again {
		if !again[i].Duplicate || again[i].Sequence != receipts[i].Sequence {
			t.Errorf("event %s alone: got %+v, want a duplicate at %d", events[i].ID, again[i], receipts[i].Sequence)
		}
	}
	second, f := publishBatch(t, s, eventsOf("d", "e"))
	if f != nil || len(second) != 2 || second[0].Sequence != 5 {
		t.Errorf("the next batch: %v, %v", second, f)
	}
}

// Whatever a server has against a batch, it stores nothing of it, and each of its events
// goes alone and gets its own answer.
func TestBatchRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config string
		stream jetstream.StreamConfig
		// spoil brings the fault about; repair ends it before the events go alone.
		spoil, repair func(*testing.T, jetstream.JetStream, bridge.Session)
		events        []*bridge.Event
		code          server.ErrorIdentifier // 0: the server was not asked
		// alone are the events that are stored alone; the others are rejected.
		alone []string
		after int // MaxBatch
	}{
		{
			name: "an event that is stored already", stream: with(batches), code: server.JSAtomicPublishContainsDuplicateMessageErr,
			spoil:  func(t *testing.T, _ jetstream.JetStream, s bridge.Session) { mustPublish(t, s, "b") },
			events: eventsOf("a", "b", "c"), alone: []string{"a", "b", "c"}, after: maxBatch,
		},
		{
			name: "an event twice in it", stream: with(batches), code: server.JSAtomicPublishContainsDuplicateMessageErr,
			events: eventsOf("a", "b", "a"), alone: []string{"a", "b", "a"}, after: maxBatch,
		},
		{
			name: "a message larger than the stream takes", stream: with(func(c *jetstream.StreamConfig) { batches(c); c.MaxMsgSize = 2000 }),
			code:   server.JSAtomicPublishIncompleteBatchErr,
			events: []*bridge.Event{event("a"), largeEvent("b", 4000), event("c")}, alone: []string{"a", "c"}, after: maxBatch,
		},
		{
			name: "a stream that takes no batches any more", stream: with(batches), code: server.JSAtomicPublishDisabledErr,
			spoil: func(t *testing.T, js jetstream.JetStream, _ bridge.Session) {
				if _, err := js.UpdateStream(t.Context(), plain()); err != nil {
					t.Fatal(err)
				}
			},
			events: eventsOf("a", "b"), alone: []string{"a", "b"},
		},
		{
			name: "more messages than the server takes in one", stream: with(batches), code: server.JSAtomicPublishTooLargeBatchErrF,
			config: "jetstream: {store_dir: $STORE, limits: {batch: {max_msgs: 4}}}",
			events: eventsOf("a", "b", "c", "d", "e"), alone: []string{"a", "b", "c", "d", "e"}, after: 2,
		},
		{
			name: "too many batches at once", stream: with(batches), code: server.JSAtomicPublishTooManyInflight,
			config: "jetstream: {store_dir: $STORE, limits: {batch: {max_inflight_per_stream: 1}}}",
			spoil:  func(t *testing.T, js jetstream.JetStream, _ bridge.Session) { openBatch(t, js.Conn()) },
			events: eventsOf("a", "b"), alone: []string{"a", "b"}, after: maxBatch,
		},
		{
			name: "a stream that is full", stream: with(func(c *jetstream.StreamConfig) { batches(c); c.MaxMsgs, c.Discard = 2, jetstream.DiscardNew }),
			code: server.JSStreamStoreFailedF, events: eventsOf("a", "b", "c"), after: maxBatch,
			repair: func(t *testing.T, js jetstream.JetStream, _ bridge.Session) {
				if _, err := js.UpdateStream(t.Context(), with(batches)); err != nil {
					t.Fatal(err)
				}
			},
			alone: []string{"a", "b", "c"},
		},
		{
			name: "an event larger than max_payload", config: "max_payload: 4000", stream: with(batches),
			events: []*bridge.Event{event("a"), largeEvent("b", 5000)}, alone: []string{"a"}, after: maxBatch,
		},
		{
			name: "an event of an unknown source", stream: with(batches),
			events: []*bridge.Event{event("a"), {Source: "other", ID: "b", Type: "client.created"}}, alone: []string{"a"}, after: maxBatch,
		},
		{
			name: "a subject that the stream does not have", stream: with(func(c *jetstream.StreamConfig) { batches(c); c.Subjects = []string{"persat.client.>"} }),
			events: []*bridge.Event{event("a"), {Source: "persat", ID: "b", Type: "workorder.created"}}, alone: []string{"a"}, after: maxBatch,
		},
		{name: "a stream that never took batches", stream: plain(), events: eventsOf("a", "b"), alone: []string{"a", "b"}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := natstest.Start(t, c.config)
			js := n.JetStream()
			makeStream(t, js, c.stream)
			o := optionsFor(n.URL)
			unmanaged(&o)
			s := connect(t, o)
			if c.spoil != nil {
				c.spoil(t, js, s)
			}
			receipts, f := publishBatch(t, s, c.events)
			if f == nil || f.Class != bridge.Undecided || receipts != nil {
				t.Fatalf("got %v, %v, want undecided", receipts, f)
			}
			if c.code != 0 && !isCode(f, c.code) || c.code == 0 && errors.As(f, new(*jetstream.APIError)) {
				t.Errorf("got %v, want the code %d", f, c.code)
			}
			if got := s.MaxBatch(); got != c.after {
				t.Errorf("a batch may have %d events, want %d", got, c.after)
			}
			if c.repair != nil {
				c.repair(t, js, s)
			}
			last := uint64(0)
			for _, e := range c.events {
				r, f := publish(t, s, e)
				if stored := slices.Contains(c.alone, e.ID); stored != (f == nil) {
					t.Errorf("%s alone: %+v, %v", e.ID, r, f)
				} else if stored {
					last = max(last, r.Sequence)
				}
			}
			stream, err := js.Stream(t.Context(), "PERSAT")
			if err != nil {
				t.Fatal(err)
			}
			distinct := len(slices.Compact(slices.Sorted(slices.Values(c.alone))))
			if state := stream.CachedInfo().State; state.Msgs != uint64(distinct) || state.LastSeq != last {
				t.Errorf("the stream has %d messages and its last is %d, want %d and %d", state.Msgs, state.LastSeq, distinct, last)
			}
		})
	}
}

func largeEvent(id string, size int) *bridge.Event {
	e := event(id)
	e.Body = []byte(strings.Repeat("x", size))
	return e
}

// openBatch begins a batch of another client that is never committed.
func openBatch(t *testing.T, nc *nats.Conn) {
	t.Helper()
	m := &nats.Msg{Subject: "persat.other", Header: nats.Header{batchID: {"other"}, batchSequence: {"1"}}}
	if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

// A batch whose answer is lost, or that a server does not come to in time, may be stored:
// its events alone are duplicates then, at the sequences that the batch gave them.
func TestBatchNotAnswered(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	proxy := natstest.NewProxy(t, n.Host)
	s := connect(t, optionsFor(proxy.URL))
	events := eventsOf("a", "b", "c")
	proxy.DropDown.Store(true)
	receipts, f := publishBatch(t, s, events)
	if f == nil || f.Class != bridge.Undecided {
		t.Fatalf("got %v, %v, want undecided", receipts, f)
	}
	s.Close()
	proxy.DropDown.Store(false)
	s = connect(t, optionsFor(proxy.URL))
	for i, r := range singly(t, s, events) {
		if want := (bridge.Receipt{Sequence: uint64(i + 1), Duplicate: true}); r != want {
			t.Errorf("%s alone: got %+v, want %+v", events[i].ID, r, want)
		}
	}
}

// Something that is not JetStream answers with nothing, as JetStream answers the first
// message: that ends a batch, too.
func TestBatchAnsweredWithNothing(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, with(func(c *jetstream.StreamConfig) { batches(c); c.NoAck = true }))
	if _, err := js.Conn().Subscribe("persat.>", func(m *nats.Msg) {
		if m.Reply != "" {
			_ = m.Respond(nil)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	o := optionsFor(n.URL)
	unmanaged(&o)
	s := connect(t, o)
	if receipts, f := publishBatch(t, s, eventsOf("a", "b")); f == nil || f.Class != bridge.Undecided {
		t.Errorf("got %v, %v, want undecided", receipts, f)
	}
}

// A connection that goes ends a batch like every attempt, once. What was under way is no
// batch for the server, and the next session stores each event once.
func TestBatchCutOff(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	proxy := natstest.NewProxy(t, n.Host)
	s := connect(t, optionsFor(proxy.URL))
	proxy.HoldUp.Store(true)
	events := eventsOf("a", "b", "c")
	ends := make(chan error, 10)
	s.PublishBatch(events, func(_ []bridge.Receipt, err error) { ends <- err })
	proxy.Cut()
	ended(t, s)
	err := <-ends
	if f, ok := errors.AsType[*bridge.Failure](err); !ok || f.Class != bridge.LinkDown {
		t.Errorf("got %v, want that the link is down", err)
	}
	s.PublishBatch(events, func(_ []bridge.Receipt, err error) { ends <- err })
	if f, ok := errors.AsType[*bridge.Failure](<-ends); !ok || f.Class != bridge.LinkDown {
		t.Errorf("after the end of the session: got %v, want that the link is down", f)
	}
	proxy.HoldUp.Store(false)
	s2 := connect(t, optionsFor(proxy.URL))
	for i, r := range singly(t, s2, events) {
		if r.Sequence != uint64(i+1) {
			t.Errorf("%s alone: got %+v", events[i].ID, r)
		}
	}
	s.Close()
	if len(ends) > 0 {
		t.Error("a batch ended twice")
	}
}

// What the stream allows is seen in the session, whoever changes it.
func TestMaxBatchFollowsTheStream(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, "")
	js := n.JetStream()
	makeStream(t, js, plain())
	o := optionsFor(n.URL)
	unmanaged(&o)
	s := connect(t, o)
	if got := s.MaxBatch(); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
	if _, err := js.UpdateStream(t.Context(), with(batches)); err != nil {
		t.Fatal(err)
	}
	testwait.Eventually(t, "the session has seen it", func() bool {
		_, err := s.Stream(t.Context())
		return err == nil && s.MaxBatch() == maxBatch
	})
	if _, f := publishBatch(t, s, eventsOf("a", "b")); f != nil {
		t.Error(f)
	}
}

// A server drops a message that its sender may not publish, and says so elsewhere. Wherever it
// is in a batch, nothing of the batch is stored, and only the event of that message is held.
func TestBatchWithoutPermission(t *testing.T) {
	t.Parallel()
	n := natstest.Start(t, `accounts: {A: {jetstream: enabled, users: [
		{user: owner, password: x},
		{user: bridge, password: x, permissions: {publish: {deny: ["persat.secret.>"]}}}
	]}}`)
	owner, err := nats.Connect(n.URL, nats.UserInfo("owner", "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	js, err := jetstream.New(owner)
	if err != nil {
		t.Fatal(err)
	}
	makeStream(t, js, with(batches))
	for denied, place := range []string{"first", "middle", "last"} {
		o := optionsFor(n.URL)
		o.Connect.User, o.Connect.Password = "bridge", "x"
		unmanaged(&o)
		s := connect(t, o)
		events := eventsOf("a-"+place, "b-"+place, "c-"+place)
		events[denied].Type = "secret.created"
		if receipts, f := publishBatch(t, s, events); f == nil || f.Class != bridge.Undecided {
			t.Errorf("%s: got %v, %v, want undecided", place, receipts, f)
		}
		for i, e := range events {
			r, f := publish(t, s, e)
			switch {
			case i == denied && (f == nil || f.Class != bridge.Held):
				t.Errorf("%s: the denied event alone: got %+v, %v, want held", place, r, f)
			case i != denied && (f != nil || r.Duplicate):
				t.Errorf("%s: %s alone: got %+v, %v, want it stored now", place, e.ID, r, f)
			}
		}
	}
}

// In a cluster, too, a batch that is refused leaves nothing in the way of its events, and the
// sequences of batches are right while single events go beside them.
func TestBatchesOfACluster(t *testing.T) {
	t.Parallel()
	nodes := natstest.Cluster(t, "")
	js := nodes[0].JetStream()
	testwait.Eventually(t, "the cluster has a stream", func() bool {
		_, err := js.CreateOrUpdateStream(t.Context(), with(func(c *jetstream.StreamConfig) { batches(c); c.Replicas = 3 }))
		return err == nil
	})
	const most = 20
	type place struct {
		id       string
		sequence uint64
		err      error
	}
	places := make(chan place, 3*100*(most+1))
	sent := 0
	for i, n := range nodes { // through the leader and both others
		o := optionsFor(n.URL)
		o.AckTimeout = 10 * time.Second
		unmanaged(&o)
		s := connect(t, o)
		mustPublish(t, s, fmt.Sprint("known", i))
		events := eventsOf(fmt.Sprint("a", i), fmt.Sprint("known", i), fmt.Sprint("b", i))
		if receipts, f := publishBatch(t, s, events); f == nil || !isCode(f, server.JSAtomicPublishContainsDuplicateMessageErr) {
			t.Errorf("a batch with a known event: got %v, %v", receipts, f)
		}
		for j, r := range singly(t, s, events) {
			if r.Duplicate != (j == 1) {
				t.Errorf("%s alone: got %+v", events[j].ID, r)
			}
		}
		for k := range 30 {
			var together []*bridge.Event
			for j := range 2 + k%(most-1) {
				together = append(together, event(fmt.Sprintf("batch%d-%d-%d", i, k, j)))
			}
			single := event(fmt.Sprintf("single%d-%d", i, k))
			sent += len(together) + 1
			s.PublishBatch(together, func(receipts []bridge.Receipt, err error) {
				for j, e := range together {
					p := place{id: e.MessageID(), err: err}
					if err == nil {
						p.sequence = receipts[j].Sequence
					}
					places <- p
				}
			})
			s.Publish(single, func(r bridge.Receipt, err error) { places <- place{single.MessageID(), r.Sequence, err} })
		}
	}
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	for range sent {
		p := <-places
		if p.err != nil {
			t.Errorf("%s: %v", p.id, p.err)
			continue
		}
		if m, err := stream.GetMsg(t.Context(), p.sequence); err != nil || m.Header.Get("Nats-Msg-Id") != p.id {
			t.Errorf("%s is not at %d: %v", p.id, p.sequence, err)
		}
	}
}
