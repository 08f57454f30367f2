package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// What Append and Open return, for callers that branch on it.
var (
	// ErrFailed: a write or a sync failed. The journal takes nothing more.
	ErrFailed = errors.New("journal failed")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("journal is closed")
	// ErrLocked: another process has this journal open.
	ErrLocked = errors.New("journal is in use by another process")
	// ErrNotFound: there is no such record in the state asked for.
	ErrNotFound = errors.New("no such record")
)

// Options says where a journal lies. Dir is required, the rest has defaults.
type Options struct {
	Dir string
	// DedupWindow is how long a key stays seen after its record was
	// appended. A record that is pending or dead stays seen beyond it. Default
	// 72 h.
	DedupWindow time.Duration
	// MaxBytes is what the journal is meant to take on disk. It bounds nothing
	// here; a small one makes for a small log. Default 10 GiB.
	MaxBytes int64
	// ReadOnly opens the journal for reading: nothing is written, not even the
	// replay of its log. The directory may be one that cannot be written.
	ReadOnly bool
	Log      *zap.Logger
	// Registerer takes the journal's metrics; nil registers nothing.
	Registerer prometheus.Registerer

	// FS is the file system that has the journal; nil is the operating system's. A
	// simulation gives one whose unsynced writes are gone after a power cut.
	FS vfs.FS

	now        func() time.Time // the tests' jumping clock; nil = the real one
	filterKeys uint64           // the tests' small key filter; 0 = minFilterKeys
}

func (o *Options) validate() error {
	if o.Dir == "" {
		return errors.New("journal: no directory")
	}
	if o.DedupWindow < 0 {
		return errors.New("journal: negative dedup window")
	}
	if o.DedupWindow == 0 {
		o.DedupWindow = 72 * time.Hour
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 10 << 30
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.filterKeys == 0 {
		o.filterKeys = minFilterKeys
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.ReadOnly {
		o.FS = snapshotFS{o.FS}
	}
	return nil
}

// Journal is an open journal. All methods are safe for concurrent use.
type Journal struct {
	o       Options
	db      *pebble.DB
	cache   *pebble.Cache
	metrics *metrics

	appends chan *appendRequest
	stop    chan struct{} // closed by Close: no new appends
	stopped chan struct{} // closed when the last append has been answered
	closing sync.Once
	// disk and merges are between the store and the real disk; presence knows where the
	// journal lies, nil where that cannot be told.
	disk     *failStopFS
	merges   *compactions
	tables   tables // of the open store
	presence *presence
	// upkeep ends what the store does for the sake of room alone.
	upkeep     context.Context
	stopUpkeep context.CancelFunc
	// background has what Close waits for beside that.
	background sync.WaitGroup

	// users counts those who are asking the store something, and closed turns away
	// those who come late, such as an operator's search while the process stops.
	users  atomic.Int64
	closed atomic.Bool

	requests sync.Pool // of appendRequests

	// What is commitLoop's alone: the sequence of the next append, the requests of the
	// batch that it makes by their keys, and memory to use again.
	next    uint64
	inBatch map[string]*appendRequest
	taken   []string
	scratch []byte

	keyFilter keyFilter
	tailCache tailCache
	// keys is held by what looks whether a key is taken and then takes or forgets it.
	keys sync.Mutex
	// durable is the first sequence that is not known to be synced. Readers of
	// pending records stop before it: what is not durable is not published, or
	// a crash could leave an event in the stream that the journal denies.
	durable atomic.Uint64
	// marks counts the batches of marks that were written, and syncedMarks those of
	// them that are known to be on disk.
	marks, syncedMarks atomic.Uint64

	// unproven says that nothing was written to the log since the last append. A chunk of
	// the log says what before it is known to be synced; without one behind it, a damaged
	// batch looks like the torn end that a crash leaves.
	unproven atomic.Bool

	// noting is held by a note that depends on the one before: a count, a minimum.
	noting sync.Mutex
	// moving is held by what reads the state of records and then changes it:
	// else retention could take the body of a record that is being made pending.
	moving sync.Mutex
	// trimmedSpan and trimmedBodies are of what Trim has dropped and the disk does not
	// have back; moving guards them.
	trimmedSpan   bodyRun
	trimmedBodies int
	trimmedAt     uint64 // where the slow round of Trim goes on
	// marking is held while marks are compared with the positions that there are and written
	// (MarkPublished), and while the stream is replaced. The one caller of both is the loop
	// of package bridge; the lock keeps that from being a condition.
	marking sync.Mutex
	// highestPosition is at or above every stream sequence that a record has.
	highestPosition atomic.Uint64
	// firstBody is below every published record that has a body.
	firstBody atomic.Uint64

	// committing and syncing are when the commit that is being written, or synced, was
	// begun, in unix nanoseconds; 0 for none. writing has the other writes.
	committing, syncing atomic.Int64
	writing             underWay

	complained atomic.Int64 // when the store's last complaint was logged, in unix seconds

	failOnce sync.Once
	failure  error
	failed   chan struct{}
}

func newJournal(o Options) *Journal {
	j := &Journal{
		o:       o,
		metrics: newMetrics(o.Registerer),
		appends: make(chan *appendRequest, maxBatch),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		failed:  make(chan struct{}),
		inBatch: make(map[string]*appendRequest),
	}
	j.upkeep, j.stopUpkeep = context.WithCancel(context.Background())
	return j
}

// Open opens the journal in o.Dir, and makes it when there is none. It replays
// what the last process left in the log. Close ends it.
func Open(o Options) (*Journal, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	j := newJournal(o)
	if !o.ReadOnly {
		if err := makeDirs(o.FS, o.Dir); err != nil {
			return nil, fmt.Errorf("open journal %s: %w", o.Dir, advised(err, o.Dir))
		}
	}
	exists, err := look(o.FS, o.Dir)
	if err == nil && o.ReadOnly && !exists {
		err = errors.New("there is none")
	}
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", o.Dir, err)
	}
	if err := wholeTail(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", o.Dir, err)
	}
	if err := j.openStore(); err != nil {
		return nil, openError(o.FS, o.Dir, err)
	}
	if err := j.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", o.Dir, err), j.closeStore())
	}
	j.letMerge()
	if o.ReadOnly {
		close(j.stopped)
		return j, nil
	}
	j.background.Go(j.buildKeyFilter)
	go j.commitLoop()
	return j, nil
}

