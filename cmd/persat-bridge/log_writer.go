package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// logBuffer bounds the lines that wait for their reader.
	logBuffer = 1 << 20
	// logFlush bounds the wait for the reader at the end of the process.
	logFlush = 2 * time.Second
)

// logWriter writes the log's lines without making anybody wait for their reader: a
// terminal that is paused, a pipe that is full, a log shipper that has ended. Lines
// that do not fit into its buffer, or cannot be written, are dropped and counted; the
// number is logged as soon as a write succeeds again. Write never fails and never
// blocks; Close waits for the reader, for logFlush at most.
type logWriter struct {
	w     io.Writer
	note  func(dropped int) []byte // the line about dropped ones
	limit int

	mu      sync.Mutex
	changed sync.Cond // on mu: there is something to write, or Close was called
	pending []byte
	dropped int // behind pending
	closed  bool

	done chan struct{}
}

// newLogWriter starts the goroutine that writes to w; Close ends it, unless w
// never takes what was written to it.
func newLogWriter(w io.Writer, limit int, note func(dropped int) []byte) *logWriter {
	l := &logWriter{w: w, note: note, limit: limit, done: make(chan struct{})}
	l.changed.L = &l.mu
	go l.run()
	return l
}

// Write takes one line or several, whole or not at all.
func (l *logWriter) Write(lines []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
	case l.dropped > 0 || len(l.pending)+len(lines) > l.limit:
		// Once one is dropped the next ones are, so that the number stands in the
		// log where the gap is.
		l.dropped += countLines(lines)
	default:
		l.pending = append(l.pending, lines...)
	}
	l.changed.Signal()
	return len(lines), nil
}

// Sync serves zapcore.WriteSyncer. The lines are with the kernel or lost.
func (l *logWriter) Sync() error { return nil }

// Close writes what is pending and returns, or gives up after logFlush.
func (l *logWriter) Close() error {
	l.mu.Lock()
	l.closed = true
	l.changed.Signal()
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(logFlush):
	}
	return nil
}

func (l *logWriter) run() {
	defer close(l.done)
	lost := 0 // lines, since the last that was written
	for {
		lines, dropped, more := l.take()
		if n := countLines(lines); n > 0 {
			if lost > 0 {
				lines = append(l.note(lost), lines...)
			}
			if _, err := l.w.Write(lines); err == nil {
				lost = 0
			} else {
				lost += n
			}
		}
		if dropped > 0 {
			lost += dropped
			if _, err := l.w.Write(l.note(lost)); err == nil {
				lost = 0
			}
		}
		if !more {
			return
		}
	}
}

// take waits for lines, and says whether there can be more.
func (l *logWriter) take() (lines []byte, dropped int, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.pending) == 0 && l.dropped == 0 && !l.closed {
		l.changed.Wait()
	}
	lines, dropped = l.pending, l.dropped
	l.pending, l.dropped = nil, 0
	return lines, dropped, !l.closed
}

func countLines(lines []byte) int { return bytes.Count(lines, []byte{'\n'}) }
