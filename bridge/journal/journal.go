package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
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

// formatVersion counts changes of the key space that an older program would
// read wrongly. It stands under "m format".
const formatVersion = 1

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
	// replay of its log.
	ReadOnly bool
	Log      *zap.Logger
	// Registerer takes the journal's metrics; nil registers nothing.
	Registerer prometheus.Registerer

	fs  vfs.FS           // the tests' faulty disk; nil = the real one
	now func() time.Time // the tests' jumping clock; nil = the real one
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
	if o.now == nil {
		o.now = time.Now
	}
	if o.fs == nil {
		o.fs = vfs.Default
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
	// background has what Close waits for beside that.
	background sync.WaitGroup

	// users counts those who are asking the store something, and closed turns away
	// those who come late, such as an operator's search while the process stops.
	users  atomic.Int64
	closed atomic.Bool

	// What is commitLoop's alone: the sequence of the next append, the requests of the
	// batch that it makes by their keys, and memory to use again.
	next    uint64
	inBatch map[string]*appendRequest
	taken   []string
	scratch []byte

	known  known
	recent recent
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

	replayMu sync.Mutex // counting a replay
	// settling is held by what reads the state of records and then changes it:
	// else retention could take the body of a record that is being reopened.
	settling sync.Mutex
	// trimmedSpan and trimmedBodies are of what Trim has dropped and the disk does not
	// have back; settling guards them.
	trimmedSpan   bodyRun
	trimmedBodies int
	trimmedAt     uint64 // where the slow round of Trim goes on
	// firstBody is below every published record that has a body.
	firstBody atomic.Uint64

	// committing and syncing are when the commit that is being written, or synced, was
	// begun, in unix nanoseconds; 0 for none.
	committing, syncing atomic.Int64

	complained atomic.Int64 // when the store's last complaint was logged, in unix seconds

	failOnce sync.Once
	failure  error
	failed   chan struct{}
}

// Open opens the journal in o.Dir, and makes it when there is none. It replays
// what the last process left in the log. Close ends it.
func Open(o Options) (*Journal, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	j := &Journal{
		o:       o,
		metrics: newMetrics(o.Registerer),
		appends: make(chan *appendRequest, maxBatch),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		failed:  make(chan struct{}),
		inBatch: make(map[string]*appendRequest),
	}
	if !o.ReadOnly {
		if err := makeDirs(o.fs, o.Dir); err != nil {
			return nil, fmt.Errorf("open journal %s: %w", o.Dir, err)
		}
	}
	exists, err := look(o.fs, o.Dir)
	if err == nil && o.ReadOnly && !exists {
		err = errors.New("there is none")
	}
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", o.Dir, err)
	}
	if err := wholeTail(o.fs, o.Dir); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", o.Dir, err)
	}
	j.cache = pebble.NewCache(16 << 20)
	db, err := pebble.Open(o.Dir, j.pebbleOptions())
	if err != nil {
		j.cache.Unref()
		return nil, openError(o.Dir, err)
	}
	j.db = db
	if err := j.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", o.Dir, err), j.closeStore())
	}
	if o.ReadOnly {
		close(j.stopped)
		return j, nil
	}
	j.background.Go(j.learnKnown)
	go j.commitLoop()
	return j, nil
}

// ErrIncomplete says that a directory has some files of a journal, but not the one that
// all begins with.
var ErrIncomplete = errors.New("files of a journal are there, but not the one that names its manifest: copy or restore the whole directory")

// look says whether there is a journal in dir, and touches nothing. It is ErrIncomplete of
// a directory that was copied or restored in part: the store would see no database there,
// make a new one, and remove the files of the old.
func look(fs vfs.FS, dir string) (exists bool, err error) {
	found, err := pebble.Peek(dir, fs)
	if err != nil || found.Exists {
		return true, nil // what is wrong with it, the store says better
	}
	names, err := fs.List(dir)
	if err != nil {
		return true, nil
	}
	if slices.ContainsFunc(names, ofJournal) {
		return false, ErrIncomplete
	}
	return false, nil
}

