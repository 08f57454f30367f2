package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// StreamOptions describes the stream that takes the events.
type StreamOptions struct {
	Name string
	// Manage makes a missing stream and adds missing subjects to one that is
	// there. Nothing else is ever changed.
	Manage bool
	// Replicas is how many servers have it; 0 is 1.
	Replicas int
	// MaxAge is how long it keeps a message, and MaxBytes how much; 0 is no limit.
	MaxAge   time.Duration
	MaxBytes int64
	// DuplicateWindow is how long a message id is known; 0 is the server's default.
	DuplicateWindow time.Duration
	// Compress makes a new stream compress its blocks on disk with S2.
	Compress bool
}

// Options is what a JetStream needs.
type Options struct {
	Connect ConnectOptions
	Stream  StreamOptions
	// Creation decides whether a missing stream is created; nil allows it always.
	Creation Creation
	// Prefixes is the subject prefix of each source.
	Prefixes map[string]string
	// EntityTokens make the last token of a subject from the ids of the entities of an
	// event, for each source that publishes by entity. The subjects of the other sources
	// end with the event type.
	EntityTokens map[string]func(entities []string) string
	// JournalDiskStore is the directory of the server's store when that is on the disk of
	// the journal and takes what the disk has. Check warns of a stream without limits then.
	JournalDiskStore string
	// Types are the event types that are known. Check compares the filters of consumers
	// with their subjects.
	Types []string
	// AckTimeout is how long an attempt waits for JetStream. Default 5 s.
	AckTimeout time.Duration
	Log        *zap.Logger
}

func (o *Options) validate() error {
	if o.Connect.Embedded == nil && o.Connect.URL == "" && o.Connect.Context == "" {
		return errors.New("publisher: no server: nats.url is empty and nats.embedded is off")
	}
	if o.Connect.Domain != "" && o.Connect.APIPrefix != "" {
		return errors.New("publisher: nats.domain and nats.api_prefix: only one of them can hold")
	}
	if o.Stream.Name == "" {
		return errors.New("publisher: no stream name")
	}
	if o.Connect.Name == "" {
		o.Connect.Name = "persat-bridge"
	}
	if o.AckTimeout <= 0 {
		o.AckTimeout = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Creation == nil {
		o.Creation = always{}
	}
	return nil
}

// Creation decides whether a stream that the server does not find is created. The
// evidence is not the publisher's; bridge.Creation has it.
type Creation interface {
	// Allowed returns nil when the stream may be created now, and else why not, for an
	// operator to read.
	Allowed(ctx context.Context) error
	// Found is told each time that the stream is seen.
	Found()
	// Unreadable is told when the server failed to create the stream, perhaps because of
	// what it has on disk under that name, which it has then deleted.
	Unreadable(err error)
}

// always allows every stream to be created.
type always struct{}

func (always) Allowed(context.Context) error { return nil }
func (always) Found()                        {}
func (always) Unreadable(error)              {}

// JetStream opens sessions with a JetStream. It is safe for concurrent use.
type JetStream struct {
	o Options

	mu       sync.Mutex
	reported string // the differences of the stream that the log has shown
}

var (
	_ bridge.Publisher = (*JetStream)(nil)
	_ bridge.Session   = (*session)(nil)
)

// New checks the options. It connects to nothing.
func New(o Options) (*JetStream, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &JetStream{o: o}, nil
}

// Connect implements bridge.Publisher. A stream that cannot be looked at or made
// is no reason to fail: events are then held, subject by subject, with the
// server's own words.
func (p *JetStream) Connect(ctx context.Context) (bridge.Session, error) {
	s, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	s.look(ctx)
	if ctx.Err() != nil {
		s.Close()
		return nil, context.Cause(ctx)
	}
	return s, nil
}

// dial opens a session that has not looked at the stream, nor changed it.
func (p *JetStream) dial(ctx context.Context) (*session, error) {
	s := &session{p: p, done: make(chan struct{}), denied: make(map[string]time.Time), requests: make(map[*request]bool)}
	s.pending = newPendingAcks(p.o.AckTimeout, s.onExpired)
	s.batchLimit.Store(maxBatch)
	nc, a, err := dial(ctx, p.o.Connect, nats.ErrorHandler(s.onError), nats.ClosedHandler(s.onClosed))
	if err != nil {
		return nil, err
	}
	s.nc, s.api = nc, a
	inbox := nc.NewInbox()
	s.replies, s.batches = inbox+".", inbox[strings.LastIndexByte(inbox, '.')+1:]+"."
	s.js, err = a.jetStream(nc)
	if err == nil {
		_, err = nc.Subscribe(s.replies+"*", s.onReply)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return s, nil
}
