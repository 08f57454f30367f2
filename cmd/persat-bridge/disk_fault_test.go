package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// fillDisk writes a file that takes all the room there is on a disk, to the last byte.
func fillDisk(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := bytes.Repeat([]byte{1}, 1<<20); len(block) > 0; {
		if n, err := f.Write(block); err != nil && n == 0 {
			block = block[:len(block)/2]
		}
	}
}

// unready says that the bridge answers, and that it takes no events.
func (b *bridgeProcess) unready() bool {
	response, err := http.Get(b.admin + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusServiceUnavailable
}

// TestDiskFullToTheLastByte lets something else fill the journal's disk. The bridge
// answers 503, ends when it is told to, and does not wait for room in a start that nobody
// hears of: it answers 503 there, too, or ends with words. Before, a stop took 11 minutes.
func TestDiskFullToTheLastByte(t *testing.T) {
	for name, mount := range map[string]func(t *testing.T, dir string){
		"tmpfs": func(t *testing.T, dir string) { tmpfs(t, dir, "size=200m") },
		"ext4":  func(t *testing.T, dir string) { ext4(t, dir, 200<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			n := natstest.NewChild(t, "")
			b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
			disk := filepath.Join(b.dir, "disk")
			mount(t, disk)
			b.Env = append(b.Env, "PERSAT_BRIDGE_JOURNAL_DIR="+filepath.Join(disk, "journal"))
			b.Start()
			o := newOracle(t, b.url)
			o.padding = 20_000
			o.patience = time.Second
			post := func() {
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				o.post(ctx, 100)
			}
			post()
			other := filepath.Join(disk, "other")
			fillDisk(t, other)
			testwait.Eventually(t, "unready, for want of room", b.unready)
			post()
			if o.refusals(http.StatusServiceUnavailable) == 0 {
				t.Error("no 503 on a full disk")
			}
			b.Stop() // which waits a minute at most; nothing is lost whatever the code

			b.Launch()
			testwait.Eventually(t, "an end, or an answer", func() bool { return !b.Running() || b.unready() })
			if b.Running() {
				b.Stop()
			} else if code := b.Wait(); code != exitFailed || !strings.Contains(b.Output.String(), "make room on the disk") {
				t.Errorf("start on a full disk: exit code %d, want 1 and that room is to be made", code)
			}
			if err := os.Remove(other); err != nil {
				t.Fatal(err)
			}
			n.Run()
			b.Start()
			b.drained()
			o.judge(readStream(t, n.URL))
		})
	}
}

// TestNextLogCannotBeMade takes away what the journal needs for its next file. Before, the
// process died of "sync: unlock of unlocked mutex" with exit code 2, which is that of a bad
// configuration.
func TestNextLogCannotBeMade(t *testing.T) {
	for name, test := range map[string]struct {
		// take takes it away from a bridge with its journal on disk, and give back gives.
		take func(t *testing.T, b *bridgeProcess, disk string) (giveBack func())
		says string
		// lives says that the process may live: it can accept no connection any more, so
		// that nothing is written either, and it does not come to a next log.
		lives bool
	}{
		"inodes": {func(t *testing.T, _ *bridgeProcess, disk string) func() {
			var files []string
			for {
				file := filepath.Join(disk, fmt.Sprintf("file%d", len(files)))
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					break
				}
				files = append(files, file)
			}
			return func() {
				for _, file := range files {
					if err := os.Remove(file); err != nil {
						t.Error(err)
					}
				}
			}
		}, "inodes are missing", false},
		"descriptors": {func(t *testing.T, b *bridgeProcess, _ string) func() {
			// As if idle connections had taken all that there are.
			limit := syscall.Rlimit{Cur: 5, Max: 5}
			if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(b.Pid()), syscall.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0); errno != 0 {
				t.Fatal(errno)
			}
			return func() {} // the next process has its own
		}, "LimitNOFILE", true},
	} {
		t.Run(name, func(t *testing.T) {
			n := natstest.NewChild(t, "")
			b := newBridgeProcess(t, "NATS_URL="+n.URL)
			disk := filepath.Join(b.dir, "disk")
			tmpfs(t, disk, "size=600m,nr_inodes=60")
			b.Env = append(b.Env, "PERSAT_BRIDGE_JOURNAL_DIR="+filepath.Join(disk, "journal"))
			b.Start()
			o := newOracle(t, b.url)
			o.padding = 700_000
			o.patience = time.Second
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var sending sync.WaitGroup
			sending.Go(func() { o.post(ctx, 100) })
			testwait.Eventually(t, "an accepted event", func() bool { return b.metric("persat_bridge_accepted_total") > 0 })
			giveBack := test.take(t, b, disk)
			if test.lives {
				testwait.Eventually(t, "a log line with what to do", func() bool {
					return strings.Contains(b.Output.String(), test.says)
				})
				b.Terminate() // it ends when it is told to, if it has not by itself
			} else {
				testwait.Eventually(t, "its end, or a stall", func() bool {
					return !b.Running() || strings.Contains(b.Output.String(), "the journal's disk does not answer")
				})
				if b.Running() {
					// The fault came behind a new log: the store cannot make a table of the log
					// before, and goes on when it can.
					giveBack()
					testwait.Eventually(t, "the disk answers again", func() bool { return strings.Contains(b.Output.String(), "the journal's disk answers again") })
					stop()
					sending.Wait()
					n.Run()
					b.drained()
					o.judge(readStream(t, n.URL))
					return
				}
			}
			code := b.Wait()
			stop()
			sending.Wait()
			said := b.Output.String()
			switch failed := strings.Contains(said, "journal failed"); {
			case failed && code == exitFailed:
			case test.lives && !failed && code == exitDone: // no file was wanted any more
			default:
				t.Errorf("exit code %d, with a journal that failed: %v", code, failed)
			}
			if !strings.Contains(said, test.says) || strings.Contains(said, "goroutine ") {
				t.Errorf("the log does not say %q, or has a trace of a crash:\n%s", test.says, tailOf(said, 4000))
			}
			giveBack()
			n.Run()
			b.Start()
			b.drained()
			o.judge(readStream(t, n.URL))
		})
	}
}

