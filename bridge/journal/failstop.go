package journal

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// retryPause is the time between two attempts of the store to write a table. The store
// tries again at once by itself, for as long as the disk is full.
const retryPause = 5 * time.Second

// failStopFS is the disk as the store sees it. An open store has no error to return for
// its logs, its manifest and its directory: it panics, some of it with a lock unlocked
// twice, which no recover catches. So the first such error fails the journal, and never
// reaches the store: the goroutine that would take it stays here. A table is different:
// the store drops the torn one and writes it again, after a pause.
//
// While the store opens, its errors come back from there, but for those of tables: it
// would try for ever. Open returns the first of them.
type failStopFS struct {
	vfs.FS
	fail    func(error)     // fails the journal
	failed  <-chan struct{} // closed once it has failed
	closing <-chan struct{} // closed once it is being closed
	noRoom  func()          // told that a table could not be written
	torn    chan error      // the first error of a table while the store opens
	state   atomic.Int32
	refused atomic.Pointer[error] // why the last table could not be written; nil once one was
}

// What the store is doing, and so what may be done with an error.
const (
	diskOpening int32 = iota // errors come back from pebble.Open
	diskLoading              // the journal reads and writes its first keys: any error fails it
	diskOpen                 // tables are tried again
	diskClosing              // errors come back from pebble.DB.Close
)

func (d *failStopFS) Unwrap() vfs.FS { return d.FS }

func (d *failStopFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return d.guard(name, f, err)
}

func (d *failStopFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, category)
	return d.guard(name, f, err)
}

func (d *failStopFS) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	return d.guard(name, f, err)
}

func (d *failStopFS) guard(name string, f vfs.File, err error) (vfs.File, error) {
	table := strings.HasSuffix(name, ".sst")
	if err != nil {
		return nil, d.check(table, err)
	}
	if table {
		f = newTableWriter(f)
	}
	return &failStopFile{File: f, disk: d, table: table}, nil
}

// check returns err where the store can go on with it.
func (d *failStopFS) check(table bool, err error) error {
	state := d.state.Load()
	switch {
	case err == nil, state == diskClosing:
	case state == diskOpening && !table:
	case state == diskOpening:
		select {
		case d.torn <- err:
		default:
		}
		select {}
	case state == diskOpen && table:
		d.refused.Store(&err)
		d.noRoom()
		d.pause()
	default:
		d.fail(err)
		select {}
	}
	return err
}

func (d *failStopFS) pause() {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.closing:
	case <-d.failed:
	}
}

// failStopFile is a file, or a directory, that was opened to write or to sync it.
type failStopFile struct {
	vfs.File
	disk  *failStopFS
	table bool
}

func (f *failStopFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	return n, f.disk.check(f.table, err)
}

func (f *failStopFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	return info, f.disk.check(f.table, err)
}

func (f *failStopFile) SyncData() error { return f.disk.check(f.table, f.File.SyncData()) }
func (f *failStopFile) Close() error    { return f.disk.check(f.table, f.File.Close()) }

func (f *failStopFile) Sync() error {
	err := f.disk.check(f.table, f.File.Sync())
	if err == nil && f.table { // synced once, when it is whole
		f.disk.refused.Store(nil)
	}
	return err
}

func (f *failStopFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.disk.check(f.table, err)
}
