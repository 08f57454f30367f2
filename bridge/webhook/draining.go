package webhook

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// drainingListener is a listener whose end loses nobody who has got in. A connection that
// waits in the kernel's queue when its listener is closed is reset; so the last ones are
// taken out of the queue, and the listener is closed in the next moment.
type drainingListener struct {
	net.Listener
	conns chan net.Conn
	done  chan struct{} // closed when the last has been passed on
	err   error         // why there are no more; to be read after done

	outOfFiles func() // called when a connection cannot be accepted for want of a file

	ending sync.Once
	end    chan struct{} // closed when the end begins
}

func newDrainingListener(l net.Listener, outOfFiles func()) *drainingListener {
	ll := &drainingListener{Listener: l, outOfFiles: outOfFiles, conns: make(chan net.Conn), done: make(chan struct{}), end: make(chan struct{})}
	go ll.accept()
	return ll
}

func (l *drainingListener) accept() {
	defer close(l.done)
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			l.pass(c)
			continue
		}
		select {
		case <-l.end:
		default:
			if temporary(err) {
				if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
					l.outOfFiles()
				}
				time.Sleep(5 * time.Millisecond)
				continue
			}
			l.err = err
			return
		}
		waiting := takeWaiting(l.Listener)
		l.err = l.Listener.Close()
		for _, c := range waiting {
			l.pass(c)
		}
		if l.err == nil {
			l.err = net.ErrClosed
		}
		return
	}
}

// pass hands c to whoever accepts. At the end there may be nobody any more.
func (l *drainingListener) pass(c net.Conn) {
	select {
	case l.conns <- c:
		return
	case <-l.end:
	}
	select {
	case l.conns <- c:
	case <-time.After(time.Second):
		c.Close()
	}
}

// Accept implements net.Listener.
func (l *drainingListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, l.err
	}
}

// Close lets those in that are waiting. It returns when they are, and nobody listens.
func (l *drainingListener) Close() error {
	l.ending.Do(func() {
		close(l.end)
		// Ends the Accept that waits, and the next.
		if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Unix(1, 0)) != nil {
			l.Listener.Close()
		}
	})
	<-l.done
	return nil
}

// temporary says whether the next Accept may go well: as of a process that has too many
// files open.
func temporary(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}
