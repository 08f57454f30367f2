package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// reader takes what is written while it reads, and nothing while it stands still.
type reader struct {
	still chan struct{} // nil: it reads
	gone  bool
	lines bytes.Buffer
}

func (r *reader) Write(b []byte) (int, error) {
	if r.still != nil {
		<-r.still
	}
	if r.gone {
		return 0, errors.New("broken pipe")
	}
	return r.lines.Write(b)
}

func dropNote(n int) []byte { return fmt.Appendf(nil, "dropped %d\n", n) }

func TestLogWriter(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(*reader, *logWriter)
		want  string
	}{
		{"its reader reads", func(_ *reader, l *logWriter) {
			fmt.Fprintln(l, "a")
			fmt.Fprintln(l, "b")
		}, "a\nb\n"},
		{"its reader stands still: what fits waits, the rest is counted where the gap is", func(r *reader, l *logWriter) {
			r.still = make(chan struct{})
			fmt.Fprintln(l, "taken")
			synctest.Wait() // the write is stuck
			for i := range 100 {
				fmt.Fprintf(l, "%07d\n", i)
			}
			close(r.still)
			synctest.Wait()
			fmt.Fprintln(l, "again")
		}, "taken\n0000000\n0000001\n0000002\n0000003\ndropped 96\nagain\n"},
		{"a short line does not slip in behind one that was dropped", func(r *reader, l *logWriter) {
			r.still = make(chan struct{})
			fmt.Fprintln(l, "taken")
			synctest.Wait()
			fmt.Fprintln(l, strings.Repeat("x", 40))
			fmt.Fprintln(l, "y")
			close(r.still)
			synctest.Wait()
			fmt.Fprintln(l, "again")
		}, "taken\ndropped 2\nagain\n"},
		{"its reader ends, and another one begins", func(r *reader, l *logWriter) {
			fmt.Fprintln(l, "a")
			synctest.Wait()
			r.gone = true
			for range 3 {
				fmt.Fprintln(l, "b")
				synctest.Wait()
			}
			r.gone = false
			fmt.Fprintln(l, "c")
		}, "a\ndropped 3\nc\n"},
		{"closed over a reader that stands still", func(r *reader, l *logWriter) {
			r.still = make(chan struct{})
			fmt.Fprintln(l, "a")
			synctest.Wait()
			fmt.Fprintln(l, "b")
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			fmt.Fprintln(l, "too late")
			close(r.still)
		}, "a\nb\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &reader{}
				l := newLogWriter(r, 32, dropNote)
				c.write(r, l)
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if got := r.lines.String(); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		})
	}
}

// What read the log ended (a journald that was stopped, a tee, a log shipper), and the
// next line killed the bridge with SIGPIPE.
func TestLogReaderEnds(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b := newBridgeProcess(t, "NATS_URL="+n.URL)
	b.Stderr = w
	b.Start()
	testwait.Eventually(t, "connected", func() bool { return b.metric("persat_bridge_nats_connected") == 1 })
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil { // ours; the child has its own
		t.Fatal(err)
	}
	n.Kill() // is a line in the log
	testwait.Eventually(t, "NATS away", func() bool { return b.metric("persat_bridge_nats_connected") == 0 })
	b.post("a", eventBody("workorder.created", "1", ""))
	n.Run()
	b.drained()
	if code := b.Stop(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

// What read the log stood still (a paused terminal, a log shipper waiting for its disk):
// the first line that did not fit into the pipe stopped publishing, and SIGTERM.
func TestLogReaderStandsStill(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 16<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the pipe is not full: %v", err)
	}
	b := newBridgeProcess(t, "PERSAT_BRIDGE_LOG_LEVEL=debug")
	b.Stderr = w
	b.Start()
	b.post("a", eventBody("workorder.created", "1", ""))
	b.drained()
	if code := b.Stop(); code != exitDone {
		t.Errorf("exit code %d", code)
	}

	// The error of a start that fails does not keep the process either.
	failing := newBridgeProcess(t, "PERSAT_BRIDGE_JOURNAL_DIR="+os.DevNull)
	failing.Stderr = w
	failing.Launch()
	if code := failing.Wait(); code != exitFailed {
		t.Errorf("exit code %d of a start that fails", code)
	}
}

// The last line of a process is in the log, with an error too.
func TestLogIsWrittenToItsEnd(t *testing.T) {
	var output bytes.Buffer
	environ := []string{"PERSAT_WEBHOOK_SECRET=" + testSecret, "PERSAT_BRIDGE_JOURNAL_DIR=" + os.DevNull}
	if code := run(context.Background(), []string{"serve"}, environ, strings.NewReader(""), io.Discard, &output); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if got := output.String(); !strings.Contains(got, "persat-bridge: journal.dir: ") {
		t.Errorf("got %q", got)
	}
}
