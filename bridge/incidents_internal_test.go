package bridge

import (
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// A large body that is refused leaves the room to small ones.
func TestRefusedBodyTakesNoRoom(t *testing.T) {
	j, err := journal.Open(journal.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s := newSpace(j, int64(j.DiskBytes())+4<<20)
	if err := s.admit(3 << 20); err == nil {
		t.Fatal("the large one was let in")
	}
	if err := s.admit(1000); err != nil {
		t.Errorf("4 MiB of room, nothing was taken: %v; readyz says %v", err, s.err())
	}
}
