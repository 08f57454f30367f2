package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Every refusal that can be given before the body is read, and how to get it.
var earlyRefusals = []struct {
	name, path, method string
	code               int
	options            Options
	arrange            func(f *fixture)
}{
	{name: "unknown path", path: "/", code: 404},
	{name: "unknown source", path: "/webhooks/nobody", code: 404},
	{name: "another method", method: "PUT", code: 405},
	{name: "another address", code: 403, options: Options{Sources: []Source{{Name: "persat", Auth: AuthNone, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}}}},
	{name: "over the rate", code: 429, options: Options{Sources: []Source{{Name: "persat", Auth: AuthNone, RateLimit: 0.001}}}, arrange: func(f *fixture) { f.do(request(event)) }},
	{name: "body too large", code: 413, options: Options{MaxBodyBytes: 512 << 10}},
	{name: "too many requests in flight", code: 503, options: Options{MaxInFlight: 1, Sources: []Source{{Name: "persat", Auth: AuthNone}}}, arrange: func(f *fixture) { f.slots <- struct{}{} }},
	{name: "journal full", code: 503, options: Options{Sources: []Source{{Name: "persat", Auth: AuthNone}}}, arrange: func(f *fixture) { f.acceptor.accept = fails(bridge.ErrFull) }},
	{name: "draining", code: 503, arrange: func(f *fixture) { f.Drain() }},
}

// A reverse proxy with the defaults of nginx speaks HTTP/1.0 or says Connection: close,
// and goes on sending while the answer comes. It once read a reset in place of the
// answer, and took the bridge out of its rotation for ten seconds.
func TestRefusalsReachAClientThatStillSends(t *testing.T) {
	protocols := []struct{ name, line, header string }{
		{"keep-alive", "HTTP/1.1", ""},
		{"Connection: close", "HTTP/1.1", "Connection: close\r\n"},
		{"HTTP/1.0", "HTTP/1.0", ""},
	}
	for _, tt := range earlyRefusals {
		for _, p := range protocols {
			for _, secure := range []bool{false, true} {
				for _, chunked := range []bool{false, true} {
					if chunked && p.line == "HTTP/1.0" {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/tls=%t/chunked=%t", tt.name, p.name, secure, chunked), func(t *testing.T) {
						f := newFixture(t, tt.options)
						if tt.arrange != nil {
							tt.arrange(f)
						}
						conn := f.dial(secure)
						path, method := tt.path, tt.method
						if path == "" {
							path = "/webhooks/persat"
						}
						if method == "" {
							method = "POST"
						}
						fmt.Fprintf(conn, "%s %s %s\r\nHost: bridge.example.com\r\n%s", method, path, p.line, p.header)
						body := bytes.Repeat([]byte("x"), 900<<10)
						if chunked {
							fmt.Fprintf(conn, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
						} else {
							fmt.Fprintf(conn, "Content-Length: %d\r\n\r\n%s", len(body), body)
						}
						reader := bufio.NewReader(conn)
						res, err := http.ReadResponse(reader, nil)
						if err != nil {
							t.Fatalf("read answer: %v", err)
						}
						if got := checkReply(t, res); got.code != tt.code {
							t.Errorf("got %d, want %d", got.code, tt.code)
						}
						if res.Close {
							if _, err := io.Copy(io.Discard, reader); err != nil {
								t.Errorf("after the answer: %v", err)
							}
						}
					})
				}
			}
		}
	}
}

// A client that asks first has sent nothing: it gets the refusal and not a
// "100 Continue".
func TestRefusalBeforeTheBodyIsAskedFor(t *testing.T) {
	f := newFixture(t, Options{})
	conn := f.dial(false)
	fmt.Fprint(conn, "POST /webhooks/nobody HTTP/1.1\r\nHost: bridge.example.com\r\nContent-Length: 900000\r\nExpect: 100-continue\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := checkReply(t, res); got.code != 404 {
		t.Errorf("got %d, want 404", got.code)
	}
}

// Over HTTP/2 a refusal ends its stream alone: the connection goes on.
func TestRefusalOverHTTP2(t *testing.T) {
	f := newFixture(t, Options{})
	address, transport := f.servingTLS()
	for range 3 {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+address+"/webhooks/nobody", bytes.NewReader(bytes.Repeat([]byte("x"), 900<<10)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := checkReply(t, res); got.code != 404 || res.ProtoMajor != 2 {
			t.Errorf("got %d over HTTP/%d, want 404 over HTTP/2", got.code, res.ProtoMajor)
		}
	}
}

// A refused client that sends slowly is read for a short time only, and gets its answer
// all the same.
func TestRefusalDoesNotWaitForASlowClient(t *testing.T) {
	f := newFixture(t, Options{})
	f.timeouts.discard, f.timeouts.linger = 20e6, 20e6
	conn := f.dial(false)
	fmt.Fprint(conn, "POST /webhooks/nobody HTTP/1.1\r\nHost: bridge.example.com\r\nContent-Length: 900000\r\n\r\nx")
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 404") || !strings.Contains(string(answer), "Connection: close") {
		t.Errorf("got %q, want 404 and close", answer)
	}
}

// dial opens a connection to f, which it serves.
func (f *fixture) dial(secure bool) net.Conn {
	f.t.Helper()
	var conn net.Conn
	var err error
	if secure {
		address, transport := f.servingTLS()
		config := transport.TLSClientConfig.Clone()
		config.NextProtos = []string{"http/1.1"}
		conn, err = (&tls.Dialer{Config: config}).DialContext(context.Background(), "tcp", address)
	} else {
		address, _ := f.serving(nil)
		conn, err = net.Dial("tcp", address)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return conn
}
