//go:build unix

package webhook

import (
	"net"
	"os"
	"syscall"
)

// takeWaiting accepts all connections that wait, and waits for none.
func takeWaiting(l net.Listener) []net.Conn {
	conn, ok := l.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var taken []int
	_ = raw.Control(func(fd uintptr) {
		for {
			n, _, err := syscall.Accept(int(fd)) // the listener does not block
			if err != nil {
				return
			}
			taken = append(taken, n)
		}
	})
	var conns []net.Conn
	for _, fd := range taken {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "accepted")
		if c, err := net.FileConn(f); err == nil {
			conns = append(conns, c)
		}
		f.Close() // FileConn has its own
	}
	return conns
}
