package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// Options says how a Bridge works. Journal and Publisher are required; the rest
// has the defaults named.
type Options struct {
	Journal   *journal.Journal
	Publisher Publisher
	// Creation decides whether a missing stream is created; give the Publisher the same.
	// Default one without an embedded server.
	Creation *Creation
	// Sources and Types are the names that may stand in a metric's label; an
	// event type that is not among Types is counted as "other".
	Sources []string
	Types   []string

	// MaxInFlight is how many events may be on their way to JetStream at the
	// same time; a slow server has fewer (window.go). Default 1024.
	MaxInFlight int
	// Batches says whether a backlog may go in atomic batches.
	Batches Batches
	// AckTimeout is how long Accept waits for JetStream's acknowledgement when
	// WaitForStream is set. The Publisher bounds its attempts by itself; give it the
	// same. Default 5 s.
	AckTimeout time.Duration
	// Backoff is how attempts, probes of held subjects, connects and questions to the
	// stream spread out. Default from
	// 100 ms to 30 s, doubling, half of it jitter.
	Backoff Backoff
	// MaxAttempts bounds the attempts that fail for no known reason. Default 20.
	MaxAttempts int
	// WaitForStream makes Accept return only after JetStream's acknowledgement.
	WaitForStream bool

	// Retention is how long published events are kept, and DedupWindow how long
	// delivery ids are. Default 72 h each.
	Retention, DedupWindow time.Duration
	// MaxBytes is the size of the journal on disk at which Accept stops
	// taking events; 0 is no limit.
	MaxBytes int64

	// Describe tells people the subject and the headers that an event has in the stream;
	// false where they are not known. nil tells them nothing of it.
	Describe func(*Event) (subject string, header map[string][]string, ok bool)

	Log        *zap.Logger
	Registerer prometheus.Registerer
	// Tracer makes a span of each commit and of each attempt to publish. nil
	// makes none, and passes the sender's trace context on.
	Tracer trace.Tracer
}

func (o *Options) validate() error {
	if o.Journal == nil || o.Publisher == nil {
		return errors.New("bridge: a journal and a publisher are needed")
	}
	if o.Creation == nil {
		o.Creation = NewCreation(o.Journal, "", false)
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 1024
	}
	o.Batches.validate()
	if o.AckTimeout <= 0 {
		o.AckTimeout = 5 * time.Second
	}
	if o.Backoff == (Backoff{}) {
		o.Backoff = Backoff{Initial: 100 * time.Millisecond, Max: 30 * time.Second, Multiplier: 2, Jitter: 0.5}
	}
	if o.MaxAttempts <= 0 {
		o.MaxAttempts = 20
	}
	if o.Retention <= 0 {
		o.Retention = 72 * time.Hour
	}
	if o.DedupWindow <= 0 {
		o.DedupWindow = 72 * time.Hour
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return nil
}

// Bridge takes deliveries and publishes them. Accept works as soon as New has
// returned, whether or not Run runs. All methods are safe for concurrent use.
type Bridge struct {
	o       Options
	journal *journal.Journal
	ledger  *ledger
	metrics *metrics
	backlog *backlog
	space   *space
	waiters *waiters
	link    *link

	wake     chan struct{} // one token: there may be something new
	commands chan command
	running  atomic.Bool
	ended    chan struct{} // closed when Run has returned
	draining atomic.Bool
	notices  notices
	failures failures
	// lastPublished is when JetStream has last acknowledged an event, in Unix nanoseconds.
	lastPublished atomic.Int64
	lastEvents    lastEvents
	newcomers     newcomers
	gone          atomic.Int64           // events that the stream has lost and the journal no longer keeps
	view          atomic.Pointer[view]   // of the loop
	replayed      atomic.Pointer[Replay] // the replay that runs or ran last
	deadWork      sync.Mutex             // one operator's change of the dead letters at a time
	dead          deadCounts
}

// New reads from the journal what is pending. It starts nothing.
func New(o Options) (*Bridge, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	b := &Bridge{
		o:        o,
		journal:  o.Journal,
		ledger:   &ledger{Journal: o.Journal},
		backlog:  newBacklog(o.Sources),
		space:    newSpace(o.Journal, o.MaxBytes),
		waiters:  newWaiters(),
		wake:     make(chan struct{}, 1),
		commands: make(chan command),
		ended:    make(chan struct{}),
	}
	b.link = newLink(&b.o, b.backlog.total)
	b.view.Store(&view{held: []HeldSubject{}, publishing: newPace(b.o.Batches, b.o.Log).publishing()})
	if err := b.count(); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if err := b.findLastEvents(); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if _, err := b.noticeMissing(); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if err := b.noticeLosses(); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	b.metrics = newMetrics(b)
	return b, nil
}

// count takes stock of what the last process left.
func (b *Bridge) count() error {
	for item, err := range b.journal.AllPending() {
		if err != nil {
			return err
		}
		e, err := parseHeader(item.Header)
		if err != nil {
			return fmt.Errorf("record %d: %w", item.Seq, err)
		}
		b.backlog.add(e.Source, e.Accepted, 1)
	}
	for item, err := range b.journal.AllDead() {
		if err != nil {
			return err
		}
		e, err := parseHeader(item.Header)
		if err != nil {
			return fmt.Errorf("record %d: %w", item.Seq, err)
		}
		b.dead.add(e.Source, 1)
	}
	return nil
}

// Run publishes what is pending until ctx ends; then it lets what is in flight
// end, as long as the Publisher's timeout allows, and returns nil. An error means that
// the journal cannot be written, or not be read; the process has to end.
func (b *Bridge) Run(ctx context.Context) error {
	if !b.running.CompareAndSwap(false, true) {
		return errors.New("bridge: Run called twice")
	}
	defer close(b.ended)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return newLoop(b).run(ctx) })
	upkeep := &maintenance{
		journal: b.journal, space: b.space, backlog: b.backlog, retention: b.o.Retention, dedupWindow: b.o.DedupWindow,
		noticeLosses: b.noticeLosses, log: b.o.Log,
	}
	group.Go(func() error { return upkeep.maintain(ctx) })
	group.Go(func() error { return upkeep.enforceRetention(ctx) })
	defer context.AfterFunc(ctx, b.journal.StopUpkeep)()
	// The others may wait for the disk when ctx ends: the watchdog outlives them.
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		diskWatchdog{b.journal, b.o.Log}.run(ctx, ended)
	}()
	err := group.Wait()
	close(ended)
	<-watched
	return err
}

// Drain makes the bridge refuse deliveries from now on. Run goes on.
func (b *Bridge) Drain() { b.draining.Store(true) }

// Ready returns nil when the bridge can take events, else why not. It does not
// ask for NATS: events are safe without it.
func (b *Bridge) Ready() error {
	if err := b.journal.Err(); err != nil {
		return err
	}
	if b.draining.Load() {
		return ErrStopping
	}
	if stalled := b.journal.Stalled(); stalled > stalledAfter {
		return fmt.Errorf("%w: its disk has not answered a write for %v", ErrStalled, stalled.Round(time.Second))
	}
	return b.space.err()
}
