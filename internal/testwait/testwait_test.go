package testwait

import (
	"net"
	"testing"
)

// Two tests that run side by side were given the same port, and one of them could not listen.
func TestFreePortIsGivenOnce(t *testing.T) {
	given := make(map[string]bool)
	for range 300 { // more than a block has
		address := FreeAddress(t)
		if given[address] {
			t.Fatalf("%s is given twice", address)
		}
		given[address] = true
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