// wholeTail is an error when the end of the last log is damaged and not only torn: the
// store cannot tell one from the other there, and drops what it cannot read.
func wholeTail(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return nil // Open says it better
	}
	last := ""
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			last = max(last, name) // their numbers have leading zeros
		}
	}
	if last == "" {
		return nil
	}
	number, err := logNumber(last)
	if err != nil {
		return err
	}
	f, err := fs.Open(fs.PathJoin(dir, last))
	if err != nil {
		return err
	}
	defer f.Close()
	file, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("%s: %w", last, err)
	}
	if at, damaged := provenDamage(file, number); damaged {
		return fmt.Errorf("%s is damaged at byte %d; 'persat-bridge journal repair' saves what can be read", last, at)
	}
	return nil
}

// ofJournal says whether a file of this name has records of a journal. A manifest alone
// has none: that may be a start that was cut short.
func ofJournal(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".log")
}

// makeDirs makes a directory and those above it that are missing, each with its name on
// disk: else a power failure could take the directory with all that was synced in it.
func makeDirs(fs vfs.FS, dir string) error {
	var missing []string
	for at := dir; ; at = fs.PathDir(at) {
		if _, err := fs.Stat(at); err == nil || at == fs.PathDir(at) {
			break
		}
		missing = append(missing, at)
	}
	for _, at := range slices.Backward(missing) {
		if err := fs.MkdirAll(at, 0o700); err != nil {
			return err
		}
		above, err := fs.OpenDir(fs.PathDir(at))
		if err != nil {
			return err
		}
		if err := errors.Join(above.Sync(), above.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) pebbleOptions() *pebble.Options {
	po := &pebble.Options{
		// Pinned: an upgrade of the library does not change the files so that
		// the version before this one could not open them.
		FormatMajorVersion: pebble.FormatTableFormatV6,
		FS:                 j.o.fs,
		ReadOnly:           j.o.ReadOnly,
		Logger:             storeLogger{j},
		Cache:              j.cache,
		// By default the store ends the process at the first damaged block that it
		// reads. Here the read fails, and with it one event.
		EventListener: &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
			j.o.Log.Error("journal has a damaged block; 'persat-bridge journal repair' saves the rest", zap.String("file", i.Path), zap.Error(i.Details))
		}},
		MemTableSize:                j.memTableSize(),
		MemTableStopWritesThreshold: 4,
		// Tables of small keys may pile up before they are merged: a merge costs more
		// than it gains where hardly anything is looked up (see known).
		L0CompactionThreshold: 64,
		L0StopWritesThreshold: 256,
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		po.Levels[i].Compression = func() *block.CompressionProfile { return sstable.MinLZCompression }
	}
	// Tables have either bodies or keys in them. Bodies come in the order of their keys,
	// so tables of them are never in each other's way: they are moved down the levels
	// as they are, while those of the small keys, which would else lie across all of
	// them, are merged time and again.
	po.Experimental.SpanPolicyFunc = func(key []byte) (pebble.SpanPolicy, []byte, error) {
		switch {
		case len(key) == 0 || key[0] < prefixBody:
			return pebble.SpanPolicy{}, []byte{prefixBody}, nil
		case key[0] == prefixBody:
			return pebble.SpanPolicy{}, []byte{prefixBody + 1}, nil
		}
		return pebble.SpanPolicy{}, nil, nil
	}
	return po
}

// memTableSize is 16 MiB where there is room. The usual 64 MiB doubles memory and
// the time of a restart and gains nothing here: records are written once and read
// back soon. The store keeps about five logs of this size for use again, so where
// there is little room it has to be less.
func (j *Journal) memTableSize() uint64 {
	room := uint64(j.o.MaxBytes)
	if disk, err := j.o.fs.GetDiskUsage(j.o.Dir); err == nil {
		room = min(room, disk.TotalBytes)
	}
	return min(max(room/64, 512<<10), 16<<20)
}

