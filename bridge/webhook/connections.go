package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// connections are the open connections of a server. http.Server knows them too, but
// tells nobody.
//
// There may be so many. When one more comes, the connection that has been unused for
// longest goes, of the network that has most of them, but none with an event in Accept.
// A listener that only stopped to accept would let a stranger's idle connections keep
// every delivery out for as long as they stay.
type connections struct {
	overloads overloads

	mu        sync.Mutex
	limit     int
	seen      map[net.Conn]*connection
	byNetwork map[netip.Prefix]int
	newest    time.Time
}

// connection is one of them, and the value of its requests' contexts.
type connection struct {
	network      netip.Prefix
	opened, used time.Time
	active       bool
	accepting    atomic.Int64 // requests of it that are in Accept
}

// minConnections is how many there may be, however few files.
const minConnections = 16

type connectionKey struct{}

func newConnections(limit int, o overloads) *connections {
	return &connections{limit: limit, overloads: o, seen: make(map[net.Conn]*connection), byNetwork: make(map[netip.Prefix]int)}
}

// opened is the server's ConnContext hook: the first that is heard of a connection.
func (cs *connections) opened(ctx context.Context, c net.Conn) context.Context {
	now := time.Now()
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	conn := &connection{network: networkOf(host), opened: now, used: now}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.seen) >= cs.limit {
		if victim := cs.victim(); victim != nil {
			cs.overloads.connections.hit(cs.seen[victim].network)
			cs.evict(victim)
		}
	}
	cs.seen[c] = conn
	cs.byNetwork[conn.network]++
	cs.newest = now
	return context.WithValue(ctx, connectionKey{}, conn)
}

// track is the server's ConnState hook.
func (cs *connections) track(c net.Conn, state http.ConnState) {
	now := time.Now()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch state {
	case http.StateActive, http.StateIdle:
		if conn := cs.seen[c]; conn != nil {
			conn.used, conn.active = now, state == http.StateActive
		}
	case http.StateClosed, http.StateHijacked:
		cs.remove(c)
	}
}

// outOfFiles is called when a connection could not be accepted because the process, or
// the host, may not have more files open. An eighth of the connections goes at once: the
// journal needs files too, and without one it fails. There are that many fewer from then
// on, for the rest of the process has shown that it needs more than it was left.
func (cs *connections) outOfFiles() {
	cs.overloads.files.hit(netip.Prefix{})
	cs.mu.Lock()
	defer cs.mu.Unlock()
	n := len(cs.seen)
	cs.limit = max(minConnections, min(cs.limit, n-n/8))
	for range max(1, n/8) {
		victim := cs.victim()
		if victim == nil {
			return
		}
		cs.evict(victim)
	}
}

// victim is the connection that can best be spared, or nil.
func (cs *connections) victim() net.Conn {
	var found net.Conn
	var than *connection
	for c, conn := range cs.seen {
		if conn.accepting.Load() > 0 {
			continue
		}
		if n := cs.byNetwork[conn.network]; than == nil || n > cs.byNetwork[than.network] ||
			n == cs.byNetwork[than.network] && conn.used.Before(than.used) {
			found, than = c, conn
		}
	}
	return found
}

// evict closes c. Its goroutine ends by that.
func (cs *connections) evict(c net.Conn) {
	cs.remove(c)
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn() // without a farewell, for which the peer would have to read
	}
	c.Close()
}

func (cs *connections) remove(c net.Conn) {
	conn := cs.seen[c]
	if conn == nil {
		return
	}
	delete(cs.seen, c)
	if cs.byNetwork[conn.network]--; cs.byNetwork[conn.network] == 0 {
		delete(cs.byNetwork, conn.network)
	}
}

// connectionOf is the connection that a request came by; nil for a handler without Serve.
func connectionOf(r *http.Request) *connection {
	conn, _ := r.Context().Value(connectionKey{}).(*connection)
	return conn
}

// hold keeps the connection from being evicted until release.
func (c *connection) hold() {
	if c != nil {
		c.accepting.Add(1)
	}
}

func (c *connection) release() {
	if c != nil {
		c.accepting.Add(-1)
	}
}

// inUse counts connections opened before begin that serve a request or did so
// within recent.
func (cs *connections) inUse(begin time.Time, recent time.Duration) int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	n := 0
	for _, c := range cs.seen {
		if !c.opened.After(begin) && (c.active || time.Since(c.used) < recent) {
			n++
		}
	}
	return n
}

func (cs *connections) waitForUsed(ctx context.Context, begin time.Time, recent time.Duration) {
	poll(ctx, recent, func() bool { return cs.inUse(begin, recent) == 0 })
}

// waitForQuiet returns when no connection has been opened for a while.
func (cs *connections) waitForQuiet(ctx context.Context, quiet, atMost time.Duration) {
	begin := time.Now()
	poll(ctx, atMost, func() bool {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		return time.Since(begin) >= quiet && time.Since(cs.newest) >= quiet
	})
}
