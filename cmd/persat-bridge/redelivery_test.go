package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// tool runs a command of persat-bridge against a bridge, with its configuration.
func (b *bridgeProcess) tool(args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	var out, err bytes.Buffer
	code = run(context.Background(), append(args, "-c", b.Args[2]), b.Env, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

// status asks the admin API.
func (b *bridgeProcess) status() bridge.Status {
	b.t.Helper()
	p := &program{environ: b.Env}
	client, err := p.client(b.Args[2])
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := client.Status(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return s.Status
}

func (b *bridgeProcess) post(id, body string) {
	b.t.Helper()
	if code, a := signed(b.t, testSecret, id, time.Now(), body).post(b.t, b.url); code != 202 || a.Status != "accepted" {
		b.t.Fatalf("post %s: got %d %+v, want 202 accepted", id, code, a)
	}
}

// quarantine posts a body that is no usable event.
func (b *bridgeProcess) quarantine(id, body string) {
	b.t.Helper()
	if code, a := signed(b.t, testSecret, id, time.Now(), body).post(b.t, b.url); code != 202 || a.Status != "quarantined" {
		b.t.Fatalf("post %s: got %d %+v, want 202 quarantined", id, code, a)
	}
}

func (b *bridgeProcess) drained() {
	b.t.Helper()
	testwait.Eventually(b.t, "nothing pending", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
}

func eventBody(eventType, entity, note string) string {
	return fmt.Sprintf(`{"eventType":%q,"payload":{"_id":%q,"note":%q}}`, eventType, entity, note)
}

// TestTooLargeIsADeadLetterUntilTheLimitIsRaised is an event of 2 MiB for a server
// that takes 1 MiB.
func TestTooLargeIsADeadLetterUntilTheLimitIsRaised(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL)
	b.Start()
	large := eventBody("workorder.created", "48", strings.Repeat("x", 2<<20))
	b.post("msg_large", large)
	b.post("msg_small", eventBody("workorder.created", "48", "after it"))
	b.drained()
	if messages := readStream(t, n.URL); len(messages) != 1 || messages[0].id != "persat:msg_small" {
		t.Fatalf("got %d messages, want the small one: the rest flows", len(messages))
	}
	code, out, _ := b.tool("dead", "list")
	if code != 0 || !strings.Contains(out, "max_payload: raise the limit, then replay") {
		t.Errorf("dead list: exit %d\n%s", code, out)
	}
	if code, out, _ = b.tool("dead", "show", "msg_large", "--json"); code != 0 {
		t.Errorf("dead show: exit %d", code)
	}
	var shown bridge.Record
	if err := json.Unmarshal([]byte(out), &shown); err != nil || string(shown.Body) != large {
		t.Errorf("dead show: the body is not the one sent (%v)", err)
	}
	if code, _, stderr := b.tool("dead", "replay", "msg_large"); code != exitUsage || !strings.Contains(stderr, "--yes") {
		t.Errorf("dead replay without a word: exit %d %q, want 2 and --yes named", code, stderr)
	}

	// Too early: it comes back as a dead letter, and is not lost.
	if code, out, stderr := b.tool("dead", "replay", "--reason", "max_payload", "--yes"); code != 1 || !strings.Contains(out, "1 replayed: 0 published, 1 dead again") || !strings.Contains(stderr, "record 1 is dead again: larger than") {
		t.Errorf("dead replay: exit %d %s %s", code, out, stderr)
	}
	testwait.Eventually(t, "dead again", func() bool { return b.metric("persat_bridge_dead_events") == 1 })

	n.Configure("max_payload: 8MB")
	n.Kill()
	n.Run()
	if code, out, stderr := b.tool("dead", "replay", "--all", "--yes"); code != 0 || !strings.Contains(out, "1 replayed: 1 published, 0 dead again, 0 still waiting") {
		t.Errorf("dead replay: exit %d %s %s", code, out, stderr)
	}
	testwait.Eventually(t, "no dead letter", func() bool { return b.metric("persat_bridge_dead_events") == 0 })
	b.drained()
	messages := readStream(t, n.URL)
	if len(messages) != 2 || string(messages[1].data) != large || !strings.HasPrefix(messages[1].id, "persat:msg_large:r") {
		t.Errorf("got %d messages, want the large one too, under a new id", len(messages))
	}
}

// TestHeldSubjectsWaitTheOthersFlow: a denied subject and a full stream.
func TestHeldSubjectsWaitTheOthersFlow(t *testing.T) {
	t.Parallel()
	users := func(denied string) string {
		return `authorization: {users: [{user: bridge, password: b, permissions: {publish: {deny: [` + denied + `]}}}, {user: reader, password: r}]}`
	}
	n := natstest.StartChild(t, users(`"persat.client.*"`))
	reader := strings.Replace(n.URL, "nats://", "nats://reader:r@", 1)
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "NATS_USER=bridge", "NATS_PASSWORD=b", "PERSAT_BRIDGE_PUBLISH_ACK_TIMEOUT=500ms", "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
	b.Start()
	for i := range 30 {
		b.post(fmt.Sprintf("msg_c%d", i), strings.Replace(eventBody("client.updated", fmt.Sprint(i%3), ""), "_id", "uid_client", 1))
		b.post(fmt.Sprintf("msg_w%d", i), eventBody("workorder.created", fmt.Sprint("w", i%3), ""))
	}
	testwait.Eventually(t, "the others have arrived", func() bool { return len(readStream(t, reader)) == 30 })
	for _, m := range readStream(t, reader) {
		if !strings.HasPrefix(m.id, "persat:msg_w") {
			t.Errorf("%s arrived", m.id)
		}
	}
	if *long { // it takes 30 s to be shown
		testwait.Eventually(t, "the reason is shown", func() bool {
			held := b.status().Held
			return len(held) == 1 && held[0].Type == "client.updated" && strings.Contains(held[0].Reason, "may not publish to persat.client.updated")
		})
	}
	n.Configure(users(``))
	n.Kill()
	n.Run()
	b.drained()
	last := make(map[string]int)
	messages := readStream(t, reader)
	for _, m := range messages[30:] {
		var i int
		if _, err := fmt.Sscanf(m.id, "persat:msg_c%d", &i); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[m.entity]; ok && before > i {
			t.Errorf("entity %s: event %d is after %d", m.entity, i, before)
		}
		last[m.entity] = i
	}
	if len(messages) != 60 {
		t.Errorf("got %d messages, want 60", len(messages))
	}

	// Full, and refusing what is new.
	limit(t, reader, 60)
	for i := range 5 {
		b.post(fmt.Sprintf("msg_f%d", i), eventBody("workorder.created", "full", ""))
	}
	time.Sleep(time.Second)
	if got := b.metric("persat_bridge_pending_events"); got != 5 {
		t.Errorf("got %v pending, want the 5 that do not fit", got)
	}
	limit(t, reader, 1000)
	b.drained()
	for i, m := range readStream(t, reader)[60:] {
		if want := fmt.Sprintf("persat:msg_f%d", i); m.id != want {
			t.Errorf("got %s, want %s", m.id, want)
		}
	}
	if dead := b.metric("persat_bridge_dead_events"); dead != 0 {
		t.Errorf("got %v dead letters, want none", dead)
	}
}

// limit bounds the stream, which then refuses what is new.
func limit(t *testing.T, url string, messages int64) {
	t.Helper()
	js := natstest.JetStream(t, url)
	defer js.Conn().Close()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgs, config.Discard = messages, jetstream.DiscardNew
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// TestTwoBridgesOnOneStream: what both accepted is stored once.
func TestTwoBridgesOnOneStream(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	one, two := newBridgeProcess(t, "NATS_URL="+n.URL), newBridgeProcess(t, "NATS_URL="+n.URL)
	one.Start()
	two.Start()
	for i := range 100 {
		id, body := fmt.Sprintf("msg_%d", i), eventBody("workorder.created", fmt.Sprint(i), "")
		one.post(id, body)
		two.post(id, body)
	}
	one.drained()
	two.drained()
	if got := len(readStream(t, n.URL)); got != 100 {
		t.Errorf("got %d messages, want 100", got)
	}
}

// TestWaitForStream: a 2xx says that JetStream has it; without NATS there is none,
// and the repeat finds the event that is kept.
func TestWaitForStream(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_ACCEPT_WAIT_FOR=stream", "PERSAT_BRIDGE_PUBLISH_ACK_TIMEOUT=500ms", "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=200ms")
	b.Start()
	b.post("msg_1", eventBody("workorder.created", "1", ""))
	if got := len(readStream(t, n.URL)); got != 1 {
		t.Errorf("got a 2xx and %d messages, want 1", got)
	}
	n.Kill()
	s := signed(t, testSecret, "msg_2", time.Now(), eventBody("workorder.created", "1", ""))
	for range 2 {
		if code, a := s.post(t, b.url); code != 503 {
			t.Errorf("NATS away: got %d %+v, want 503", code, a)
		}
	}
	n.Run()
	testwait.Eventually(t, "the repeat gets its 2xx", func() bool {
		code, a := s.post(t, b.url)
		return code == 200 && a.Status == "duplicate"
	})
	if got := len(readStream(t, n.URL)); got != 2 {
		t.Errorf("got %d messages, want 2", got)
	}
}

// TestBacklogOverRestart: much is pending when the bridge starts, and it drains in
// order. The figures are for the log; they are not asserted on a shared machine.
func TestBacklogOverRestart(t *testing.T) {
	t.Parallel()
	count := 10_000
	if *long {
		count = 1_000_000
	}
	n := natstest.NewChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=500ms")
	fillJournal(t, filepath.Join(b.dir, "journal"), count)
	begin := time.Now()
	b.Start()
	t.Logf("%d pending: ready after %v, %d MiB of memory", count, time.Since(begin).Round(time.Millisecond), b.memory())
	if got := b.metric("persat_bridge_pending_events"); got != float64(count) {
		t.Errorf("got %v pending, want %d", got, count)
	}
	begin = time.Now()
	n.Run()
	testwait.Eventually(t, "nothing pending", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
	t.Logf("drained in %v, %d MiB of memory", time.Since(begin).Round(time.Millisecond), b.memory())
	last := make(map[string]int)
	messages := readStream(t, n.URL)
	for _, m := range messages {
		var i int
		if _, err := fmt.Sscanf(m.id, "persat:msg_%d", &i); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[m.entity]; ok && before > i {
			t.Errorf("entity %s: event %d is after %d", m.entity, i, before)
		}
		last[m.entity] = i
	}
	if len(messages) != count {
		t.Errorf("got %d messages, want %d", len(messages), count)
	}
}

// memory is the resident set in MiB.
func (b *bridgeProcess) memory() int {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.Pid()))
	if err != nil {
		b.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.t.Fatal(err)
	}
	return kib >> 10
}

// fillJournal accepts events without publishing any.
func fillJournal(t *testing.T, dir string, count int) {
	t.Helper()
	j := openJournal(t, dir)
	br, err := bridge.New(bridge.Options{Journal: j, Publisher: nowhere{}, Sources: []string{"persat"}})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	// An entity's events all come from one sender, so that their order is known.
	const senders, entities = 64, 64 * 80
	for sender := range senders {
		group.Go(func() {
			for i := sender; i < count; i += senders {
				body, err := persat.Sample("workorder.created", fmt.Sprint(i%entities))
				if err == nil {
					_, err = br.Accept(context.Background(), bridge.Delivery{Source: "persat", ID: fmt.Sprintf("msg_%d", i), Type: "workorder.created", Entities: []string{fmt.Sprint(i % entities)}, Body: body})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// nowhere is a publisher for a bridge that only accepts.
type nowhere struct{}

func (nowhere) Connect(context.Context) (bridge.Session, error) {
	return nil, fmt.Errorf("not in this test")
}

func openJournal(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestJournalTools goes through the tools on a stopped bridge's journal, and after
// that on one with a byte flipped.
func TestJournalTools(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t)
	dir := filepath.Join(b.dir, "journal")
	fillJournal(t, dir, 500)
	if code, out, stderr := b.tool("journal", "stat"); code != 0 || !strings.Contains(out, "pending    500") {
		t.Errorf("stat: exit %d\n%s%s", code, out, stderr)
	}
	if code, out, _ := b.tool("journal", "verify"); code != 0 || out != "500 records, all whole\n" {
		t.Errorf("verify: exit %d\n%s", code, out)
	}
	code, out, _ := b.tool("journal", "dump", "--state", "pending")
	if lines := strings.Count(out, "\n"); code != 0 || lines != 500 {
		t.Errorf("dump: exit %d, %d lines, want 500", code, lines)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	flipped := 0 // each may cost a record
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 1<<16 {
			text[len(text)/2] ^= 1
			flipped++
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code, _, stderr := b.tool("serve"); code != exitFailed || !strings.Contains(stderr, "journal repair") {
		t.Errorf("serve on a damaged journal: exit %d %s, want 1 and the way out", code, stderr)
	}
	repaired := filepath.Join(b.dir, "repaired")
	code, out, _ = b.tool("journal", "repair", "--to", repaired)
	t.Logf("exit %d\n%s", code, out)
	if code != exitFailed || !strings.Contains(out, "saved into") || !strings.Contains(out, "record") {
		t.Errorf("repair: exit %d\n%s", code, out)
	}
	code, out, _ = b.tool("journal", "stat", "--dir", repaired, "--json")
	var s journalStats
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || s.Pending < 500-flipped {
		t.Errorf("after the repair: exit %d, %s (%v); want at least %d pending", code, out, err, 500-flipped)
	}
	// The bridge goes on with it.
	if err := os.Rename(dir, dir+".damaged"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(repaired, dir); err != nil {
		t.Fatal(err)
	}
	b.Start()
	b.drained()
	if code := b.Stop(); code != exitDone {
		t.Errorf("exit code %d, want 0", code)
	}
}
