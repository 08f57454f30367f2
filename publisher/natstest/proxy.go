package natstest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy passes TCP connections on to a server, and spoils them as its fields say.
type Proxy struct {
	// URL is where clients reach the server through it, and Host the same as host:port.
	URL, Host string
	// HoldUp and HoldDown make what comes from the client and from the server wait.
	HoldUp, HoldDown atomic.Bool
	// DropDown throws away what comes from the server.
	DropDown atomic.Bool
	// Refuse closes every new connection.
	Refuse atomic.Bool
	// Rate is how many bytes a second come from the server; 0 is no limit.
	Rate atomic.Int64

	target   string
	listener net.Listener
	pumps    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// NewProxy listens for connections to target (host:port) until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Host: l.Addr().String(), target: target, listener: l, conns: make(map[net.Conn]bool)}
	p.URL = "nats://" + p.Host
	p.pumps.Go(p.serve)
	t.Cleanup(p.close)
	return p
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.Refuse.Load() {
			client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		if p.Rate.Load() > 0 { // else the kernel's buffers hide how slow it is
			_ = client.(*net.TCPConn).SetWriteBuffer(64 << 10)
			_ = server.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		if !p.add(client, server) {
			return
		}
		p.pumps.Go(func() { p.pump(server, client, &p.HoldUp, new(atomic.Bool), new(atomic.Int64)) })
		p.pumps.Go(func() { p.pump(client, server, &p.HoldDown, &p.DropDown, &p.Rate) })
	}
}

// add remembers a connection's two ends; false when the proxy has ended.
func (p *Proxy) add(ends ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range ends {
		if p.closed {
			c.Close()
			continue
		}
		p.conns[c] = true
	}
	return !p.closed
}

func (p *Proxy) pump(to, from net.Conn, hold, drop *atomic.Bool, rate *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	for b := make([]byte, 16<<10); ; {
		n, err := from.Read(b)
		for hold.Load() && p.open(from) {
			time.Sleep(5 * time.Millisecond)
		}
		if n > 0 && !drop.Load() {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
			if per := rate.Load(); per > 0 {
				time.Sleep(time.Duration(n) * time.Second / time.Duration(per))
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) open(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[c]
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.listener.Close()
	p.Cut()
	p.pumps.Wait()
}