func openError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES) && lockHeld(dir):
		return fmt.Errorf("open journal %s: %w: stop the other persat-bridge first, or set journal.dir", dir, ErrLocked)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("open journal %s: %w: it is damaged; 'persat-bridge journal repair' saves what can be read", dir, err)
	}
	return fmt.Errorf("open journal %s: %w", dir, err)
}

// lockHeld tells a lock that another process holds from a directory that may
// not be written: both can be EACCES.
func lockHeld(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// load reads the meta keys and finds the next sequence.
func (j *Journal) load() error {
	format, err := j.metaNumber("format")
	if err != nil {
		return err
	}
	if format > formatVersion {
		return fmt.Errorf("format %d, this program knows %d: use the program that wrote it or a newer one", format, formatVersion)
	}
	if format == 0 && !j.o.ReadOnly {
		if err := j.db.Set(metaKey("format"), binary.BigEndian.AppendUint64(nil, formatVersion), pebble.Sync); err != nil {
			return err
		}
		// The store began its first log before it had the format asked for. In
		// that log a damaged byte looks like the torn end of a crash, and all
		// behind it would be dropped without a word; measured. From the next log
		// on, chunks say up to where the log is known to be synced, and damage
		// before that is an error.
		if err := j.db.Flush(); err != nil {
			return err
		}
	}
	next, err := j.metaNumber("next")
	if err != nil {
		return err
	}
	next = max(next, 1)
	// "m next" is written when records are dropped; else the last of each
	// state knows better.
	for _, prefix := range []byte{prefixPending, prefixPublished, prefixDead} {
		last, ok, err := j.lastSeq(prefix)
		if err != nil {
			return err
		}
		if ok {
			next = max(next, last+1)
		}
	}
	j.next = next
	j.durable.Store(next)
	return nil
}

func (j *Journal) metaNumber(name string) (uint64, error) {
	v, err := j.get(metaKey(name))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("read %s: %w", name, errValue)
	}
	return binary.BigEndian.Uint64(v), nil
}

func (j *Journal) lastSeq(prefix byte) (uint64, bool, error) {
	it, err := j.iter(prefix, 0)
	if err != nil {
		return 0, false, err
	}
	defer it.Close()
	if !it.Last() {
		return 0, false, it.Error()
	}
	seq, err := seqOf(it.Key())
	return seq, err == nil, err
}

// iter reads the records under prefix from sequence from on.
func (j *Journal) iter(prefix byte, from uint64) (*iterator, error) {
	return j.newIter(&pebble.IterOptions{LowerBound: seqKey(prefix, from), UpperBound: []byte{prefix + 1}})
}

// Failed is closed when a write or a sync has failed. Err then says why.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Damaged says whether an error is that of a block that the disk has not kept as it was
// written. Only what lies in it cannot be read; see Repair.
func Damaged(err error) bool { return pebble.IsCorruptionError(err) }

// Err is the failure, or nil.
func (j *Journal) Err() error {
	select {
	case <-j.failed:
		return j.failure
	default:
		return nil
	}
}

// Stalled is how long the disk has not answered an append that is under way.
func (j *Journal) Stalled() time.Duration {
	stalled := time.Duration(0)
	for _, begin := range []int64{j.committing.Load(), j.syncing.Load()} {
		if begin != 0 {
			stalled = max(stalled, time.Since(time.Unix(0, begin)))
		}
	}
	return stalled
}

// GiveUp fails the journal: its disk has not answered for too long.
func (j *Journal) GiveUp(err error) { j.fail(err) }

func (j *Journal) fail(err error) {
	j.failOnce.Do(func() {
		j.failure = fmt.Errorf("%w: %w", ErrFailed, err)
		close(j.failed)
	})
}

// Next is the sequence after the last durable record: one more than there ever were.
func (j *Journal) Next() uint64 { return j.durable.Load() }

// DiskBytes is what the journal's files take; 0 once it is closed.
func (j *Journal) DiskBytes() uint64 {
	if j.enter() != nil {
		return 0
	}
	defer j.leave()
	return j.db.Metrics().DiskSpaceUsage()
}

