package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// Two bridges behind the nginx configuration of docs/deploying.md are restarted one after
// the other, again and again, while a sender posts. No post is refused, and each one is in
// the stream once.
func TestRollingRestartNginx(t *testing.T) {
	t.Parallel()
	nginx := needTool(t, "nginx", "nginx", "/usr/sbin/nginx")
	text := readDocument(t, "../../docs/deploying.md")
	_, site, found := strings.Cut(text, "```nginx\n")
	site, _, closed := strings.Cut(site, "```")
	if !found || !closed {
		t.Fatal("docs/deploying.md has no configuration of nginx")
	}
	n := natstest.StartChild(t, "")
	bridges := []*bridgeProcess{newBridgeProcess(t, "NATS_URL="+n.URL), newBridgeProcess(t, "NATS_URL="+n.URL)}
	for i, b := range bridges {
		u, err := url.Parse(b.url)
		if err != nil {
			t.Fatal(err)
		}
		site = replaceOnce(t, site, fmt.Sprintf("10.0.0.1%d:8080", i+1), u.Host)
		b.Start()
	}
	address := startNginx(t, nginx, func(dir, address string) string {
		return nginxPaths(dir) + replaceOnce(t, site, "listen 80;", "listen "+address+";")
	})

	posts := int64(1500)
	if *long {
		posts = 20000
	}
	var posted atomic.Int64
	var senders sync.WaitGroup
	restarting, done := context.WithCancel(t.Context())
	defer done()
	for range 4 {
		senders.Go(func() {
			s := newSender("http://"+address+"/webhooks/persat", testSecret, 1)
			defer s.close()
			for i := posted.Add(1); i <= posts; i = posted.Add(1) {
				id := fmt.Sprint("rolling-", i)
				if a, err := s.post(t.Context(), id, []byte(eventBody("workorder.closed", fmt.Sprint(i%50), id))); err != nil || !a.ok() {
					t.Errorf("%s: got %d, %v", id, a.code, err)
					return
				}
			}
		})
	}
	go func() { senders.Wait(); done() }()
	restarts := 0
	for ; restarting.Err() == nil; restarts++ {
		b := bridges[restarts%2]
		b.Stop()
		b.Start()
		// A post that this bridge refused before it was up must not meet the other one on
		// its way down.
		testwait.Eventually(t, "posts at the bridge that is back", func() bool {
			return restarting.Err() != nil || b.metric("persat_bridge_accepted_total") >= 20
		})
	}
	senders.Wait()
	if restarts < 2 {
		t.Errorf("got %d restarts, want each bridge restarted", restarts)
	}
	for _, b := range bridges {
		b.drained()
	}
	stored := make(map[string]int)
	for _, m := range readStream(t, n.URL) {
		stored[m.id]++
	}
	for i := range posts {
		if id := fmt.Sprint("persat:rolling-", i+1); stored[id] != 1 {
			t.Errorf("%s is in the stream %d times, want once", id, stored[id])
		}
	}
	t.Logf("%d posts over %d restarts", posts, restarts)
}

func replaceOnce(t *testing.T, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is there %d times, want once", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, new, 1)
}
