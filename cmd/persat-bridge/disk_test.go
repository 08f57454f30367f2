package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// need skips a test whose tool is missing, loudly; CI has to have it.
func need(t *testing.T, what string, have bool) {
	t.Helper()
	if have {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is needed in CI: see 'make tools'", what)
	}
	t.Skipf("SKIPPED: %s is needed for this test", what)
}

// tmpfs mounts a small disk on dir; options are like "size=64m".
func tmpfs(t *testing.T, dir, options string) {
	t.Helper()
	need(t, "root, to mount a small disk", os.Getuid() == 0)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		need(t, "the right to mount", false)
	}
	unmountLater(t, dir)
}

// ext4 mounts a small disk with that file system on dir, and returns the file that it is
// in. There is none in a container without loop devices.
func ext4(t *testing.T, dir string, size int64) (image string) {
	t.Helper()
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("SKIPPED: a loop device is needed for this test: %v", err)
	}
	mkfs, err := exec.LookPath("mkfs.ext4")
	need(t, "mkfs.ext4, to make a small disk", err == nil)
	need(t, "root, to mount a small disk", os.Getuid() == 0)
	image = filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v %s", err, out)
	}
	if err := exec.Command("mount", "-o", "loop", image, dir).Run(); err != nil {
		need(t, "the right to mount an image", false)
	}
	unmountLater(t, dir)
	return image
}

func unmountLater(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestOracleFullDisk fills the journal's disk while NATS is away: senders hear 503,
// nothing that was promised is lost, and it goes on by itself when there is room.
func TestOracleFullDisk(t *testing.T) {
	n := natstest.NewChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
	disk := filepath.Join(b.dir, "journal")
	tmpfs(t, disk, "size=64m")
	b.Start()
	o := newOracle(t, b.url)
	o.padding = 60_000
	o.patience = time.Second // events that the bridge refuses are let go
	unready := func() bool { return ready(context.Background(), b.admin+"/readyz") != nil }
	for filled := false; !filled; {
		ctx, stop := context.WithCancel(context.Background())
		var sending sync.WaitGroup
		sending.Go(func() { o.post(ctx, 2000) })
		testwait.Eventually(t, "unready, for want of room", unready)
		testwait.Eventually(t, "a 503", func() bool { return o.refusals(503) > 0 })
		stop()
		sending.Wait()
		// What is written once more for a while leaves room behind it: fill that, too.
		time.Sleep(3 * time.Second)
		filled = unready()
	}
	response, err := http.Post(b.url, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	// Authentication comes before the journal: a stranger learns nothing of it.
	if response.StatusCode != 400 {
		t.Errorf("unsigned: got %d, want 400", response.StatusCode)
	}
	s := signed(t, testSecret, "msg_full", time.Now(), `{"eventType":"workorder.created","payload":{"_id":"1"}}`)
	request, err := http.NewRequest(http.MethodPost, b.url, bytes.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Svix-Id": {s.id}, "Svix-Timestamp": {s.timestamp}, "Svix-Signature": {s.signature}}
	if response, err = http.DefaultClient.Do(request); err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
		t.Errorf("signed: got %d, Retry-After %q; want 503 with one", response.StatusCode, response.Header.Get("Retry-After"))
	}

	n.Run() // room comes from what is published
	testwait.Eventually(t, "it takes events again", func() bool {
		code, _ := s.post(t, b.url)
		return code == 202
	})
	b.drained()
	o.judge(readStream(t, n.URL))
	if got := b.Stop(); got != exitDone {
		t.Errorf("exit code %d, want 0: it recovers without a restart", got)
	}
}

// refusals is how many answers had this code.
func (o *oracle) refusals(code int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refused[code]
}

// TestOracleFailedSync makes the disk refuse one sync: no 2xx after it, exit 1,
// and a clean start.
func TestOracleFailedSync(t *testing.T) {
	strace, err := exec.LookPath("strace")
	need(t, "strace, to make a sync fail", err == nil)
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "NATS_URL="+n.URL)
	b.Start()
	o := newOracle(t, b.url)
	o.patience = 2 * time.Second
	ctx, stop := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { o.post(ctx, 500) })
	time.Sleep(300 * time.Millisecond)

	var said bytes.Buffer
	tracer := exec.Command(strace, "-f", "-qq", "-e", "trace=fdatasync,fsync,sync_file_range", "-e", "inject=fdatasync,fsync,sync_file_range:error=EIO:when=5+", "-o", "/dev/null", "-p", fmt.Sprint(b.Pid()))
	tracer.Stderr = &said
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	code := b.Wait()
	_ = tracer.Wait()
	if code != exitFailed {
		t.Errorf("exit code %d, want 1\n%s", code, said.String())
	}
	if !strings.Contains(b.Output.String(), "journal failed") {
		t.Error("the log does not say that the journal failed")
	}
	b.Start()
	time.Sleep(300 * time.Millisecond)
	stop()
	sending.Wait()
	b.drained()
	o.judge(readStream(t, n.URL))
	if got := b.Stop(); got != exitDone {
		t.Errorf("exit code %d, want 0", got)
	}
}