// Dir is where the journal lies.
func (j *Journal) Dir() string { return j.o.Dir }

// Disk is what the disk under the journal has free for this process, and in all, in
// bytes; an error when it does not say.
func (j *Journal) Disk() (free, total int64, err error) {
	usage, err := j.o.fs.GetDiskUsage(j.o.Dir)
	return int64(usage.AvailBytes), int64(usage.TotalBytes), err
}

// enter keeps the store open until leave; it is ErrClosed when it is too late.
func (j *Journal) enter() error {
	j.users.Add(1)
	if j.closed.Load() {
		j.users.Add(-1)
		return ErrClosed
	}
	return nil
}

func (j *Journal) leave() { j.users.Add(-1) }

// iterator keeps the store open until it is closed.
type iterator struct {
	*pebble.Iterator
	j *Journal
}

func (it *iterator) Close() error {
	defer it.j.leave()
	return it.Iterator.Close()
}

func (j *Journal) newIter(o *pebble.IterOptions) (*iterator, error) {
	if err := j.enter(); err != nil {
		return nil, err
	}
	it, err := j.db.NewIter(o)
	if err != nil {
		j.leave()
		return nil, err
	}
	return &iterator{it, j}, nil
}

// Sync makes the marks durable that were written since the last sync, and sees to it
// that damage to the last append is found for what it is.
func (j *Journal) Sync() error {
	if err := j.Err(); err != nil {
		return err
	}
	marks := j.marks.Load()
	times := 1
	switch {
	case j.unproven.Swap(false):
		// The store answers before it has noted up to where the log is synced: only the
		// second chunk after an append surely says it.
		times = 2
	case j.syncedMarks.Load() >= marks:
		return nil
	}
	for range times {
		if err := j.write(func() error { return j.db.LogData(nil, pebble.Sync) }); err != nil {
			return err
		}
	}
	j.synced(marks)
	return nil
}

// synced notes that so many marks are on disk.
func (j *Journal) synced(marks uint64) {
	for {
		before := j.syncedMarks.Load()
		if before >= marks || j.syncedMarks.CompareAndSwap(before, marks) {
			return
		}
	}
}

// Close ends the journal: appends that are waiting are finished, marks synced. A
// failed journal is left as it is; opening it anew is what repairs it.
func (j *Journal) Close() error {
	var err error
	j.closing.Do(func() {
		close(j.stop)
		select {
		case <-j.stopped:
		case <-j.failed:
		}
		if err = j.Err(); err != nil {
			return
		}
		j.background.Wait()
		if !j.o.ReadOnly {
			err = j.Sync()
		}
		if failed := j.Err(); failed != nil { // what has failed in the store does not come back from it
			err = failed
			return
		}
		err = errors.Join(err, j.closeStore())
	})
	return err
}

func (j *Journal) closeStore() error {
	j.closed.Store(true)
	for j.users.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	defer j.cache.Unref()
	return j.db.Close()
}

// write runs a change of the store so that a failure of the disk, which ends in
// storeLogger.Fatalf and stays there, is returned to the caller.
func (j *Journal) write(f func() error) error {
	if err := j.enter(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer j.leave()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-j.failed:
		return j.failure
	}
}

// storeLogger is how the store speaks. It has no error to return from a failed
// commit: it calls Fatalf and expects the process to end. Here that makes the
// journal failed, and the goroutine stays where it is, because what follows in
// it relies on the write having happened.
type storeLogger struct{ j *Journal }

func (l storeLogger) Infof(string, ...any) {}

// Errorf logs one of many: on a full disk the store tries the same thing again
// and again.
func (l storeLogger) Errorf(format string, args ...any) {
	now := time.Now().Unix()
	if last := l.j.complained.Load(); now-last < 60 || !l.j.complained.CompareAndSwap(last, now) {
		return
	}
	l.j.o.Log.Warn("journal store", zap.String("message", fmt.Sprintf(format, args...)))
}

func (l storeLogger) Fatalf(format string, args ...any) {
	l.j.fail(fmt.Errorf(format, args...))
	select {}
}
