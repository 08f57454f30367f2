package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/pull/pollserver"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

const pollToken = "sk_poll_0123456789abcdef"

// pulledItem is the n-th item of the polling endpoint. Its payload has blanks and a
// number beyond float64, so that nobody can have serialised it anew.
func pulledItem(n int) pollserver.Item {
	return pollserver.Item{
		ID:        fmt.Sprintf("msg_pull_%06d", n),
		EventType: []byte(`"workorder.updated"`),
		Payload:   fmt.Appendf(nil, `{ "_id" : "WO-%d", "n": %d, "big": 12345678901234567890123 }`, n%oracleEntities, n),
		Timestamp: time.Date(2026, 2, 12, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond),
	}
}

// pushedBody is the same event as a webhook carries it.
func pushedBody(n int) []byte {
	return fmt.Appendf(nil, `{"payload":{"n":%d,"big":12345678901234567890123,"_id":"WO-%d"},"eventType":"workorder.updated"}`, n, n%oracleEntities)
}

func pulledBody(n int) []byte {
	it := pulledItem(n)
	return fmt.Appendf(nil, `{"eventType":%s,"payload":%s}`, it.EventType, it.Payload)
}

// pollEndpoint serves items and, from time to time, a fault.
func pollEndpoint(t *testing.T, faults bool) (*pollserver.Server, string) {
	s := pollserver.New(pollToken)
	if faults {
		var n atomic.Int64
		s.Fault(func(w http.ResponseWriter, _ *http.Request) bool {
			switch n.Add(1) % 13 {
			case 3:
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusTooManyRequests)
			case 7:
				w.WriteHeader(http.StatusInternalServerError)
			case 11:
				w.Header().Set("Content-Length", "1000")
				fmt.Fprint(w, `{"data":[`)
				panic(http.ErrAbortHandler)
			default:
				return false
			}
			return true
		})
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL + "/api/v1/app/app_1/poller/poll_1"
}

// TestOraclePull: every item of the polling endpoint is in the stream once, whatever
// is killed, and whether or not a webhook brings it, too.
func TestOraclePull(t *testing.T) {
	t.Parallel()
	items, kills, away := 3_000, 4, 2*time.Second
	if *long {
		items, kills, away = 50_000, 20, 20*time.Second
	}
	random := newRandom(t)
	endpoint, url := pollEndpoint(t, true)
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_SOURCES_PERSAT_PULL_URL="+url, "PERSAT_BRIDGE_SOURCES_PERSAT_PULL_TOKEN="+pollToken,
		"PERSAT_BRIDGE_SOURCES_PERSAT_PULL_START=earliest", "PERSAT_BRIDGE_SOURCES_PERSAT_PULL_INTERVAL=20ms")
	b.Start()

	var work sync.WaitGroup
	work.Go(func() { // the sender goes on while everything else happens
		for from := 0; from < items; from += 100 {
			for i := from; i < min(from+100, items); i++ {
				endpoint.Add(pulledItem(i))
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	order := random.Perm(items)
	for connection := range 16 {
		mine := order[connection*len(order)/16 : (connection+1)*len(order)/16]
		work.Go(func() { pushAll(t, b.url, mine) })
	}
	for kill := range kills {
		time.Sleep(time.Duration(100+random.IntN(700)) * time.Millisecond)
		b.Kill()
		if kill == kills/2 {
			n.Kill()
			time.Sleep(away)
			n.Run()
		}
		b.Start()
	}
	work.Wait()
	testwait.Eventually(t, "the endpoint has nothing more", func() bool { return b.metric("persat_bridge_pull_lag_seconds") == 0 })
	b.drained()
	messages := readStream(t, n.URL)
	if got := b.Stop(); got != exitDone {
		t.Errorf("exit code %d, want 0", got)
	}
	judgePulled(t, messages, items)
	compareOrder(t, messages, filepath.Join(b.dir, "journal"))
	if strings.Contains(b.Output.String(), pollToken) {
		t.Error("the token is in the log")
	}
}

// pushAll posts the items by webhook until each is answered 2xx.
func pushAll(t *testing.T, url string, items []int) {
	s := newSender(url, testSecret, 1)
	defer s.close()
	for _, n := range items {
		testwait.Eventually(t, "a 2xx for a pushed item", func() bool {
			a, err := s.post(context.Background(), pulledItem(n).ID, pushedBody(n))
			return err == nil && a.ok()
		})
	}
}

// judgePulled checks that each item is in the stream once, in the bytes of the webhook or
// those of the endpoint.
func judgePulled(t *testing.T, messages []stored, items int) {
	t.Helper()
	byID := make(map[string][]byte)
	for _, m := range messages {
		if byID[m.id] != nil {
			t.Errorf("%s is in the stream twice", m.id)
		}
		byID[m.id] = m.data
	}
	pulled := 0
	for n := range items {
		data := byID["persat:"+pulledItem(n).ID]
		switch {
		case bytes.Equal(data, pulledBody(n)):
			pulled++
		case !bytes.Equal(data, pushedBody(n)):
			t.Fatalf("item %d: got %q", n, data)
		}
		if !json.Valid(data) {
			t.Fatalf("item %d: got %q", n, data)
		}
	}
	if len(messages) != items {
		t.Errorf("got %d messages, want %d", len(messages), items)
	}
	t.Logf("%d items, %d of them first by pull, %d by webhook", items, pulled, items-pulled)
}

// compareOrder checks that the stream has each entity's events in the order of their
// acceptance, which the journal of a stopped bridge knows.
func compareOrder(t *testing.T, messages []stored, dir string) {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: dir, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	accepted, published := make(map[string][]string), make(map[string][]string)
	for p, err := range j.AllPublished(0) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := bridge.RecordOf(journal.Entry{Item: p.Item, State: journal.Published, StreamSeq: p.StreamSeq, At: p.At})
		if err != nil {
			t.Fatal(err)
		}
		accepted[r.Entities[0]] = append(accepted[r.Entities[0]], r.Source+":"+r.ID)
	}
	for _, m := range messages {
		published[m.entity] = append(published[m.entity], m.id)
	}
	for entity, want := range accepted {
		if got := published[entity]; !slices.Equal(got, want) {
			t.Errorf("%s: got another order than that of acceptance", entity)
		}
	}
}

// TestPullAlone: a bridge without a public listener, and without any secret but the
// endpoint's.
func TestPullAlone(t *testing.T) {
	t.Parallel()
	endpoint, url := pollEndpoint(t, false)
	const items = 500
	for n := range items {
		endpoint.Add(pulledItem(n))
	}
	b := newBridgeProcess(t)
	file := filepath.Join(b.dir, "config.yaml")
	text := fmt.Sprintf("server: {listen: \"\"}\nsources:\n  persat:\n    auth: none\n    pull: {url: %q, token: %s, start: earliest}\n", url, pollToken)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Args = []string{"serve", "-c", file}
	b.Env = slices.DeleteFunc(b.Env, func(v string) bool {
		return strings.HasPrefix(v, "PERSAT_BRIDGE_SERVER_LISTEN=") || strings.HasPrefix(v, "PERSAT_WEBHOOK_SECRET=")
	})
	b.Start()
	testwait.Eventually(t, "the items", func() bool { return b.metric("persat_bridge_published_total") == items })
	messages := readStream(t, b.nats)
	if got := b.Stop(); got != exitDone {
		t.Errorf("exit code %d, want 0", got)
	}
	judgePulled(t, messages, items)
	compareOrder(t, messages, filepath.Join(b.dir, "journal"))
}
