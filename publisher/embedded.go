package publisher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// EmbeddedOptions says how the server in this process runs.
type EmbeddedOptions struct {
	// Listen is the address for consumers; empty means none, and only this
	// process reaches the server.
	Listen string
	// Domain is JetStream's; empty for none.
	Domain string
	// StoreDir is where JetStream keeps its streams.
	StoreDir string
	// MaxStore is how many bytes the bridge publishes into StoreDir at most; 0 is all
	// that the disk leaves. The server itself has no limit: with one that is less than
	// what a stream reserves it would not find that stream.
	MaxStore int64
	// SyncAlways makes the server acknowledge a message only once it is synced. Without
	// it the server syncs every two minutes.
	SyncAlways bool
	// MaxPayload raises the largest message, in bytes, above the server's 1 MiB; less
	// than that changes nothing.
	MaxPayload int64
	Log        *zap.Logger
}

// Embedded is a nats-server with JetStream in this process. One that can write no more
// is started again when its disk has room.
type Embedded struct {
	o    EmbeddedOptions
	lock *flock.Flock
	room *room

	server atomic.Pointer[server.Server]
	isNew  atomic.Bool

	stop    context.CancelFunc
	stopped chan struct{}
}

// readyTimeout is how long the server may take to start; a large store is read
// through first.
const readyTimeout = 2 * time.Minute

// StartEmbedded starts a server and returns when JetStream has answered. Close
// ends it.
func StartEmbedded(ctx context.Context, o EmbeddedOptions) (*Embedded, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	lock, err := lockStore(o.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: %w", err)
	}
	e := &Embedded{o: o, lock: lock, room: newRoom(o.StoreDir, o.MaxStore), stopped: make(chan struct{})}
	if err := e.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded NATS: %w", err), lock.Unlock())
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	go e.watch(watch)
	return e, nil
}

// start starts a server. On an error none runs.
func (e *Embedded) start(ctx context.Context) error {
	options := &server.Options{
		ServerName:        "persat-bridge",
		JetStream:         true,
		JetStreamDomain:   e.o.Domain,
		StoreDir:          e.o.StoreDir,
		JetStreamMaxStore: unlimited,
		SyncAlways:        e.o.SyncAlways,
		NoSigs:            true, // else it installs a signal handler that exits
		DontListen:        true,
	}
	if e.o.MaxPayload > server.MAX_PAYLOAD_SIZE {
		options.MaxPayload = int32(e.o.MaxPayload)
		options.MaxPending = max(server.MAX_PENDING_SIZE, e.o.MaxPayload)
	}
	if e.o.Listen != "" {
		if err := listenOn(options, e.o.Listen); err != nil {
			return fmt.Errorf("nats.embedded.listen: %w", err)
		}
	}
	streams, err := filepath.Glob(filepath.Join(e.o.StoreDir, server.JetStreamStoreDir, "*", "streams", "*"))
	if err != nil {
		return err
	}
	e.isNew.Store(len(streams) == 0)
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	logger := &serverLogger{log: e.o.Log.Named("nats")}
	s.SetLoggerV2(logger, false, false, false)
	s.Start()
	if err := ready(ctx, s); err != nil {
		if first := logger.fatal(); first != "" {
			err = errors.New(first)
		}
		s.Shutdown()
		s.WaitForShutdown()
		return err
	}
	if s.Addr() != nil {
		e.o.Listen = s.Addr().String() // consumers find the next one there
	}
	e.server.Store(s)
	return nil
}

// listenOn also tries the address: the server's own failure to listen is a line
// in its log and a timeout.
func listenOn(o *server.Options, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("port %q is not a number", port)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w: choose another address, or stop what listens there; a NATS server of yours can be used instead (nats.url, NATS_URL)", err)
	}
	if err := l.Close(); err != nil {
		return err
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	o.DontListen, o.Host, o.Port = false, host, number
	return nil
}

func lockStore(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("nats.embedded.store_dir: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "persat-bridge.lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !locked {
		return nil, fmt.Errorf("%s is in use by another process: stop it, or set nats.embedded.store_dir", dir)
	}
	return lock, nil
}

// ready waits for one real answer of JetStream: after some failures of its start
// the server still says that it runs.
func ready(ctx context.Context, s *server.Server) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for !s.ReadyForConnections(100 * time.Millisecond) {
		if ctx.Err() != nil {
			return errors.New("it does not get ready")
		}
	}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.NoReconnect())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("JetStream does not answer: %w", err)
	}
	return nil
}

// URL is where consumers reach the server, or "" when it does not listen.
func (e *Embedded) URL() string {
	address := e.server.Load().Addr()
	if address == nil {
		return ""
	}
	return "nats://" + address.String()
}

// IsNew says that the store had no stream when the server started last, not even one that
// it could not read.
func (e *Embedded) IsNew() bool { return e.isNew.Load() }

// InProcessConn implements nats.InProcessConnProvider.
func (e *Embedded) InProcessConn() (net.Conn, error) { return e.server.Load().InProcessConn() }

// Close stops the server, and returns when its files are closed.
func (e *Embedded) Close() error {
	e.stop()
	<-e.stopped
	e.shutdown()
	return e.lock.Unlock()
}

func (e *Embedded) shutdown() {
	s := e.server.Load()
	s.Shutdown()
	s.WaitForShutdown()
}

// serverLogger passes on what the server says that matters here. Its notices
// are debug: they would be the better part of our log.
type serverLogger struct {
	log *zap.Logger

	mu    sync.Mutex
	first string // the first fatal error
}

func (l *serverLogger) say(level func(string, ...zap.Field), format string, v []any) {
	level(strings.TrimSpace(fmt.Sprintf(format, v...)))
}

func (l *serverLogger) Noticef(format string, v ...any) { l.say(l.log.Debug, format, v) }
func (l *serverLogger) Warnf(format string, v ...any)   { l.say(l.log.Warn, format, v) }
func (l *serverLogger) Errorf(format string, v ...any)  { l.say(l.log.Error, format, v) }
func (l *serverLogger) Debugf(string, ...any)           {}
func (l *serverLogger) Tracef(string, ...any)           {}

// Fatalf must not end the process: the caller of StartEmbedded decides.
func (l *serverLogger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	if l.first == "" {
		l.first = fmt.Sprintf(format, v...)
	}
	l.mu.Unlock()
	l.say(l.log.Error, format, v)
}

func (l *serverLogger) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
