package natstest

import (
	"net"
	"testing"
	"time"
)

// patience is how long Eventually waits. Only a test that fails takes as long, and a
// machine that is busy must not make one fail.
const patience = 2 * time.Minute

// Eventually waits for a state that has to come.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// FreeAddress is a loopback address whose port was free a moment ago.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
