package webhook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// pipe is a connection from an address of choice.
type pipe struct {
	net.Conn
	from   string
	closed bool
}

func (p *pipe) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(p.from), Port: 1} }
func (p *pipe) Close() error         { p.closed = true; return nil }

// Whose connection is closed when there is no room for another one.
func TestConnectionsEvict(t *testing.T) {
	type conn struct {
		from      string
		unused    time.Duration
		accepting bool
	}
	tests := []struct {
		name  string
		conns []conn
		want  int // -1: none
	}{
		{"the longest unused", []conn{{"192.0.2.1", 1, false}, {"192.0.2.1", 3, false}, {"192.0.2.2", 2, false}}, 1},
		{"of the network that has most", []conn{{"198.51.100.1", 9, false}, {"192.0.2.1", 1, false}, {"192.0.2.2", 2, false}}, 2},
		{"but none with an event in Accept", []conn{{"192.0.2.1", 9, true}, {"192.0.2.1", 8, false}, {"192.0.2.1", 7, false}}, 1},
		{"all of them with an event in Accept", []conn{{"192.0.2.1", 9, true}, {"192.0.2.1", 8, true}}, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cs := newConnections(len(tt.conns), newOverloads(Options{}.withDefaults()))
			var pipes []*pipe
			now := time.Now()
			for _, c := range tt.conns {
				p := &pipe{from: c.from}
				conn, _ := cs.opened(context.Background(), p).Value(connectionKey{}).(*connection)
				conn.used = now.Add(-c.unused)
				if c.accepting {
					conn.hold()
				}
				pipes = append(pipes, p)
			}
			cs.opened(context.Background(), &pipe{from: "203.0.113.1"})
			for i, p := range pipes {
				if p.closed != (i == tt.want) {
					t.Errorf("connection %d: closed: %t", i, p.closed)
				}
			}
			total := 0
			for _, n := range cs.byNetwork {
				total += n
			}
			if total != len(cs.seen) {
				t.Errorf("%d connections by network, %d in all", total, len(cs.seen))
			}
		})
	}
}

// A stranger's idle connections once used up the descriptors of the process: nobody else
// was let in.
func TestDeliveriesPassIdleStrangers(t *testing.T) {
	f := newFixture(t, Options{MaxConnections: 20})
	address, _ := f.serving(nil)
	for range 60 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range 10 {
		res, err := client.Do(posted(t, address, fmt.Sprint("msg_", i)))
		if err != nil {
			t.Fatalf("delivery %d: %v", i, err)
		}
		if got := checkReply(t, res); got.code != 202 {
			t.Errorf("delivery %d: got %d, want 202", i, got.code)
		}
	}
}

// A connection whose event is being written keeps its place.
func TestConnectionInAcceptIsKept(t *testing.T) {
	f := newFixture(t, Options{MaxConnections: 3})
	entered, leave := f.held()
	address, _ := f.serving(nil)
	code := make(chan int, 1)
	r := posted(t, address, "msg_1")
	go func() {
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Errorf("delivery: %v", err)
			code <- 0
			return
		}
		res.Body.Close()
		code <- res.StatusCode
	}()
	reached(t, entered)
	for range 10 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: bridge.example.com\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
	}
	close(leave)
	if got := <-code; got != 202 {
		t.Errorf("got %d, want 202", got)
	}
}

// short is a listener of a process that may not have another file open, while full is so.
type short struct {
	net.Listener
	full func() bool
}

func (s *short) Accept() (net.Conn, error) {
	if s.full() {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}

func (s *short) SetDeadline(t time.Time) error {
	return s.Listener.(*net.TCPListener).SetDeadline(t)
}

// Out of descriptors the listener once tried again for ever, in silence, while idle
// connections held what it wanted.
func TestServeOutOfFiles(t *testing.T) {
	f := newFixture(t, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var files atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	conns := make([]net.Conn, 0, 40)
	go func() {
		done <- f.Serve(ctx, &short{Listener: l, full: func() bool { return files.Load() < 0 }}, nil)
	}()
	t.Cleanup(func() { cancel(); <-done })
	for range cap(conns) {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: bridge.example.com\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	files.Store(-1)
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil { // ends the Accept that waits
		defer conn.Close()
	}
	conns[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conns[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the longest unused connection: %v, want it closed", err)
	}
	files.Store(0)
	res, err := http.DefaultClient.Do(posted(t, l.Addr().String(), "msg_1"))
	if err != nil {
		t.Fatal(err)
	}
	if got := checkReply(t, res); got.code != 202 {
		t.Errorf("got %d, want 202", got.code)
	}
	http.DefaultClient.CloseIdleConnections()
	testwait.Eventually(t, "a line about it", func() bool { return f.logs.FilterMessageSnippet("may not have more files open").Len() == 1 })
}
