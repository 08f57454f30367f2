package bridge_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// Everything at once: accepts, cuts, roll-backs with a cut, held and rejected and odd
// failures, replays of dead letters and of what was published, cancels, restarts. In the
// end nothing is lost, doubled or out of order, and the counts are those of the journal.
func TestStress(t *testing.T) {
	t.Parallel()
	for range 3 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &memory{created: "1"}
			random := rand.New(rand.NewPCG(seed, 99))
			var rmu sync.Mutex
			intn := func(n int) int { rmu.Lock(); defer rmu.Unlock(); return random.IntN(n) }
			fail := func(e *bridge.Event) error {
				switch k := intn(100); {
				case k < 4:
					return &bridge.Failure{Class: bridge.Held, Reason: "held"}
				case k < 6:
					return &bridge.Failure{Class: bridge.Unknown, Reason: "odd"}
				case k < 7 && e.Replay == 0:
					return &bridge.Failure{Class: bridge.Rejected, Reason: "rejected"}
				}
				return nil
			}
			m.fail = fail
			options := func(o *bridge.Options) {
				o.Publisher = m
				o.MaxInFlight = 1 + int(seed%34)
				o.Log = zap.NewNop()
				o.Backoff = bridge.Backoff{Initial: time.Millisecond, Max: 5 * time.Millisecond, Multiplier: 2, Jitter: 0.5}
			}
			r := &rig{t: t, dir: t.TempDir()}
			r.open(true, options)
			testwait.Eventually(t, "a session", func() bool { return r.bridge.Status(t.Context()).NATS.Up })
			n := 0
			accepted := make(map[string][]string) // id -> entities
			order := []string{}
			deadline := time.Now().Add(2 * time.Second)
			for time.Now().Before(deadline) {
				switch intn(30) {
				case 0:
					m.cut()
				case 1:
					m.set(func() {
						keep := max(len(m.ids)-intn(20), 0)
						m.ids, m.bodies = m.ids[:keep:keep], m.bodies[:keep:keep]
						m.sessions[len(m.sessions)-1].Close()
					})
				case 2:
					_, _, _ = r.bridge.ReplayDead(t.Context(), bridge.Filter{})
				case 3:
					_, _ = r.bridge.StartReplay(t.Context(), bridge.Filter{})
				case 4:
					r.bridge.CancelReplay()
				case 5:
					if intn(8) == 0 {
						r.stop()
						r.open(true, options)
					}
				case 6:
					time.Sleep(time.Duration(intn(5)) * time.Millisecond)
				default:
					var group sync.WaitGroup
					batch := 1 + intn(4)
					ids := make([]string, batch)
					for i := range batch {
						n++
						id := fmt.Sprintf("m%d", n)
						d := delivery(id, fmt.Sprintf("e%d-%d", i, intn(4)))
						if intn(5) == 0 {
							d.Entities = append(d.Entities, fmt.Sprintf("e%d-%d", i, intn(4)))
						}
						d.Type = fmt.Sprintf("t.%d", intn(4))
						ids[i] = id
						accepted[id] = d.Entities
						group.Go(func() {
							if _, err := r.bridge.Accept(context.Background(), d); err != nil {
								t.Error(err)
							}
						})
					}
					group.Wait()
					order = append(order, ids...)
				}
			}
			m.set(func() { m.fail = nil })
			testwait.Eventually(t, "pending 0", func() bool { return r.bridge.Status(t.Context()).Pending == 0 })
			r.bridge.CancelReplay()
			testwait.Eventually(t, "replay ended", func() bool { now := r.bridge.ReplayNow(); return now == nil || !now.Running })
			m.cut()
			time.Sleep(50 * time.Millisecond)
			testwait.Eventually(t, "pending 0", func() bool { return r.bridge.Status(t.Context()).Pending == 0 })
			left := 0
			for _, err := range r.journal.AllPending() {
				if err == nil {
					left++
				}
			}
			if left > 0 {
				t.Errorf("status says nothing pending, the journal has %d", left)
			}
			dead := make(map[string]bool)
			deadCount := 0
			for d, err := range r.journal.AllDead() {
				if err != nil {
					t.Fatal(err)
				}
				deadCount++
				rec, _ := bridge.RecordOf(journal.Entry{Item: d.Item})
				dead[rec.ID] = true
			}
			if s := r.bridge.Status(t.Context()); s.Dead != deadCount {
				t.Errorf("status says %d dead, the journal has %d", s.Dead, deadCount)
			}
			place, replayed := make(map[string]int), make(map[string]bool)
			for i, id := range m.stored() {
				id = strings.TrimPrefix(id, "persat:")
				if base, _, ok := strings.Cut(id, ":r"); ok {
					replayed[base] = true
					continue
				}
				if _, twice := place[id]; twice {
					t.Errorf("%s twice", id)
				}
				place[id] = i
			}
			lost := 0
			last := make(map[string]string)
			for _, id := range order {
				p, ok := place[id]
				if !ok {
					if !dead[id] && !replayed[id] {
						lost++
					}
					continue
				}
				for _, e := range accepted[id] {
					if before := last[e]; before != "" && before != id && place[before] > p {
						t.Errorf("%s of %s is before %s", id, e, before)
					}
					last[e] = id
				}
			}
			if lost > 0 {
				t.Errorf("%d of %d lost", lost, len(order))
			}
			t.Logf("%d accepted, %d in the stream, %d dead, %d sessions", len(order), len(m.stored()), deadCount, len(m.sessions))
			r.stop()
		})
	}
}
