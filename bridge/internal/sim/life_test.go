package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// life is one process of the bridge: from its start to its stop, or until its host loses
// power. Then what it does later reaches nobody: neither the disk that the next life finds,
// nor the server, nor a sender.
type life struct {
	w        *world
	disk     *vfs.MemFS
	client   *client
	journal  *journal.Journal
	bridge   *bridge.Bridge
	registry *prometheus.Registry
	stop     context.CancelFunc
	running  sync.WaitGroup
	err      error // of Run
	// cancelled says that the replay was, which runs or ran last.
	cancelled bool

	mu      sync.Mutex
	isCut   bool
	cutTime time.Time
	after   int // operations of the disk until the power goes; 0: it does not
	keep    int // percent of what was not synced that is on the disk all the same
	rng     *rand.Rand
	image   *vfs.MemFS    // what the next life finds
	cut     chan struct{} // closed when the power has gone
}

// born opens the journal on a disk and runs a bridge on it.
func (w *world) born(disk *vfs.MemFS) (*life, error) {
	l := &life{w: w, disk: disk, client: &client{n: w.server}, cut: make(chan struct{}), registry: prometheus.NewRegistry(), rng: rand.New(rand.NewPCG(w.rng.Uint64(), 0))}
	w.diskUsage(disk)
	o := w.script.Options
	var err error
	l.journal, err = journal.Open(journal.Options{Dir: "journal", FS: errorfs.Wrap(disk, errorfs.InjectorFunc(l.operation)), DedupWindow: o.Dedup, Log: w.zap()})
	if err != nil {
		return nil, err
	}
	l.bridge, err = bridge.New(bridge.Options{
		Journal: l.journal, Publisher: l.client, Sources: []string{"a", "b"}, Types: eventTypes,
		MaxInFlight: o.InFlight, AckTimeout: ackTimeout, MaxAttempts: o.Attempts, WaitForStream: o.WaitForStream,
		Backoff:   bridge.Backoff{Initial: 50 * time.Millisecond, Max: 4 * time.Second, Multiplier: 2, Jitter: 0.5},
		Batches:   bridge.Batches{Enabled: o.Batches, Backlog: 4, Least: 2, Most: 16, Measure: 2 * time.Millisecond, Again: 300 * time.Millisecond},
		Retention: o.Retention, DedupWindow: o.Dedup, Log: w.zap(), Registerer: l.registry,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	l.running.Go(func() { l.err = l.bridge.Run(ctx) })
	return l, nil
}

// operation comes before each operation of the disk. Syncs of the log take a moment; those
// of other files happen while the store holds its locks, where virtual time cannot pass.
func (l *life) operation(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	l.mu.Lock()
	if l.after > 0 && !l.isCut {
		if l.after--; l.after == 0 {
			l.cutLocked()
		}
	}
	l.mu.Unlock()
	return nil
}

// cutPower takes the power of the host at once.
func (l *life) cutPower() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isCut {
		l.cutLocked()
	}
}

func (l *life) cutLocked() {
	l.isCut, l.cutTime = true, time.Now()
	l.client.dead.Store(true)
	l.image = l.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: l.keep, RNG: l.rng})
	close(l.cut)
}

// ifAlive runs f if the power is on; it cannot go meanwhile.
func (l *life) ifAlive(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isCut {
		f()
	}
}

func (l *life) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// mayRefuse says whether a bridge that is ready may refuse an event for this reason.
func (l *life) mayRefuse(err error) bool {
	return errors.Is(err, bridge.ErrNotAcknowledged)
}

// bury ends what is left of a life.
func (l *life) bury() error {
	if l.client.dead.Load() {
		l.w.server.cutSessions()
	}
	l.stop()
	l.running.Wait()
	if err := l.journal.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return l.err
}

// zap is the log of a life, as a part of the trace.
func (w *world) zap() *zap.Logger {
	if !w.tracing {
		return zap.NewNop()
	}
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "m", LevelKey: "l", EncodeLevel: zapcore.CapitalLevelEncoder, EncodeDuration: zapcore.StringDurationEncoder, ConsoleSeparator: " "})
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(traceWriter{w}), zapcore.DebugLevel))
}

type traceWriter struct{ w *world }

func (t traceWriter) Write(b []byte) (int, error) {
	t.w.log("  log: %s", strings.TrimSpace(string(b)))
	return len(b), nil
}
