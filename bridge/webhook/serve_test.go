package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// serving runs f on a free port and returns its address, and a function that
// ends it as SIGTERM does.
func (f *fixture) serving(tlsConfig *tls.Config) (address string, stop func() error) {
	f.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, l, tlsConfig) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	f.t.Cleanup(func() { stop() })
	return l.Addr().String(), stop
}

// held makes the one delivery that comes wait in Accept, from entered until leave is closed.
func (f *fixture) held() (entered, leave chan struct{}) {
	entered, leave = make(chan struct{}), make(chan struct{})
	f.acceptor.accept = func(context.Context, bridge.Delivery) (bridge.Outcome, error) {
		close(entered)
		<-leave
		return bridge.Accepted, nil
	}
	return entered, leave
}

func posted(t *testing.T, address, id string) *http.Request {
	t.Helper()
	h, err := Sign(secretA, id, time.Now(), []byte(event))
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+address+"/webhooks/persat", strings.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = h
	return r
}

// However busy the connections are, a stop is 503s, then refused connections,
// and what was answered 2xx was taken.
func TestServeStopsUnderLoad(t *testing.T) {
	f := newFixture(t, Options{})
	f.timeouts.recent = 15 * time.Second // on a busy machine a client's turn comes late
	f.acceptor.accept = func(context.Context, bridge.Delivery) (bridge.Outcome, error) {
		time.Sleep(time.Millisecond) // as a sync takes
		return 0, nil
	}
	address, stop := f.serving(nil)
	var accepted, refused atomic.Int64
	var clients sync.WaitGroup
	for i := range 64 {
		clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for n := 0; ; n++ {
				res, err := client.Do(posted(t, address, fmt.Sprintf("msg_%d_%d", i, n)))
				if errors.Is(err, syscall.ECONNREFUSED) {
					return
				}
				if err != nil {
					t.Errorf("client %d, request %d: %v", i, n, err)
					return
				}
				switch got := checkReply(t, res); got.code {
				case 202:
					accepted.Add(1)
				case 503:
					refused.Add(1)
				default:
					t.Errorf("client %d, request %d: got %d", i, n, got.code)
				}
				if i%8 == 7 {
					time.Sleep(time.Duration(i) * 10 * time.Millisecond) // some send now and then
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	clients.Wait()
	if accepted.Load() == 0 || refused.Load() < 64 {
		t.Errorf("got %d accepted and %d refused, want some and at least one for each client", accepted.Load(), refused.Load())
	}
	if got := len(f.acceptor.deliveries()); int64(got) != accepted.Load() {
		t.Errorf("%d answered 202, %d taken", accepted.Load(), got)
	}
}

// A client that has got in before nobody listened any more, and sends its request after
// that, was cut off without an answer.
func TestServeAnswersWhoGotInLast(t *testing.T) {
	f := newFixture(t, Options{})
	f.timeouts.recent = 15 * time.Second
	entered, leave := f.held()
	address, stop := f.serving(nil)
	under := make(chan struct{}) // so that there is time to get in while it drains
	go func() {
		defer close(under)
		if res, err := http.DefaultClient.Do(posted(t, address, "msg_1")); err != nil {
			t.Errorf("request under way: %v", err)
		} else {
			res.Body.Close()
		}
	}()
	reached(t, entered)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	testwait.Eventually(t, "it drains", f.draining.Load)
	last, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	close(leave)
	<-under
	testwait.Eventually(t, "nobody listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	time.Sleep(100 * time.Millisecond) // the end would have come
	fmt.Fprintf(last, "GET /webhooks/persat HTTP/1.1\r\nHost: %s\r\n\r\n", address)
	res, err := http.ReadResponse(bufio.NewReader(last), nil)
	if err != nil {
		t.Fatalf("it got no answer: %v", err)
	}
	if got := checkReply(t, res); got.code != 503 || !res.Close {
		t.Errorf("got %d, closes %t, want 503 and close", got.code, res.Close)
	}
	if err := <-stopped; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServeFinishesWhatIsUnderWay(t *testing.T) {
	f := newFixture(t, Options{})
	entered, leave := f.held()
	address, stop := f.serving(nil)
	answered := make(chan reply, 1)
	go func() {
		res, err := http.DefaultClient.Do(posted(t, address, "msg_1"))
		if err != nil {
			t.Errorf("request under way: %v", err)
			answered <- reply{}
			return
		}
		if !res.Close {
			t.Error("the last answer does not close its connection")
		}
		answered <- checkReply(t, res)
	}()
	reached(t, entered)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	testwait.Eventually(t, "it drains", f.draining.Load)
	for _, target := range []string{"/webhooks/persat", "/webhooks/nobody", "/"} {
		res, err := http.Get("http://" + address + target)
		if err != nil {
			t.Fatalf("while draining: %v", err)
		}
		if got := checkReply(t, res); got.code != 503 || !res.Close {
			t.Errorf("GET %s while draining: got %d, closes %t, want 503 and close", target, got.code, res.Close)
		}
	}
	close(leave)
	if got := <-answered; got.code != 202 {
		t.Errorf("request under way: got %d, want 202", got.code)
	}
	if err := <-stopped; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServeGivesUpOnAHangingDisk(t *testing.T) {
	f := newFixture(t, Options{ShutdownTimeout: 100 * time.Millisecond})
	entered, leave := make(chan struct{}), make(chan struct{})
	f.acceptor.accept = func(context.Context, bridge.Delivery) (bridge.Outcome, error) {
		close(entered)
		<-leave
		return 0, bridge.ErrFailed
	}
	address, stop := f.serving(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if res, err := http.DefaultClient.Do(posted(t, address, "msg_1")); err == nil {
			t.Errorf("answered %d by a server that has ended", res.StatusCode)
			res.Body.Close()
		}
	}()
	reached(t, entered)
	if err := stop(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("serve: got %v, want %v", err, context.DeadlineExceeded)
	}
	close(leave)
	<-ended
}

func TestServeStopsAtOnceWhenNobodyIsThere(t *testing.T) {
	f := newFixture(t, Options{})
	_, stop := f.serving(nil)
	begin := time.Now()
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestServeCutsSlowClients(t *testing.T) {
	tests := []struct {
		name, sends string
		want        int // 0: cut without an answer
	}{
		{"half a header", "POST /webhooks/persat HTTP/1.1\r\nHost: bridge.example.com\r\nSvix-Id: ", 0},
		{"half a body", "POST /webhooks/persat HTTP/1.1\r\nHost: bridge.example.com\r\nContent-Length: 100\r\n\r\n{", 400},
		{"half a chunk", "POST /webhooks/persat HTTP/1.1\r\nHost: bridge.example.com\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{", 400},
		{"chunk that is none", "POST /webhooks/persat HTTP/1.1\r\nHost: bridge.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"silence", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{})
			f.timeouts.header, f.timeouts.read, f.timeouts.idle = 50*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond
			address, _ := f.serving(nil)
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.WriteString(conn, tt.sends); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if err != nil {
				t.Fatalf("it was not cut: %v", err)
			}
			if tt.want == 0 {
				if len(answer) > 0 && !bytes.Contains(answer, []byte("400 Bad Request")) {
					t.Errorf("got %q, want nothing", answer)
				}
			} else {
				res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
				if err != nil {
					t.Fatalf("read answer %q: %v", answer, err)
				}
				if got := checkReply(t, res); got.code != tt.want || f.rejected("persat", BodyIncomplete) != 1 {
					t.Errorf("got %d, want %d", got.code, tt.want)
				}
			}
			if n := len(f.acceptor.deliveries()); n != 0 {
				t.Errorf("%d deliveries were taken", n)
			}
		})
	}
}

// A declared body that is too large is answered before it is sent, and a client
// that sends it all the same gets to read the answer.
func TestServeAnswersTooLargeWithoutReset(t *testing.T) {
	f := newFixture(t, Options{MaxBodyBytes: 64 << 10})
	address, _ := f.serving(nil)
	for name, tt := range map[string]struct {
		declared int64
		expect   string
	}{
		"declared":               {5 << 20, ""},
		"declared, asking first": {5 << 20, "100-continue"},
		"chunked":                {-1, ""},
		"chunked, asking first":  {-1, "100-continue"},
	} {
		t.Run(name, func(t *testing.T) {
			r := posted(t, address, "msg_1")
			r.Body, r.ContentLength = io.NopCloser(&endless{left: 5 << 20}), tt.declared
			if tt.expect != "" {
				r.Header.Set("Expect", tt.expect)
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if got := checkReply(t, res); got.code != 413 || !res.Close {
				t.Errorf("got %d, closes %t, want 413 and close", got.code, res.Close)
			}
		})
	}
}

func TestServeStar(t *testing.T) {
	f := newFixture(t, Options{})
	address, _ := f.serving(nil)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "OPTIONS * HTTP/1.1\r\nHost: bridge.example.com\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := checkReply(t, res); got.code != 404 {
		t.Errorf("got %d, want 404", got.code)
	}
}

// servingTLS runs f with a certificate, and returns a client that trusts it.
func (f *fixture) servingTLS() (address string, client *http.Transport) {
	f.t.Helper()
	// httptest has a certificate for example.com.
	lent := httptest.NewUnstartedServer(nil)
	lent.StartTLS()
	config := &tls.Config{Certificates: lent.TLS.Certificates}
	f.roots = x509.NewCertPool()
	f.roots.AddCert(lent.Certificate())
	lent.Close()
	address, _ = f.serving(config)
	return address, f.transportTLS()
}

// transportTLS is another client of the same.
func (f *fixture) transportTLS() *http.Transport {
	client := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.roots, ServerName: "example.com"}, ForceAttemptHTTP2: true}
	f.t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestServeTLS(t *testing.T) {
	f := newFixture(t, Options{})
	address, transport := f.servingTLS()
	r := posted(t, address, "msg_1")
	r.URL.Scheme = "https"
	res, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := checkReply(t, res); got.code != 202 || res.ProtoMajor != 2 {
		t.Errorf("got %d over HTTP/%d, want 202 over HTTP/2", got.code, res.ProtoMajor)
	}
}

func TestServeListenerFails(t *testing.T) {
	f := newFixture(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := f.Serve(context.Background(), l, nil); err == nil || !strings.Contains(err.Error(), "serve 127.0.0.1") {
		t.Errorf("got %v, want an error that names the listener", err)
	}
}

// A proxy that reuses a connection just as the bridge closes it loses a request, so the
// proxy has to be the one that closes.
func TestKeepAliveOutlastsProxies(t *testing.T) {
	for proxy, keeps := range map[string]time.Duration{"nginx": time.Minute, "ALB": time.Minute, "Google": 10 * time.Minute} {
		if defaultTimeouts.idle <= keeps {
			t.Errorf("idle connections end after %v, those of %s after %v", defaultTimeouts.idle, proxy, keeps)
		}
	}
}
