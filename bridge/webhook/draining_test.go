package webhook

import (
	"net"
	"testing"
)

// Connections that wait in the kernel's queue when the listener ends are accepted, and
// none is reset.
func TestLastListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	last := newDrainingListener(l, func() {})
	const clients = 5
	var conns []net.Conn
	for range clients { // nobody accepts yet: one at most has left the queue
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	closed := make(chan error, 1)
	go func() { closed <- last.Close() }()
	for range clients {
		c, err := last.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		c.Close()
	}
	if _, err := last.Accept(); err == nil {
		t.Error("one more was accepted than there are")
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for i, c := range conns {
		if n, err := c.Read(make([]byte, 1)); n != 1 {
			t.Errorf("client %d: got %d bytes, error %v", i, n, err)
		}
	}
}
