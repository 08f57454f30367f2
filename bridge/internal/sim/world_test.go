package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// eventTypes are those of the simulated sources.
var eventTypes = []string{"workorder.created", "workorder.closed", "client.updated"}

// world is one run of a script.
type world struct {
	script  Script
	rng     *rand.Rand
	server  *server
	disk    *vfs.MemFS // while no life is on it
	life    *life      // nil while the bridge is down
	full    bool       // the disk of the bridge
	begin   time.Time
	ledger  *ledger
	tracing bool

	mu    sync.Mutex
	trace []string
}

// run runs a script in a bubble of its own. The error says which promise was broken, and
// at which step.
func run(t *testing.T, s Script, tracing bool) (trace []string, err error) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	synctest.Test(t, func(*testing.T) {
		w := &world{script: s, rng: rand.New(rand.NewPCG(s.Options.Seed, 1)), disk: vfs.NewCrashableMem(), begin: time.Now(), tracing: tracing}
		w.server = newServer(rand.New(rand.NewPCG(s.Options.Seed, 2)), s.Options.Window, s.Options.InFlight, w.log)
		w.ledger = newLedger(w)
		w.server.heard, w.server.hasHeard = w.ledger.hear, w.ledger.hasHeard
		err = w.run()
		trace = w.trace
	})
	return trace, err
}

func (w *world) log(format string, args ...any) {
	if !w.tracing {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, fmt.Sprintf("%12v ", time.Since(w.begin))+fmt.Sprintf(format, args...))
}

func (w *world) run() (err error) {
	defer func() {
		if w.life != nil {
			err = errors.Join(err, w.life.bury())
		}
	}()
	if err := w.start(); err != nil {
		return err
	}
	for i, step := range w.script.Steps {
		w.log("step %d: %s", i+1, step)
		if err := w.step(step); err != nil {
			return fmt.Errorf("step %d (%s): %w", i+1, step, err)
		}
	}
	w.log("the end: everything is repaired")
	if err := w.settle(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return nil
}

// step does one step, and looks whether all still holds.
func (w *world) step(step string) error {
	if err := w.do(strings.Fields(step)); err != nil {
		return err
	}
	if err := w.reviveIfCut(); err != nil {
		return err
	}
	synctest.Wait()
	return w.ledger.check()
}

// reviveIfCut starts the bridge again when its power has gone.
func (w *world) reviveIfCut() error {
	if w.life == nil {
		return nil
	}
	select {
	case <-w.life.cut:
	default:
		return nil
	}
	w.log("the power of the bridge has gone")
	l := w.life
	w.life, w.disk = nil, l.image
	w.ledger.cutAt(l.cutTime)
	if err := l.bury(); err != nil {
		return err
	}
	time.Sleep(time.Duration(w.rng.Int64N(int64(3 * time.Second))))
	return w.start()
}

func (w *world) start() error {
	if w.life != nil {
		return nil
	}
	l, err := w.born(w.disk)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	w.life = l
	w.log("the bridge runs")
	return nil
}

// stop is a graceful one.
func (w *world) stop() error {
	if w.life == nil {
		return nil
	}
	l := w.life
	w.life, w.disk = nil, l.disk
	l.bridge.Drain()
	return l.bury()
}

// pass lets time pass, or until the power of the bridge goes.
func (w *world) pass(d time.Duration) {
	var cut chan struct{}
	if w.life != nil {
		cut = w.life.cut
	}
	select {
	case <-time.After(d):
	case <-cut:
	}
}

// accept sends n new events, from several senders at once, about so many entities.
func (w *world) accept(n, senders, entities int) {
	l := w.life
	if l == nil {
		return
	}
	deliveries := make([][]bridge.Delivery, senders)
	for i := range n {
		d := w.ledger.newDelivery(w.rng, entities)
		deliveries[i%senders] = append(deliveries[i%senders], d)
		if senders > 1 && w.rng.IntN(10) == 0 { // twice at once
			deliveries[(i+1)%senders] = append(deliveries[(i+1)%senders], d)
		}
	}
	pause := time.Duration(w.rng.IntN(20)) * time.Millisecond
	w.send(l, deliveries, pause)
}

// send sends, and notes what is answered 2xx.
func (w *world) send(l *life, deliveries [][]bridge.Delivery, pause time.Duration) {
	var sending sync.WaitGroup
	for _, some := range deliveries {
		sending.Go(func() {
			for _, d := range some {
				w.ledger.offer(l, d)
				if pause > 0 {
					time.Sleep(pause)
				}
			}
		})
	}
	sending.Wait()
}

// repeat sends n deliveries again that were sent before, with other bytes in a conflict.
func (w *world) repeat(n int, conflict bool) {
	if w.life == nil {
		return
	}
	var some []bridge.Delivery
	for range n {
		if d, ok := w.ledger.oldDelivery(w.rng); ok {
			if conflict {
				d.Body = slices.Concat(d.Body, []byte(" changed"))
			}
			some = append(some, d)
		}
	}
	w.send(w.life, [][]bridge.Delivery{some}, 0)
}

// diskUsage tells a disk how full it is.
func (w *world) diskUsage(disk *vfs.MemFS) {
	usage := vfs.DiskUsage{TotalBytes: 20 << 30, AvailBytes: 15 << 30, UsedBytes: 5 << 30}
	if w.full {
		usage.AvailBytes, usage.UsedBytes = 1<<20, 20<<30-1<<20
	}
	disk.TestingSetDiskUsage(usage)
}

func (w *world) fillDisk(full bool) {
	w.full = full
	if w.life != nil {
		w.diskUsage(w.life.disk)
	}
	w.pass(3 * time.Second)
}

// settle repairs everything, waits until all is published, and looks at all that was
// promised.
func (w *world) settle() error {
	w.server.repair()
	w.fillDisk(false)
	if err := errors.Join(w.reviveIfCut(), w.start()); err != nil {
		return err
	}
	w.life.set(func() { w.life.after = 0 })
	time.Sleep(130 * time.Second) // the stream is looked at once a minute in any case
	for range 1800 {
		if s := w.life.bridge.Status(context.Background()); s.Pending == 0 && (s.Replay == nil || !s.Replay.Running) {
			break
		}
		time.Sleep(time.Second)
	}
	synctest.Wait()
	if err := errors.Join(w.ledger.check(), w.ledger.final()); err != nil {
		return err
	}
	// What is done is on disk: the next life has nothing to do.
	time.Sleep(3 * time.Second)
	w.life.set(func() { w.life.keep = 0 })
	w.life.cutPower()
	if err := w.reviveIfCut(); err != nil {
		return err
	}
	if s := w.life.bridge.Status(context.Background()); s.Pending != 0 {
		return fmt.Errorf("%d events are pending after a power cut, and none was three seconds before", s.Pending)
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	return errors.Join(w.ledger.check(), w.ledger.final())
}
