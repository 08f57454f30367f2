package pull_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/bridge/pull"
	"github.com/persat-bridge/persat-bridge/bridge/pull/pollserver"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// crashing is the real bridge and its journal; at each step between a fetch and the
// position it keeps what the disk would have after a power cut.
type crashing struct {
	fs     *vfs.MemFS
	random *rand.Rand
	b      *bridge.Bridge
	j      *journal.Journal

	mu    sync.Mutex
	disks []disk
}

type disk struct {
	fs *vfs.MemFS
	at string
}

// cut keeps the disk as a power cut at this moment leaves it.
func (c *crashing) cut(at string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disks = append(c.disks, disk{c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.random.IntN(3) * 50, RNG: c.random}), at})
}

func (c *crashing) AcceptAll(ctx context.Context, deliveries []bridge.Delivery) ([]bridge.Outcome, error) {
	c.cut("page fetched, nothing accepted")
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			if n < 3 {
				c.cut("while the page is accepted")
			}
		}
	})
	outcomes, err := c.b.AcceptAll(ctx, deliveries)
	close(done)
	group.Wait()
	c.cut("page accepted, position not written")
	return outcomes, err
}

func (c *crashing) PullPosition(source string) ([]byte, error) { return c.j.PullPosition(source) }

func (c *crashing) SetPullPosition(source string, position []byte) error {
	err := c.j.SetPullPosition(source, position)
	c.cut("position written, not synced")
	if err == nil && c.random.IntN(2) == 0 {
		err = c.j.Sync()
		c.cut("position synced")
	}
	return err
}

// The position never passes what is not durable: after a power cut at any point between a
// fetch and the sync of its position, every item before the position is in the journal.
func TestPositionNeverPassesWhatIsNotDurable(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const n = 300
	server := pollserver.New(token)
	server.Add(items(0, n)...)
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	c := &crashing{fs: vfs.NewCrashableMem(), random: rand.New(rand.NewPCG(seed, 0))}
	var err error
	if c.j, err = journal.Open(journal.Options{Dir: "journal", FS: c.fs}); err != nil {
		t.Fatal(err)
	}
	if c.b, err = bridge.New(bridge.Options{Journal: c.j, Publisher: away{}, Sources: []string{"persat"}}); err != nil {
		t.Fatal(err)
	}
	p, err := pull.New(pull.Options{Source: "persat", URL: endpoint.URL, Token: token, Start: pull.Earliest, PageItems: 15, Acceptor: c, Positions: c, Transport: endpoint.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- p.Run(ctx) }()
	testwait.Eventually(t, "everything is pulled", func() bool { return p.Status().State == "caught_up" && p.Status().Accepted == n })
	cancel()
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	if err := c.j.Close(); err != nil {
		t.Fatal(err)
	}
	points := make(map[string]int)
	for _, d := range c.disks {
		points[d.at]++
		checkDisk(t, d)
	}
	if len(points) != 5 {
		t.Errorf("got cuts at %v, want all five points", points)
	}
}

// checkDisk opens what a power cut left.
func checkDisk(t *testing.T, d disk) {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: "journal", FS: d.fs})
	if err != nil {
		t.Fatalf("%s: %v", d.at, err)
	}
	defer j.Close()
	text, err := j.PullPosition("persat")
	if err != nil {
		t.Fatal(err)
	}
	var at struct{ Iterator string }
	if text != nil {
		if err := json.Unmarshal(text, &at); err != nil {
			t.Fatal(err)
		}
	}
	if at.Iterator == "" {
		return
	}
	passed, err := strconv.Atoi(at.Iterator[strings.LastIndex(at.Iterator, "_")+1:])
	if err != nil {
		t.Fatal(err)
	}
	has := make(map[string]bool)
	for e, err := range j.Newest(0) {
		if err != nil {
			t.Fatal(err)
		}
		has[e.Key] = true
	}
	for i := range passed {
		if !has["persat:"+item(i).ID] {
			t.Fatalf("%s: the position is behind item %d, and item %d is not in the journal", d.at, passed, i)
		}
	}
}

// away is a NATS that is not there.
type away struct{}

func (away) Connect(context.Context) (bridge.Session, error) {
	return nil, fmt.Errorf("not asked in this test")
}
