package main

import (
	"net"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

func TestConnectionLimits(t *testing.T) {
	for files, want := range map[uint64][2]int{
		0:       {4096, 256},
		128:     {64, 16},
		1024:    {512, 128},
		1048576: {4096, 256},
		1 << 63: {4096, 256},
	} {
		if public, operators := connectionLimits(files); public != want[0] || operators != want[1] {
			t.Errorf("%d files: got %d and %d connections, want %v", files, public, operators, want)
		}
	}
}

// A stranger's idle connections use up the descriptors of the process. Deliveries once
// hung then, without a word in the log.
func TestOutOfFiles(t *testing.T) {
	prlimit := needTool(t, "prlimit", "prlimit")
	b := newBridgeProcess(t)
	b.Start()
	if out, err := exec.Command(prlimit, "--nofile=100:100", "--pid", strconv.Itoa(b.Pid())).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: prlimit: %v %s", err, out)
	}
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	for range 140 {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	s := newSender(b.url, testSecret, 1)
	defer s.close()
	got, err := s.post(t.Context(), newDeliveryID(), []byte(`{"eventType":"workorder.created","payload":{"_id":"48"}}`))
	if err != nil || !got.ok() {
		t.Errorf("a delivery meanwhile: %d, %v", got.code, err)
	}
	testwait.Eventually(t, "a line about it", func() bool { return strings.Contains(b.Output.String(), "may not have more files open") })
	if code := b.Stop(); code != 0 {
		t.Errorf("stopped with %d", code)
	}
}
