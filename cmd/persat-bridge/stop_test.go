package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// shutdownTimeout is the default of server.shutdown_timeout.
const shutdownTimeout = 20 * time.Second

// Whoever posts while the bridge stops hears 2xx, 503, or that nobody listens
// any more. He never waits in vain, and no 2xx is lost.
func TestSIGTERMUnderLoad(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		env  func(t *testing.T) []string
	}{
		{"HTTP/1.1", func(*testing.T) []string { return nil }},
		{"HTTP/2", func(t *testing.T) []string {
			p := newKeyPair(t, 1)
			return []string{"PERSAT_BRIDGE_SERVER_TLS_CERT_FILE=" + p.cert, "PERSAT_BRIDGE_SERVER_TLS_KEY_FILE=" + p.key}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := test.env(t)
			n := natstest.StartChild(t, "")
			b := newBridgeProcess(t, append(env, "NATS_URL="+n.URL)...)
			if env != nil {
				b.url = "https" + b.url[len("http"):]
			}
			b.Start()
			o := newOracle(t, b.url)
			var group sync.WaitGroup
			for connection := range oracleConnections {
				group.Go(func() { postUntilRefused(o, fmt.Sprintf("WO-%d", connection)) })
			}
			time.Sleep(500 * time.Millisecond)
			begin := time.Now()
			if got := b.Stop(); got != exitDone {
				t.Errorf("exit code %d, want 0", got)
			}
			took := time.Since(begin)
			if took > shutdownTimeout {
				t.Errorf("took %v to stop, want %v at most", took, shutdownTimeout)
			}
			group.Wait()
			b.Start()
			testwait.Eventually(t, "nothing pending", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
			o.judge(readStream(t, n.URL))
			t.Logf("stopped in %v, refused %v", took.Round(time.Millisecond), o.refused)
		})
	}
}

// postUntilRefused posts the events of one entity on one connection, as fast as
// they are answered, until nobody listens any more.
func postUntilRefused(o *oracle, entity string) {
	s := newSender(o.url, o.secret, 1)
	s.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	defer s.close()
	for n := 0; ; n++ {
		p := &promise{id: newDeliveryID(), entity: entity}
		p.body = fmt.Appendf(nil, `{"eventType":"workorder.updated","payload":{"_id":%q,"n":%d}}`, entity, n)
		a, err := s.post(context.Background(), p.id, p.body)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err != nil {
			o.t.Errorf("post: %v, want an answer", err)
			return
		}
		o.mu.Lock()
		if a.ok() {
			o.promised = append(o.promised, p)
		} else {
			o.refused[a.code]++
			if a.code != http.StatusServiceUnavailable {
				o.t.Errorf("post: got %d %s, want 2xx or 503", a.code, a.Error)
			}
		}
		o.mu.Unlock()
	}
}

// A release is rolled out to two bridges behind one address while events come
// in: each stops and starts again in turn.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	bridges := []*bridgeProcess{newBridgeProcess(t, "NATS_URL="+n.URL), newBridgeProcess(t, "NATS_URL="+n.URL)}
	for _, b := range bridges {
		b.Start()
	}
	front := newFront(t, bridges[0].url, bridges[1].url)
	o := newOracle(t, front+"/webhooks/persat")
	// An entity's events go through both, and two journals keep no common order.
	o.anyOrder = true
	ctx, stop := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { o.post(ctx, 1000) })
	rounds := 1
	if *long {
		rounds = 5
	}
	for range rounds {
		for _, b := range bridges {
			time.Sleep(300 * time.Millisecond)
			if got := b.Stop(); got != exitDone {
				t.Errorf("exit code %d, want 0", got)
			}
			b.Start()
		}
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	sending.Wait()
	for _, b := range bridges {
		testwait.Eventually(t, "nothing pending", func() bool { return b.metric("persat_bridge_pending_events") == 0 })
	}
	o.judge(readStream(t, n.URL))
	if o.repeats > 0 {
		t.Errorf("%d posts were not answered 2xx at once, want none: %v", o.repeats, o.refused)
	}
}

// newFront is a load balancer as they come: it takes turns, and what one backend
// refuses, or answers 503, goes to the other.
func newFront(t *testing.T, backends ...string) string {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: oracleConnections, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}
	var turn atomic.Uint32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		first := int(turn.Add(1))
		for i := range backends {
			request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, backends[(first+i)%len(backends)], bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			request.Header = r.Header.Clone()
			response, err := transport.RoundTrip(request)
			if err != nil {
				continue
			}
			last := i == len(backends)-1
			if response.StatusCode == http.StatusServiceUnavailable && !last {
				response.Body.Close()
				continue
			}
			w.WriteHeader(response.StatusCode)
			_, _ = io.Copy(w, response.Body)
			response.Body.Close()
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(func() {
		s.Close()
		transport.CloseIdleConnections()
	})
	return s.URL
}