// closeTimeout is how long Close waits for the disk.
const closeTimeout = 15 * time.Second

// Close ends the journal: appends that are waiting are finished, marks synced. A
// failed journal is left as it is; opening it anew is what repairs it. So is one whose
// disk does not let it end in time: what was promised is on it already.
func (j *Journal) Close() error {
	var err error
	j.closing.Do(func() {
		j.stopUpkeep()
		close(j.stop)
		ended := make(chan error, 1)
		go func() { ended <- j.end() }()
		timeout := time.NewTimer(closeTimeout)
		defer timeout.Stop()
		select {
		case err = <-ended:
		case <-timeout.C:
			j.fail(fmt.Errorf("the disk under %s did not let it close within %v", j.o.Dir, closeTimeout))
			err = j.failure
		}
	})
	return err
}

// end is Close, for as long as it takes.
func (j *Journal) end() error {
	select {
	case <-j.stopped:
	case <-j.failed:
	}
	if err := j.Err(); err != nil {
		return err
	}
	j.background.Wait()
	var err error
	if !j.o.ReadOnly {
		err = j.Sync()
	}
	if failed := j.Err(); failed != nil { // what has failed in the store does not come back from it
		return failed
	}
	return errors.Join(err, j.closeStore())
}

// StopUpkeep ends the waits for the store's own work, which on a full disk have no end:
// Flush, and what Trim and DropPublished do to give room back. They return without an
// error. Close does it too.
func (j *Journal) StopUpkeep() { j.stopUpkeep() }

// Failed is closed when a write or a sync has failed. Err then says why.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err is the failure, or nil.
func (j *Journal) Err() error {
	select {
	case <-j.failed:
		return j.failure
	default:
		return nil
	}
}

// Stalled is how long the disk has not answered a write that is under way.
func (j *Journal) Stalled() time.Duration {
	stalled := j.writing.oldest()
	for _, begin := range []int64{j.committing.Load(), j.syncing.Load()} {
		if begin != 0 {
			stalled = max(stalled, time.Since(time.Unix(0, begin)))
		}
	}
	return stalled
}

// GiveUp fails the journal: its disk has not answered for too long. The failure says,
// too, what the disk last refused.
func (j *Journal) GiveUp(err error) {
	if refused := j.disk.refused.Load(); refused != nil {
		err = fmt.Errorf("%w: %w", err, *refused)
	}
	j.fail(err)
}

func (j *Journal) fail(err error) {
	j.failOnce.Do(func() {
		j.failure = fmt.Errorf("%w: %w", ErrFailed, advised(err, j.o.Dir))
		close(j.failed)
	})
}

// Next is the sequence after the last durable record: one more than there ever were.
func (j *Journal) Next() uint64 { return j.durable.Load() }

// Dir is where the journal lies.
func (j *Journal) Dir() string { return j.o.Dir }
