package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// long kills the consumer over 10,000 events instead of 2,000.
var long = flag.Bool("long", false, "run the oracles in full")

// childVariable makes this test binary be the consumer, so that it can be killed.
const childVariable = "PERSAT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "consumer" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// connect is a session of the bridge's own publisher.
func connect(t *testing.T, url string) bridge.Session {
	t.Helper()
	p, err := publisher.New(publisher.Options{
		Connect:  publisher.ConnectOptions{URL: url},
		Stream:   publisher.StreamOptions{Name: "PERSAT", Manage: true, Replicas: 1, DuplicateWindow: time.Hour},
		Prefixes: map[string]string{"persat": "persat"},
	})
	if err != nil {
		t.Fatal(err)
	}
	session, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

const entities = 100

// entityOf spreads events over entities; one has an awkward name.
func entityOf(n int) string {
	if n%entities == 0 {
		return "Ferretería Ñandú 5%/B"
	}
	return fmt.Sprintf("WO-%d", n%entities)
}

// publishEvents publishes numbered events, each entity's in order, every 50th once
// more as a replay, which JetStream stores again.
func publishEvents(t *testing.T, session bridge.Session, from, to int) {
	t.Helper()
	const publishers = 8
	var group sync.WaitGroup
	for part := range publishers {
		group.Go(func() {
			for n := from; n < to; n++ {
				if n%entities%publishers != part {
					continue
				}
				body := fmt.Appendf(nil, `{"eventType":"workorder.updated","payload":{"_id":%q,"state":"%d"}}`, entityOf(n), n)
				e := &bridge.Event{Source: "persat", ID: fmt.Sprintf("msg_%d", n), Type: "workorder.updated", Entities: []string{entityOf(n)}, Accepted: time.Now(), Body: body}
				for e.Replay = range 1 + (49-n%50)/49 {
					if err := publish(session, e); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	group.Wait()
}

// publish makes one attempt and waits for its end.
func publish(s bridge.Session, e *bridge.Event) error {
	ended := make(chan error, 1)
	s.Publish(e, func(_ bridge.Receipt, err error) { ended <- err })
	return <-ended
}

// child is the consumer as a process of its own.
type child struct {
	t      *testing.T
	args   []string
	output bytes.Buffer // not read while it runs
	cmd    *exec.Cmd
	exited chan struct{}
}

func (c *child) start() {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	c.cmd = exec.Command(self, c.args...)
	c.cmd.Env = append(os.Environ(), childVariable+"=consumer")
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	cmd, exited := c.cmd, make(chan struct{})
	c.exited = exited
	go func() {
		_ = cmd.Wait() // the exit code is in its ProcessState
		close(exited)
	}()
}

// end sends a signal and returns the exit code.
func (c *child) end(s os.Signal) int {
	c.t.Helper()
	c.alive()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
	<-c.exited
	return c.cmd.ProcessState.ExitCode()
}

// alive fails the test when the consumer has ended by itself.
func (c *child) alive() {
	c.t.Helper()
	select {
	case <-c.exited:
		c.t.Fatalf("the consumer ended by itself, with %d:\n%s", c.cmd.ProcessState.ExitCode(), c.output.String())
	default:
	}
}

// progress is the state of the durable consumer.
func progress(t *testing.T, js jetstream.JetStream) *jetstream.ConsumerInfo {
	t.Helper()
	consumer, err := js.Consumer(t.Context(), "PERSAT", "history")
	if err != nil {
		return nil // not made yet
	}
	info, err := consumer.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// place is where a ledger is: the database or the directory.
type place struct{ database, dir string }

func (p place) open(t *testing.T) ledger {
	t.Helper()
	l, err := openLedger(p.database, p.dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// eachLedger runs a test with every kind of ledger.
func eachLedger(t *testing.T, test func(*testing.T, place)) {
	t.Run("directory", func(t *testing.T) { test(t, place{dir: filepath.Join(t.TempDir(), "ledger")}) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, place{database: startPostgres(t)}) })
}

// The consumer is killed at random moments while there is work; in the end each
// event has had its effect once, each entity's in order, and what can never be
// handled is put aside.
func TestOracleKilled(t *testing.T) { eachLedger(t, killed) }

func killed(t *testing.T, at place) {
	events, kills := 2000, 4
	if *long {
		events, kills = 10_000, 20
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	url := natstest.Start(t, "").URL
	session := connect(t, url)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	publishEvents(t, session, 0, events/2)
	poison := []string{"not JSON", `{"payload":{}}`, `{"eventType":"workorder.created","payload":{"_id":"without headers"}}`}
	for _, data := range poison {
		if _, err := js.Publish(t.Context(), "persat.by.hand", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	publishEvents(t, session, events/2, events)

	c := &child{t: t, args: []string{"-nats", url, "-database", at.database, "-dir", at.dir, "-ack-wait", "500ms"}}
	stored := events + events/50 + len(poison)
	done := func() uint64 {
		if info := progress(t, js); info != nil {
			return info.AckFloor.Stream
		}
		return 0
	}
	for kill := range kills {
		c.start()
		// Somewhere in the next part of the work, to the microsecond.
		target := uint64(stored*(kill+1)/(kills+1) - random.IntN(stored/(kills+1)))
		testwait.Eventually(t, "progress", func() bool { c.alive(); return done() >= target })
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
		c.end(syscall.SIGKILL)
		if at := done(); at >= uint64(stored) {
			t.Fatalf("kill %d came after the work was done", kill)
		}
	}
	c.start()
	testwait.Eventually(t, "all messages acknowledged", func() bool {
		c.alive()
		info := progress(t, js)
		return info.NumPending == 0 && info.NumAckPending == 0
	})
	if code := c.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if info := progress(t, js); info.NumAckPending != 0 || info.AckFloor.Stream != uint64(stored) {
		t.Errorf("after the end: %d of %d messages acknowledged, %d under way", info.AckFloor.Stream, stored, info.NumAckPending)
	}
	judge(t, at, events, poison)
	if !strings.Contains(c.output.String(), "up to date") {
		t.Error("it did not say that it was up to date")
	}
	t.Logf("%d events, %d messages, killed %d times", events, stored, kills)
	if t.Failed() {
		t.Logf("the consumer said:\n%s", c.output.String()[max(0, c.output.Len()-4000):])
	}
}

// judge reads the ledger.
func judge(t *testing.T, at place, events int, poison []string) {
	t.Helper()
	l := at.open(t)
	defer l.close()
	total := 0
	for n := range entities {
		var want []string
		for at := n; at < events; at += entities {
			want = append(want, fmt.Sprint(at))
		}
		got := states(t, l, entityOf(n))
		if !slices.Equal(got, want) {
			t.Errorf("entity %s: got the effects of events %v, want %v", entityOf(n), got, want)
		}
		total += len(got)
	}
	if total != events {
		t.Errorf("got %d effects, want %d", total, events)
	}
	if put := asides(t, l); !slices.Equal(put, poison) {
		t.Errorf("put aside %q, want %q", put, poison)
	}
}

// asides are the messages that were put aside.
func asides(t *testing.T, l ledger) (put []string) {
	t.Helper()
	if l, ok := l.(*postgresLedger); ok {
		return column(t, l, `SELECT data FROM persat_aside WHERE reason <> '' ORDER BY sequence`)
	}
	for _, value := range values(t, l.(*pebbleLedger), []byte("aside/")) {
		var a aside
		if err := json.Unmarshal(value, &a); err != nil || a.Reason == "" {
			t.Errorf("put aside: %s, %v", value, err)
		}
		put = append(put, string(a.Data))
	}
	return put
}

// states are those that the entries of a work order's history have.
func states(t *testing.T, l ledger, entity string) (got []string) {
	t.Helper()
	if l, ok := l.(*postgresLedger); ok {
		return column(t, l, `SELECT state FROM persat_history WHERE kind = $1 AND entity = $2 ORDER BY number`,
			string(persat.KindWorkOrder), persat.SubjectToken([]string{entity}))
	}
	for _, value := range values(t, l.(*pebbleLedger), historyOf(persat.KindWorkOrder, entity)) {
		var e entry
		if err := json.Unmarshal(value, &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.State)
	}
	return got
}

// values are those of the keys that begin with prefix.
func values(t *testing.T, l *pebbleLedger, prefix []byte) (all [][]byte) {
	t.Helper()
	entries, err := l.db.NewIter(below(prefix))
	if err != nil {
		t.Fatal(err)
	}
	defer entries.Close()
	for entries.First(); entries.Valid(); entries.Next() {
		all = append(all, bytes.Clone(entries.Value()))
	}
	return all
}

// column is the only column of a query's rows.
func column(t *testing.T, l *postgresLedger, query string, args ...any) (all []string) {
	t.Helper()
	rows, err := l.db.Query(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// Two processes with one directory would not know of each other's effects.
func TestDirectoryIsLocked(t *testing.T) {
	at := place{dir: t.TempDir()}
	l := at.open(t)
	if _, err := openLedger("", at.dir); err == nil {
		t.Error("two processes can have one directory")
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
}

func TestLedger(t *testing.T) { eachLedger(t, records) }

func records(t *testing.T, at place) {
	l := at.open(t)
	bulk, err := persat.Parse([]byte(`{"eventType":"workorder.x","payload":[{"_id":"a","state":"1"},{"_id":"b"},{"_id":"a","state":"2"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if fresh, err := l.record("/persat/persat msg_1", bulk, 7); err != nil || fresh != want {
			t.Errorf("record %d: got %v, %v, want %v", i, fresh, err, want)
		}
	}
	if got := states(t, l, "a"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %q, want both entries of the bulk event", got)
	}

	// Ids are forgotten by their age alone.
	if err := l.forget(time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if fresh, err := l.record("/persat/persat msg_1", bulk, 7); err != nil || fresh {
		t.Errorf("a fresh id was forgotten (%v)", err)
	}
	if err := l.forget(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if fresh, err := l.record("/persat/persat msg_1", bulk, 7); err != nil || !fresh {
		t.Errorf("an old id was kept (%v)", err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
}

// A message that failed too often is put aside; one whose effect fails now comes
// again.
func TestPoison(t *testing.T) {
	l := place{dir: t.TempDir()}.open(t)
	defer l.close()
	c := &consumer{ledger: l, log: slog.New(slog.DiscardHandler)}
	m := &message{data: []byte(`{"eventType":"x.y","payload":{"_id":"a"}}`), header: nats.Header{"ce-id": {"1"}, "ce-source": {"/persat/persat"}}, delivered: maxDeliveries}
	if err := c.handle(m); err != nil || m.end != "ack" {
		t.Errorf("delivery %d: got %q, %v, want ack", m.delivered, m.end, err)
	}
	m.delivered++
	if err := c.handle(m); err != nil || m.end != "term: delivered 21 times" {
		t.Errorf("delivery %d: got %q, %v, want term", m.delivered, m.end, err)
	}
}

// The log has what changes, and not a line for each event that comes again.
func TestLogsTransitions(t *testing.T) {
	l := place{dir: t.TempDir()}.open(t)
	defer l.close()
	var log bytes.Buffer
	c := &consumer{ledger: l, log: slog.New(slog.NewTextHandler(&log, nil))}
	c.note(0)
	for n := range 2 * backlog {
		m := &message{data: []byte(`{"eventType":"x.y","payload":{"_id":"a"}}`), header: nats.Header{"ce-id": {fmt.Sprint(n % 3)}, "ce-source": {"/persat/persat"}}, delivered: 1, pending: uint64(2*backlog - n - 1)}
		if err := c.handle(m); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Split(strings.TrimSpace(log.String()), "\n")
	want := []string{`msg="up to date" effects=0 "known already"=0`, "msg=behind pending=199", `msg="up to date" effects=3 "known already"=197`}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %d lines", got, len(want))
	}
	for i := range want {
		if !strings.HasSuffix(got[i], want[i]) {
			t.Errorf("line %d: got %q, want it to end with %q", i, got[i], want[i])
		}
	}
}

// message is one whose fate can be seen.
type message struct {
	jetstream.Msg
	data      []byte
	header    nats.Header
	delivered uint64
	pending   uint64
	end       string
}

func (m *message) Data() []byte         { return m.data }
func (m *message) Headers() nats.Header { return m.header }
func (m *message) Subject() string      { return "persat.x.y" }
func (m *message) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{NumDelivered: m.delivered, NumPending: m.pending, Sequence: jetstream.SequencePair{Stream: 7}}, nil
}
func (m *message) Ack() error                         { m.end = "ack"; return nil }
func (m *message) NakWithDelay(d time.Duration) error { m.end = "nak " + d.String(); return nil }
func (m *message) TermWithReason(reason string) error { m.end = "term: " + reason; return nil }