// TestJournalTakenAway removes or moves the journal's directory while NATS is away, so
// that the events are there alone. Before, the bridge answered 202 for ever and all of it
// was lost at the stop.
func TestJournalTakenAway(t *testing.T) {
	for name, test := range map[string]struct {
		take func(t *testing.T, dir string)
		kept bool // what was accepted before can be put back
	}{
		"removed": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, false},
		"replaced": {func(t *testing.T, dir string) {
			if err := os.Rename(dir, dir+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := natstest.NewChild(t, "")
			b := newBridgeProcess(t, "NATS_URL="+n.URL)
			dir := filepath.Join(b.dir, "journal")
			b.Start()
			post := func(i int) (int, error) {
				s := signed(t, testSecret, fmt.Sprintf("msg_%d", i), time.Now(), `{"eventType":"workorder.created","payload":{"_id":"1"}}`)
				request, err := http.NewRequest(http.MethodPost, b.url, bytes.NewReader(s.body))
				if err != nil {
					t.Fatal(err)
				}
				request.Header = http.Header{"Svix-Id": {s.id}, "Svix-Timestamp": {s.timestamp}, "Svix-Signature": {s.signature}}
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					return 0, err
				}
				return response.StatusCode, response.Body.Close()
			}
			for i := range 10 {
				if code, err := post(i); code != http.StatusAccepted {
					t.Fatalf("before: got %d %v, want 202", code, err)
				}
			}
			test.take(t, dir)
			for i := 0; b.Running(); i++ { // repeats are in it, too
				if code, err := post(i); err == nil && code != http.StatusServiceUnavailable {
					t.Fatalf("post %d after the journal was taken away: got %d, want 503", i, code)
				}
			}
			if code := b.Wait(); code != exitFailed || !strings.Contains(b.Output.String(), "put back what was there") {
				t.Errorf("exit code %d, want 1 and what to do", code)
			}
			if !test.kept {
				return
			}
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(dir+".old", dir); err != nil {
				t.Fatal(err)
			}
			n.Run()
			b.Start()
			b.drained()
			if got := len(readStream(t, n.URL)); got != 10 {
				t.Errorf("got %d messages in the stream, want the 10 that were accepted", got)
			}
		})
	}
}

// TestEmbeddedDiskFull fills the disk of the embedded server, which freezes a stream that
// could not be written until the server is started again, and had set itself a limit at
// its start that nothing raised. The bridge takes events meanwhile, and they go by
// themselves when there is room.
func TestEmbeddedDiskFull(t *testing.T) {
	for name, test := range map[string]struct {
		// size is the disk's at first. What is full for another reason than the stream has
		// room for all events in the end, however many come on a slow machine.
		size   string
		before func(t *testing.T, disk string) // the server starts
		while  func(t *testing.T, disk string) // events come in
		after  func(t *testing.T, disk string) // the disk is full
	}{
		"full at the start": {
			size: "300m",
			before: func(t *testing.T, disk string) {
				fillDisk(t, filepath.Join(disk, "other"))
				if err := os.Truncate(filepath.Join(disk, "other"), 298<<20); err != nil {
					t.Fatal(err)
				}
			},
			after: func(t *testing.T, disk string) { _ = os.Remove(filepath.Join(disk, "other")) },
		},
		"filled by the stream, and made larger": {
			size: "60m",
			after: func(t *testing.T, disk string) {
				if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=300m"); err != nil {
					t.Error(err)
				}
			},
		},
		"filled by something else": {
			size:  "300m",
			while: func(t *testing.T, disk string) { fillDisk(t, filepath.Join(disk, "other")) },
			after: func(t *testing.T, disk string) { _ = os.Remove(filepath.Join(disk, "other")) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBridgeProcess(t, "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
			disk := filepath.Join(b.dir, "disk")
			tmpfs(t, disk, "size="+test.size)
			b.Env = append(b.Env, "PERSAT_BRIDGE_NATS_EMBEDDED_STORE_DIR="+filepath.Join(disk, "nats"))
			if test.before != nil {
				test.before(t, disk)
			}
			b.Start()
			o := newOracle(t, b.url)
			o.padding = 300_000
			ctx, stop := context.WithCancel(t.Context())
			var sending sync.WaitGroup
			sending.Go(func() { o.post(ctx, 40) })
			testwait.Eventually(t, "an accepted event", func() bool { return b.metric("persat_bridge_accepted_total") > 0 })
			if test.while != nil {
				test.while(t, disk)
			}
			testwait.Eventually(t, "events that wait", func() bool { return b.metric("persat_bridge_pending_events") > 30 })
			stop()
			sending.Wait()
			test.after(t, disk)
			b.drained()
			o.judge(readStream(t, b.nats))
			if got := o.refusals(http.StatusServiceUnavailable); got != 0 {
				t.Errorf("%d events were refused, want none: the journal has room", got)
			}
		})
	}
}
