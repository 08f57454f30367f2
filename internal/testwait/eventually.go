// Package testwait has what tests of all packages wait with, and the ports that they
// listen on meanwhile.
package testwait

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long Eventually waits. Only a test that fails takes as long, and a
// machine that is busy must not make one fail.
var Patience = patience()

func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("TEST_PATIENCE")); err == nil {
		return d
	}
	return 2 * time.Minute
}

// Eventually waits for a state that has to come and that nothing announces. A test whose
// parts all run in its process waits in a testing/synctest bubble or for an event instead.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// ports are those that this process gives to its tests: from a block that no other test
// process gives from, as it holds the block's first port.
var ports struct {
	sync.Mutex
	next, above int
	held        []net.Listener
}

// FreePort returns a port of the loopback that is free, and that no other test gets. It is
// below those that Linux gives to outgoing connections (32768 and up): a server that is away
// for a moment finds it free again, however many clients call meanwhile.
func FreePort(t testing.TB) int {
	t.Helper()
	const lowest, above, block = 12_000, 32_000, 100
	ports.Lock()
	defer ports.Unlock()
	for {
		begins := ports.next == ports.above
		if begins {
			ports.next = lowest + block*rand.IntN((above-lowest)/block)
			ports.above = ports.next
		}
		port := ports.next
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		switch {
		case errors.Is(err, syscall.EADDRINUSE) && begins:
			continue
		case err != nil && !errors.Is(err, syscall.EADDRINUSE):
			t.Fatal(err)
		}
		ports.next++
		switch {
		case begins:
			ports.above = port + block
			ports.held = append(ports.held, l)
		case err == nil:
			l.Close()
			return port
		}
	}
}

// FreeAddress returns a loopback address whose port was free a moment ago.
func FreeAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(t))
}
