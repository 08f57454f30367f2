package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// image is an ext4 file system in a file. The file has what a disk has: what the kernel has
// written back, and not what waits in its memory.
type image struct {
	t         *testing.T
	file, dir string
}

// loop is the name of the loop device.
func (i *image) loop() string {
	i.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		i.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == i.dir {
			return filepath.Base(f[0])
		}
	}
	i.t.Fatalf("%s is not mounted", i.dir)
	return ""
}

// copied is what the disk has at one moment. A copy during which the kernel wrote is of no
// moment, and is made again.
func (i *image) copied() (file string) {
	i.t.Helper()
	file = i.file + ".cut"
	statistics := filepath.Join("/sys/block", i.loop(), "stat")
	writes := func() string {
		text, err := os.ReadFile(statistics)
		f := strings.Fields(string(text))
		if err != nil || len(f) < 9 {
			i.t.Fatal(statistics, err)
		}
		return strings.Join([]string{f[4], f[6], f[8]}, " ") // writes, sectors written, requests in flight
	}
	testwait.Eventually(i.t, "a copy between two writes of the kernel", func() bool {
		before := writes()
		if out, err := exec.Command("cp", i.file, file).CombinedOutput(); err != nil {
			i.t.Fatalf("copy the image: %v %s", err, out)
		}
		return writes() == before && strings.HasSuffix(before, " 0")
	})
	return file
}

// put makes the disk have what such a copy has. Nobody may use it.
func (i *image) put(file string) {
	i.t.Helper()
	testwait.Eventually(i.t, "nobody uses the image", func() bool { return syscall.Unmount(i.dir, 0) == nil })
	if err := os.Rename(file, i.file); err != nil {
		i.t.Fatal(err)
	}
	out, err := exec.Command("e2fsck", "-p", i.file).CombinedOutput()
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) { // 1: corrected
		i.t.Fatalf("e2fsck: %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", i.file, i.dir).CombinedOutput(); err != nil {
		i.t.Fatalf("mount the image again: %v %s", err, out)
	}
}

// sync writes everything back, as happens at any time for other reasons.
func (i *image) sync() {
	i.t.Helper()
	if out, err := exec.Command("sync", "-f", i.dir).CombinedOutput(); err != nil {
		i.t.Fatalf("sync: %v %s", err, out)
	}
}

// cut is one power cut of the NATS host, under load.
type cut struct {
	// after is how long the server has run, and synced when everything was written back; 0
	// for never.
	after, synced time.Duration
	// stopped says that the server was stopped in good order right before: its index is on
	// disk, and its newest block need not be.
	stopped bool
}

// cuts are random moments. In full the server has also written its index a moment ago,
// which it does every two minutes.
func cuts(random *rand.Rand, n int) (all []cut) {
	for i := range n {
		c := cut{stopped: i%3 == 1, after: time.Duration(500+random.IntN(3500)) * time.Millisecond}
		if *long {
			c.after *= 2
		}
		switch {
		case i%10 == 9:
			c.after = 2*time.Minute + time.Duration(random.IntN(4000))*time.Millisecond
		case i%2 == 0:
			c.synced = time.Duration(random.Int64N(int64(c.after)))
		}
		all = append(all, c)
	}
	return all
}

// TestOraclePowerCuts cuts the power of a NATS host with JetStream's default sync_interval:
// it has acknowledged what its disk does not have. In the end every event that was answered
// 2xx is in the stream.
func TestOraclePowerCuts(t *testing.T) {
	series, each := 1, 2
	if *long {
		series, each = 5, 10
	}
	for n := range series {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			cutPower(t, cuts(newRandom(t), each))
		})
	}
}

func cutPower(t *testing.T, all []cut) {
	n := natstest.NewChild(t, "")
	disk := &image{t: t, dir: t.TempDir()}
	disk.file = ext4(t, disk.dir, 512<<20)
	n.Store = filepath.Join(disk.dir, "store")
	n.Configure("")
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
	n.Run()
	b.Start()
	o := newOracle(t, b.url)
	o.anyOrder = true // a block in the middle may be lost, and stands behind newer events then
	var longest time.Duration
	before := 0.0
	for i, c := range all {
		ctx, stop := context.WithCancel(context.Background())
		var sending sync.WaitGroup
		sending.Go(func() { o.post(ctx, 300) })
		if c.synced > 0 {
			time.Sleep(c.synced)
			disk.sync()
		}
		time.Sleep(c.after - c.synced)
		if c.stopped {
			n.Stop()
		}
		file := disk.copied()
		n.Kill()
		disk.put(file)
		n.Run()
		restarted := time.Now()
		stop()
		sending.Wait()
		testwait.Eventually(t, "every acknowledged event is in the stream", func() bool {
			b.drained()
			return o.missing(readStream(t, n.URL)) == 0
		})
		took := time.Since(restarted)
		longest = max(longest, took)
		healed := b.metric("persat_bridge_healed_events_total")
		t.Logf("cut %d after %v (all written back after %v, stopped %t): %d events, %v published again, complete after %v", i+1, c.after, c.synced, c.stopped, len(o.promised), healed-before, took.Round(time.Millisecond))
		before = healed
	}
	o.judge(readStream(t, n.URL))
	t.Logf("%d cuts, %v events published again; complete %v after a restart at the latest", len(all), before, longest.Round(time.Millisecond))
	if notices := b.status().Notices; len(notices) > 0 {
		t.Errorf("notices: %q", notices)
	}
}

// missing counts the promised events that the stream does not have.
func (o *oracle) missing(messages []stored) (n int) {
	there := make(map[string]bool)
	for _, m := range messages {
		there[m.id] = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.promised {
		if !there["persat:"+p.id] {
			n++
		}
	}
	return n
}

// TestOraclePowerCutsDuringBatches cuts the power of a NATS host that syncs each message,
// while a backlog goes to it in atomic batches. A batch that was acknowledged is on its disk
// as a whole, and one that was not is there as a whole, in part, or not at all.
func TestOraclePowerCutsDuringBatches(t *testing.T) {
	cuts := 3
	if *long {
		cuts = 20
	}
	random := newRandom(t)
	n := natstest.NewChild(t, syncAlways)
	disk := &image{t: t, dir: t.TempDir()}
	disk.file = ext4(t, disk.dir, 512<<20)
	n.Store = filepath.Join(disk.dir, "store")
	n.Configure(syncAlways)
	b := newBridgeProcess(t, "NATS_URL="+n.URL, "PERSAT_BRIDGE_PUBLISH_BACKOFF_MAX=1s")
	b.Start()
	o := newOracle(t, b.url)
	o.padding = 200
	for range cuts {
		o.postBacklog(6_000, 64)
		n.Run()
		b.moreBatches(1 + random.IntN(4))
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		file := disk.copied()
		n.Kill()
		disk.put(file)
	}
	n.Run()
	b.judgeBatches(t, o, n.URL)
	t.Logf("%v batches, %v events published again", b.batchesSent(), b.metric("persat_bridge_healed_events_total"))
}
