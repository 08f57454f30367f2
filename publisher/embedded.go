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
	// MaxPayload raises the largest message, in bytes, above the server's 1 MiB; less
	// than that changes nothing.
	MaxPayload int64
	Log        *zap.Logger
}

// Embedded is a running nats-server with JetStream in this process.
type Embedded struct {
	server *server.Server
	lock   *flock.Flock
	isNew  bool
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
	options := &server.Options{
		ServerName:      "persat-bridge",
		JetStream:       true,
		JetStreamDomain: o.Domain,
		StoreDir:        o.StoreDir,
		NoSigs:          true, // else it installs a signal handler that exits
		DontListen:      true,
	}
	if o.MaxPayload > server.MAX_PAYLOAD_SIZE {
		options.MaxPayload = int32(o.MaxPayload)
		options.MaxPending = max(server.MAX_PENDING_SIZE, o.MaxPayload)
	}
	if o.Listen != "" {
		if err := listenOn(options, o.Listen); err != nil {
			return nil, fmt.Errorf("start embedded NATS: nats.embedded.listen: %w", err)
		}
	}
	lock, err := lockStore(o.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: %w", err)
	}
	streams, err := filepath.Glob(filepath.Join(o.StoreDir, server.JetStreamStoreDir, "*", "streams", "*"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded NATS: %w", err), lock.Unlock())
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded NATS: %w", err), lock.Unlock())
	}
	logger := &serverLogger{log: o.Log.Named("nats")}
	s.SetLoggerV2(logger, false, false, false)
	e := &Embedded{server: s, lock: lock, isNew: len(streams) == 0}
	s.Start()
	if err := e.ready(ctx); err != nil {
		if first := logger.fatal(); first != "" {
			err = errors.New(first)
		}
		return nil, errors.Join(fmt.Errorf("start embedded NATS: %w", err), e.Close())
	}
	return e, nil
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
		return fmt.Errorf("%w: choose another address, or stop what listens there", err)
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
func (e *Embedded) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for !e.server.ReadyForConnections(100 * time.Millisecond) {
		if ctx.Err() != nil {
			return errors.New("it does not get ready")
		}
	}
	nc, err := nats.Connect("", nats.InProcessServer(e.server), nats.NoReconnect())
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
	if e.server.Addr() == nil {
		return ""
	}
	return "nats://" + e.server.Addr().String()
}

// IsNew says that the store had no stream when the server started, not even one that it
// could not read.
func (e *Embedded) IsNew() bool { return e.isNew }

// Close stops the server, and returns when its files are closed.
func (e *Embedded) Close() error {
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return e.lock.Unlock()
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
