package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// fillDead puts n dead letters into a journal.
func fillDead(t *testing.T, dir string, n int) {
	j, err := journal.Open(journal.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bridge.New(bridge.Options{Journal: j, Publisher: nowhere{}, Sources: []string{"persat"}})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, 256)
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if _, err := b.Accept(context.Background(), bridge.Delivery{Source: "persat", ID: fmt.Sprint("d", i), Type: "workorder.created", Body: []byte("{}"), Unusable: "test"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// An operator looks at or changes dead letters while the bridge is told to stop.
func TestStopWhileAnOperatorLooks(t *testing.T) {
	t.Parallel()
	dead := filepath.Join(t.TempDir(), "journal")
	fillDead(t, dead, 20_000)
	for _, what := range []string{"GET /api/dead?limit=1", "GET /api/events?q=nothing", "POST /api/dead/discard?all=true"} {
		t.Run(strings.ReplaceAll(what, "/", "_"), func(t *testing.T) {
			n := natstest.StartChild(t, "")
			b := newBridgeProcess(t, "NATS_URL="+n.URL)
			if err := os.CopyFS(filepath.Join(b.dir, "journal"), os.DirFS(dead)); err != nil {
				t.Fatal(err)
			}
			b.Start()
			method, path, _ := strings.Cut(what, " ")
			stop := make(chan struct{})
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						request, _ := http.NewRequest(method, b.admin+path, nil)
						response, err := http.DefaultClient.Do(request)
						if err != nil {
							return
						}
						_, _ = io.Copy(io.Discard, response.Body)
						response.Body.Close()
					}
				})
			}
			time.Sleep(30 * time.Millisecond)
			b.Signal(syscall.SIGTERM)
			code := b.Wait()
			close(stop)
			group.Wait()
			if code != exitDone {
				t.Errorf("exit code %d", code)
			}
			for line := range strings.Lines(b.Output.String()) {
				if strings.Contains(line, "panic") || strings.Contains(line, "leaked") || strings.Contains(line, "SIGSEGV") {
					t.Errorf("said: %s", line[:min(len(line), 600)])
				}
			}
		})
	}
}

// A reload while the bridge is still starting (a large journal, a large NATS store).
func TestSIGHUPWhileStarting(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t)
	fillDead(t, filepath.Join(b.dir, "journal"), 100)
	for i := range 3 {
		b.Launch()
		// It has its journal, and is not up for some time yet.
		testwait.Eventually(t, "the journal open", func() bool {
			for range 50 {
				if holdsFile(b.Pid(), filepath.Join(b.dir, "journal")) {
					return true
				}
				time.Sleep(time.Millisecond)
			}
			return false
		})
		b.Signal(syscall.SIGHUP)
		testwait.Eventually(t, "the reload", func() bool {
			select {
			case <-b.Exited():
				t.Fatal("SIGHUP while starting ended it")
			default:
			}
			return strings.Count(b.Output.String(), "SIGHUP: secrets read again") > i
		})
		b.Kill()
	}
}

// holdsFile says whether a process has a file of a directory open.
func holdsFile(pid int, dir string) bool {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(links, func(link string) bool {
		file, _ := os.Readlink(link)
		return strings.HasPrefix(file, dir)
	})
}

// SIGTERM while the way to NATS takes no more bytes (a black hole, with larger events).
func TestStopOverABlackHole(t *testing.T) {
	t.Parallel()
	n := natstest.StartChild(t, "")
	p := natstest.NewProxy(t, n.Host)
	b := newBridgeProcess(t, "NATS_URL="+p.URL, "PERSAT_BRIDGE_SERVER_SHUTDOWN_TIMEOUT=5s")
	b.Start()
	testwait.Eventually(t, "connected", func() bool { return b.metric("persat_bridge_nats_connected") == 1 })
	p.HoldUp.Store(true)
	p.HoldDown.Store(true)
	s := newSender(b.url, testSecret, 1)
	defer s.close()
	for i := range 200 {
		body := fmt.Appendf(nil, `{"eventType":"workorder.updated","payload":{"_id":"%d","n":%q}}`, i, strings.Repeat("x", 200_000))
		if a, err := s.post(context.Background(), newDeliveryID(), body); err != nil || !a.ok() {
			t.Fatal(a, err)
		}
	}
	time.Sleep(time.Second)
	client := &http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(b.admin + "/api/status")
	if err != nil {
		t.Errorf("the status is not told meanwhile: %v", err)
	} else {
		response.Body.Close()
	}
	begin := time.Now()
	code := b.Stop()
	if took := time.Since(begin); took > 20*time.Second || code != 0 { // with the default of 20 s a supervisor waits 40 s
		t.Errorf("SIGTERM took %v, code %d", took, code)
	}
	p.HoldUp.Store(false)
	p.HoldDown.Store(false)
}
