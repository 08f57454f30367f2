package admin_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/admin"
)

// pipes is a listener of connections in memory.
type pipes struct{ dialled chan net.Conn }

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.dialled
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p *pipes) Close() error   { close(p.dialled); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A client that stopped in the middle of a body kept its connection and a descriptor for
// ever, with a token or without.
func TestABodyThatDoesNotCome(t *testing.T) {
	for _, c := range []struct{ name, request, rest, want string }{
		{"half a body", "PUT /api/log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{", "", "408"},
		{"to a path that reads none", "POST /api/replay HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{", "", "408"},
		{"to a path that is not there", "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "", "408"},
		{"a body larger than any", "PUT /api/log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", strings.Repeat("x", 100000), "413"},
		{"a whole one", "PUT /api/log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n", `{"level":"info"}`, "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				level := zap.NewAtomicLevel()
				s, err := admin.New(admin.Options{Listen: "127.0.0.1:0", Level: &level}, nil)
				if err != nil {
					t.Fatal(err)
				}
				l := &pipes{make(chan net.Conn)}
				ctx, stop := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- s.Serve(ctx, l) }()
				ours, theirs := net.Pipe()
				l.dialled <- theirs
				go func() {
					_, _ = fmt.Fprint(ours, c.request)
					_, _ = fmt.Fprint(ours, c.rest)
				}()
				begin := time.Now()
				response, err := http.ReadResponse(bufio.NewReader(ours), nil)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				if got := response.Status[:3]; got != c.want || time.Since(begin) > 10*time.Second {
					t.Errorf("got %s after %v, want %s within 10 s", got, time.Since(begin), c.want)
				}
				ours.Close()
				stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
