package bridge

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// stalledJournal is a journal whose disk stopped answering at a time.
type stalledJournal struct {
	since atomic.Pointer[time.Time]
	gave  chan error
}

func (j *stalledJournal) Stalled() time.Duration {
	if since := j.since.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

func (j *stalledJournal) GiveUp(err error) { j.gave <- err }

func (j *stalledJournal) stall() {
	now := time.Now()
	j.since.Store(&now)
}

// The disk is given up after two minutes, and after ten seconds when the bridge is to stop:
// a full disk held up a stop for 11 minutes.
func TestDiskWatchdog(t *testing.T) {
	for name, test := range map[string]struct {
		stopAfter time.Duration // from the stall on; 0 is never
		want      time.Duration // at most; 0 is never
	}{
		"serving":                {0, giveUpAfter + 2*time.Second},
		"stopping":               {time.Second, stalledAfter + 2*time.Second},
		"stopping a while later": {time.Minute, time.Minute + 2*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &stalledJournal{gave: make(chan error, 1)}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				ended := make(chan struct{})
				defer close(ended)
				go diskWatchdog{j, zap.NewNop()}.run(ctx, ended)
				time.Sleep(time.Hour) // the disk is well
				if len(j.gave) > 0 {
					t.Fatal("it gave up a disk that is well")
				}
				j.stall()
				begin := time.Now()
				if test.stopAfter > 0 {
					time.AfterFunc(test.stopAfter, stop)
				}
				<-j.gave
				if took := time.Since(begin); took > test.want {
					t.Errorf("it gave up after %v, want %v at most", took, test.want)
				}
			})
		})
	}
}

// A disk that answers again in time is not given up.
func TestDiskWatchdogWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &stalledJournal{gave: make(chan error, 1)}
		ended := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			diskWatchdog{j, zap.NewNop()}.run(t.Context(), ended)
		}()
		j.stall()
		time.Sleep(giveUpAfter - time.Second)
		j.since.Store(nil)
		time.Sleep(time.Hour)
		close(ended)
		<-done
		if len(j.gave) > 0 {
			t.Error("it gave up a disk that answers")
		}
	})
}

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

// fakeDisk is a journal that takes nothing, on a disk of which the test says what it has.
type fakeDisk struct{ free, total int64 }

func (d *fakeDisk) DiskBytes() uint64           { return 0 }
func (d *fakeDisk) Disk() (int64, int64, error) { return d.free, d.total, nil }

func (d *fakeDisk) Dir() string { return "journal" }

// Events were refused with 40 GB free: 5 % of a disk, whatever its size.
func TestReserve(t *testing.T) {
	t.Parallel()
	const mib, gib, tib = 1 << 20, 1 << 30, 1 << 40
	for _, test := range []struct {
		free, total int64
		takes, room bool // events are taken; none are dropped before their time
	}{
		{40 * gib, tib, true, true},
		{gib + gib/4, tib, true, true},
		{gib + gib/6, tib, true, false},
		{gib - 1, tib, false, false},
		{gib + gib/4, 20 * gib, true, true}, // from here on down it is 5 %
		{gib - 1, 20 * gib, false, false},
		{7 * mib, 100 * mib, true, true},
		{5*mib + mib/2, 100 * mib, true, false},
		{4 * mib, 100 * mib, false, false},
	} {
		s := newSpace(&fakeDisk{test.free, test.total}, 0)
		if err := s.err(); (err == nil) != test.takes {
			t.Errorf("%d of %d bytes free: got %v, want that events are taken: %v", test.free, test.total, err, test.takes)
		}
		if want := s.wanted(); (want <= 0) != test.room {
			t.Errorf("%d of %d bytes free: wants %d bytes back, want that it has room: %v", test.free, test.total, want, test.room)
		}
	}
}

// Events are taken again only with some room to spare, or the next refusal would follow
// at once.
func TestReserveIsLeftWithSomeToSpare(t *testing.T) {
	t.Parallel()
	d := &fakeDisk{1 << 29, 1 << 40}
	s := newSpace(d, 0)
	for _, step := range []struct {
		free int64
		want bool
	}{{1<<30 + 1<<20, false}, {1<<30 + 1<<27, true}, {1<<30 + 1<<20, true}, {1<<30 - 1, false}} {
		d.free = step.free
		s.measure()
		if err := s.err(); (err == nil) != step.want {
			t.Errorf("%d bytes free: got %v, want that events are taken: %v", step.free, err, step.want)
		}
	}
}

func TestSizesOfTexts(t *testing.T) {
	for n, want := range map[size]string{0: "0 bytes", 1023: "1023 bytes", 16 << 20: "16 MiB", 10 << 30: "10 GiB", 10<<30 - 1<<26: "9.9 GiB", 3 << 40: "3 TiB", 5 << 50: "5120 TiB"} {
		if got := n.String(); got != want {
			t.Errorf("%d: got %q, want %q", int64(n), got, want)
		}
	}
}
