package journal

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// blockCache is for what is read of tables, mostly their indexes and filters. The store
// takes the tables that it still has in memory, one or two, from the same cache.
const blockCache = 16 << 20

// openStore opens the store over a disk that is watched.
func (j *Journal) openStore() error {
	j.disk = &failStopFS{FS: j.o.FS, fail: j.fail, failed: j.failed, closing: j.stop, torn: make(chan error, 1)}
	j.merges = newCompactions(j.roomToMerge)
	j.disk.noRoom = j.merges.noRoom
	if vfs.Root(j.o.FS) == vfs.Default && !j.o.ReadOnly {
		j.presence = newPresence(j.o.Dir)
	}
	type result struct {
		db  *pebble.DB
		err error
	}
	opened := make(chan result, 1)
	go func() {
		j.tables = j.sizeTables()
		j.cache = pebble.NewCache(int64(2*j.tables.size) + blockCache)
		db, err := pebble.Open(j.o.Dir, j.pebbleOptions())
		opened <- result{db, err}
	}()
	select {
	case err := <-j.disk.torn: // the store stays where it is, with its lock: the process has to end
		j.merges.end()
		return err
	case r := <-opened:
		if r.err != nil {
			j.merges.end()
			j.cache.Unref()
			return r.err
		}
		j.db = r.db
	}
	j.disk.state.Store(diskLoading)
	if j.presence != nil {
		return j.presence.opened()
	}
	return nil
}

// letMerge ends the opening: from now on tables are merged, and tried again.
func (j *Journal) letMerge() {
	j.disk.state.Store(diskOpen)
	j.merges.measure()
}

// roomToMerge says whether the disk has room for a merge of all new tables, and for the
// one that is about to be written from memory.
func (j *Journal) roomToMerge() bool {
	usage, err := j.o.FS.GetDiskUsage(j.o.Dir)
	return j.disk.state.Load() == diskOpen && (err != nil || usage.AvailBytes >= uint64(j.tables.most+1)*j.tables.size)
}

func (j *Journal) pebbleOptions() *pebble.Options {
	po := &pebble.Options{
		// Pinned: an upgrade of the library does not change the files so that
		// the version before this one could not open them.
		FormatMajorVersion: pebble.FormatTableFormatV6,
		FS:                 j.disk,
		ReadOnly:           j.o.ReadOnly,
		Logger:             storeLogger{j},
		Cache:              j.cache,
		// By default the store ends the process at the first damaged block that it
		// reads. Here the read fails, and with it one event.
		EventListener: &pebble.EventListener{
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				j.o.Log.Error("journal has a damaged block; 'persat-bridge journal repair' saves the rest", zap.String("file", i.Path), zap.Error(i.Details))
			},
			WALCreated: func(i pebble.WALCreateInfo) {
				if i.Err == nil && j.presence != nil {
					j.presence.newLog(i.Path)
				}
			},
		},
		MemTableSize:                j.tables.size,
		MemTableStopWritesThreshold: 4,
		// The store merges what is half as many.
		L0CompactionThreshold: 2 * j.tables.most,
		L0StopWritesThreshold: 256,
	}
	// Blocks stay small, at the store's 4 KiB: with 16 KiB the journal's part of a drain costs
	// a quarter less, but a damaged block of keys takes a hundred records with it, not thirty.
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		po.Levels[i].Compression = func() *block.CompressionProfile { return sstable.MinLZCompression }
	}
	po.Experimental.CompactionScheduler = j.merges
	// The store would merge tables time and again while a backlog drains, only because they
	// have many tombstones. ReclaimPending does it once, behind the backlog.
	po.Experimental.TombstoneDenseCompactionThreshold = -1
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

// tables are how large the store makes its new tables, and how many may pile up before they
// are merged.
//
// A table is 16 MiB where there is room. The usual 64 MiB doubles memory and the time of a
// restart and gains nothing here: records are written once and read back soon. The store
// keeps about five logs of this size for use again, so where there is little room it has
// to be less.
//
// All that piled up go into one merge, as each has keys of all kinds, and a merge gives
// nothing back before it has written all of them again. So they are half of what the bridge
// keeps free of the disk at most: a journal that is full can always be merged, and so get
// rid of what was dropped. There are many where there is room: a merge costs more than it
// gains where hardly anything is looked up (see keyFilter).
type tables struct {
	size uint64
	most int
}

// sizeTables asks the disk once: the store keeps to the answer while it is open.
func (j *Journal) sizeTables() tables {
	room, most := uint64(j.o.MaxBytes), uint64(32)
	disk, err := j.o.FS.GetDiskUsage(j.o.Dir)
	if err == nil {
		room = min(room, disk.TotalBytes)
	}
	size := min(max(room/128, 512<<10), 16<<20)
	if err == nil {
		most = min(max(disk.TotalBytes/40/size, 2), most)
	}
	return tables{size, int(most)}
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

// newIterLike is newIter as of the moment of another iterator, if there is one.
func (j *Journal) newIterLike(other *iterator, o *pebble.IterOptions) (*iterator, error) {
	if other == nil {
		return j.newIter(o)
	}
	if err := j.enter(); err != nil {
		return nil, err
	}
	it, err := other.Clone(pebble.CloneOptions{IterOptions: o})
	if err != nil {
		j.leave()
		return nil, err
	}
	return &iterator{it, j}, nil
}

// iter reads the records under prefix from sequence from on.
func (j *Journal) iter(prefix byte, from uint64) (*iterator, error) {
	return j.newIter(&pebble.IterOptions{LowerBound: seqKey(prefix, from), UpperBound: []byte{prefix + 1}})
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

func (j *Journal) get(key []byte) ([]byte, error) {
	if err := j.enter(); err != nil {
		return nil, err
	}
	defer j.leave()
	b, closer, err := j.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, storeError{err}
	}
	defer closer.Close()
	return append(make([]byte, 0, len(b)), b...), nil // not nil when it is empty
}

func (j *Journal) closeStore() error {
	j.closed.Store(true)
	for j.users.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	j.disk.state.Store(diskClosing)
	defer j.cache.Unref()
	return j.db.Close()
}

// storeError is an error of the store without what is meant for its authors.
type storeError struct{ error }

func (e storeError) Error() string {
	text, _, _ := strings.Cut(e.error.Error(), "\n")
	return text
}

func (e storeError) Unwrap() error { return e.error }

// Damaged says whether an error is that of a block that the disk has not kept as it was
// written. Only what lies in it cannot be read; see Repair.
func Damaged(err error) bool { return pebble.IsCorruptionError(err) }

// storeLogger is how the store speaks. It has no error to return from some failures:
// it calls Fatalf and expects the process to end. Here that makes the
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
