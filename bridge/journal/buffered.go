package journal

import (
	"bufio"
	"errors"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBuffer is how much of a table is read or written at once. The store does both block
// by block, and a system call costs more than the 4 KiB of a block do.
const tableBuffer = 64 << 10

// tableReader is a table that is read from one end to the other: while a backlog drains, and
// to be merged. The store opens it anew for each who does that, so that one goroutine has it.
type tableReader struct {
	vfs.File
	buffer *[tableBuffer]byte
	begin  int64
	length int // of what the buffer has of the file, from begin on
}

var tableBuffers = sync.Pool{New: func() any { return new([tableBuffer]byte) }}

func (d *failStopFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	if err != nil || !slices.Contains(opts, vfs.SequentialReadsOption) {
		return f, err
	}
	return &tableReader{File: f, buffer: tableBuffers.Get().(*[tableBuffer]byte)}, nil
}

func (r *tableReader) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > tableBuffer {
		return r.File.ReadAt(p, off)
	}
	if at := off - r.begin; at >= 0 && at+int64(len(p)) <= int64(r.length) {
		return copy(p, r.buffer[at:]), nil
	}
	n, err := r.File.ReadAt(r.buffer[:], off)
	r.begin, r.length = off, n
	if n >= len(p) {
		err = nil
	}
	return copy(p, r.buffer[:n]), err
}

func (r *tableReader) Close() error {
	tableBuffers.Put(r.buffer)
	r.buffer, r.length = nil, 0
	return r.File.Close()
}

// tableWriter is a table that is being written. As of a plain file, a failed write is told
// once, and not again by the sync and the close that follow: the store would pause for each.
type tableWriter struct {
	vfs.File
	buffer *bufio.Writer
}

func newTableWriter(f vfs.File) *tableWriter {
	return &tableWriter{f, bufio.NewWriterSize(f, tableBuffer)}
}

func (w *tableWriter) Write(b []byte) (int, error) {
	n, err := w.buffer.Write(b)
	return n, w.told(err)
}

func (w *tableWriter) flush() error { return w.told(w.buffer.Flush()) }

func (w *tableWriter) told(err error) error {
	if err != nil {
		w.buffer.Reset(w.File)
	}
	return err
}

func (w *tableWriter) Stat() (vfs.FileInfo, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	return w.File.Stat()
}

func (w *tableWriter) Sync() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.File.Sync()
}

func (w *tableWriter) SyncData() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.File.SyncData()
}

func (w *tableWriter) SyncTo(length int64) (bool, error) {
	if err := w.flush(); err != nil {
		return false, err
	}
	return w.File.SyncTo(length)
}

func (w *tableWriter) Close() error { return errors.Join(w.flush(), w.File.Close()) }
