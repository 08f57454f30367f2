package publisher

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeRoom is a room on a disk of which the test says what it has.
func fakeRoom(t *testing.T, max int64) (r *room, free, total *int64, clock *time.Time) {
	free, total, clock = new(int64), new(int64), new(time.Time)
	r = newRoom(t.TempDir(), max)
	r.now = func() time.Time { return *clock }
	r.disk = func(string) (int64, int64, error) { return *free, *total, nil }
	return r, free, total, clock
}

// The server's own limit was three quarters of what was free when it started, for good.
func TestRoomFollowsTheDisk(t *testing.T) {
	t.Parallel()
	r, free, total, clock := fakeRoom(t, 0)
	for _, step := range []struct {
		name        string
		free, total int64
		take        int
		want        bool
	}{
		{"small disk, a tenth is kept", 11 << 20, 100 << 20, 500 << 10, true},
		{"small disk, what came since counts", 11 << 20, 100 << 20, 700 << 10, true}, // measured again: still free
		{"small disk, too much", 11 << 20, 100 << 20, 2 << 20, false},
		{"the disk grows", 500 << 20, 600 << 20, 2 << 20, true},
		{"something else fills it", 0, 600 << 20, 1, false},
		{"room is made", 600 << 20, 600 << 20, 1, true},
		{"a large disk keeps 2 GiB, not a tenth", 3 << 30, 1 << 40, 1 << 29, true},
		{"a large disk, the last 2 GiB", 2 << 30, 1 << 40, 1, false},
	} {
		*clock = clock.Add(measureEvery)
		*free, *total = step.free, step.total
		err := r.take(step.take)
		if (err == nil) != step.want {
			t.Errorf("%s: got %v, want that it fits: %v", step.name, err, step.want)
		}
		if err != nil && !strings.Contains(err.Error(), "make room") {
			t.Errorf("%s: got %v, want what to do", step.name, err)
		}
	}
}

// Between two looks at the disk, what was published since counts.
func TestRoomIsUsedUp(t *testing.T) {
	t.Parallel()
	r, free, total, _ := fakeRoom(t, 0)
	*free, *total = 20<<20, 100<<20
	if err := r.take(8 << 20); err != nil {
		t.Fatal(err)
	}
	*free = 12 << 20
	if err := r.take(8 << 20); err == nil {
		t.Error("8 MiB of the 2 MiB that are left: got no error")
	}
	if err := r.take(1 << 20); err != nil {
		t.Errorf("1 MiB of the 2 MiB that are left: got %v", err)
	}
}

// max_store bounds what lies in the directory, and can be made room in.
func TestRoomMaxStore(t *testing.T) {
	t.Parallel()
	r, free, total, clock := fakeRoom(t, 10<<20)
	*free, *total = 1<<40, 1<<41
	block := filepath.Join(r.dir, "1.blk")
	if err := os.WriteFile(block, make([]byte, 9<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.take(2 << 20); err == nil || !strings.Contains(err.Error(), "nats.embedded.max_store") {
		t.Errorf("got %v, want that max_store is to be raised", err)
	}
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	*clock = clock.Add(measureEvery)
	if err := r.take(2 << 20); err != nil {
		t.Errorf("with room again: got %v", err)
	}
}

// A disk that does not say what it has refuses nothing.
func TestRoomUnknown(t *testing.T) {
	t.Parallel()
	r, _, _, _ := fakeRoom(t, 0)
	r.disk = func(string) (int64, int64, error) { return 0, 0, errors.New("no answer") }
	if err := r.take(1 << 30); err != nil {
		t.Errorf("got %v", err)
	}
}
