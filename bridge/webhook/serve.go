package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// timeouts are how long a client may take, and how long the end may.
type timeouts struct {
	header, read, idle time.Duration
	// discard and linger are how long the body of a refused request is read before and
	// after its answer. See remainder.
	discard, linger time.Duration
	// recent is how long after its last request a connection counts as in use,
	// and the longest that Serve waits for those that are.
	recent time.Duration
	// quiet without a new connection ends the closing of the barrier, barrierAtMost
	// ends it anyway.
	quiet, barrierAtMost time.Duration
}

var defaultTimeouts = timeouts{
	header: 5 * time.Second,
	read:   15 * time.Second, // the sender gives up then
	// Longer than proxies keep a connection that nobody uses (nginx and ALB 60 s, Google's
	// load balancers 600 s), so that they close first: a request that crosses our closing
	// would be lost.
	idle:          620 * time.Second,
	discard:       5 * time.Second,
	linger:        time.Second,
	recent:        2 * time.Second,
	quiet:         50 * time.Millisecond,
	barrierAtMost: 500 * time.Millisecond,
}

// Serve answers on l, with TLS when tlsConfig is not nil, until ctx is done or
// l fails. Then it drains, and returns when no request is under way or the
// shutdown timeout has passed. It closes l. nil means that all ended well; a client that
// was cut off because it was slow to send its request is logged and no error.
//
// A client should hear 503 and never a reset. HTTP/1.1 has no way to take back
// a kept-alive connection: when the server closes it just as the next request
// leaves the client, that request is lost, and the client cannot know whether it
// was read. Hence the end in five steps:
//
//  1. Every request gets a 503 with "Connection: close"; those under way finish,
//     and their answers say "close" too. So each connection in use ends in an
//     answer. This goes on until those that were open when the draining began,
//     and used within two seconds, are gone; two seconds at most.
//  2. The barrier closes: new requests wait. A client that would come back at once
//     on a new connection is waiting for its answer instead, and soon none is
//     left in the kernel's queue, where closing the listener would reset it.
//  3. The listener closes behind those that waited in the kernel's queue, and the barrier
//     opens: all get their 503, and who comes now is refused by the kernel.
//  4. Connections that came in at the end, and have not had their answer, are waited for as
//     in step 1: once Shutdown has begun, net/http closes a connection without an answer
//     when a request comes.
//  5. http.Server.Shutdown closes connections that nobody has used for seconds,
//     and waits for requests that are still being accepted.
//
// What stays is the request that leaves its client after seconds of silence
// in the very moment of step 5. The sender repeats it.
func (s *Server) Serve(ctx context.Context, l net.Listener, tlsConfig *tls.Config) error {
	log, err := zap.NewStdLogAt(s.log, zap.DebugLevel)
	if err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	conns := newConnections(s.maxConnections, s.overloads)
	hs := &http.Server{
		Handler:           s.echo,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: s.timeouts.header,
		ReadTimeout:       s.timeouts.read,
		// It counts from the headers on: the body, Accept and the answer.
		WriteTimeout:   s.timeouts.read + s.answerTimeout + 5*time.Second,
		IdleTimeout:    s.timeouts.idle,
		MaxHeaderBytes: 32 << 10,
		HTTP2:          &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ConnContext:    conns.opened,
		ConnState:      conns.track,
		ErrorLog:       log,
		// net/http would answer OPTIONS * with 200 before any handler.
		DisableGeneralOptionsHandler: true,
	}
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	watched := make(chan struct{})
	go func() { defer close(watched); s.watch(watching) }()
	defer func() { stopWatching(); <-watched }()
	l = newDrainingListener(l, conns.outOfFiles)
	served := make(chan error, 1)
	go func() {
		if tlsConfig != nil {
			served <- hs.ServeTLS(l, "", "")
		} else {
			served <- hs.Serve(l)
		}
	}()

	var failed error
	select {
	case <-ctx.Done():
	case err := <-served:
		failed = fmt.Errorf("serve %s: %w", l.Addr(), err)
		served <- err
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.shutdownTimeout)
	defer cancel()
	s.Drain()
	conns.waitForUsed(bound, time.Now(), s.timeouts.recent)

	barrier := make(chan struct{})
	s.barrier.Store(&barrier)
	conns.waitForQuiet(bound, s.timeouts.quiet, s.timeouts.barrierAtMost)
	l.Close() // hs.Serve returns its error
	<-served
	s.barrier.Store(nil)
	close(barrier)
	conns.waitForUsed(bound, time.Now(), s.timeouts.recent)

	if err := hs.Shutdown(bound); err != nil {
		hs.Close()
		if n := s.accepting.Load(); n > 0 {
			return errors.Join(failed, fmt.Errorf("shut down %s: %d events were still being accepted: %w", l.Addr(), n, err))
		}
		s.log.Warn("the time for the end is over, and clients have not sent the whole of their requests: they are cut off", zap.Stringer("listener", l.Addr()))
	}
	return failed
}

// waitAtBarrier returns when the barrier is open, or the client gone.
func (s *Server) waitAtBarrier(ctx context.Context) {
	if barrier := s.barrier.Load(); barrier != nil {
		select {
		case <-*barrier:
		case <-ctx.Done():
		}
	}
}

// poll asks often: what it waits for is a moment, once in the life of a process.
func poll(ctx context.Context, atMost time.Duration, done func() bool) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
