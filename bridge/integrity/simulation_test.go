package integrity_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
)

var (
	long = flag.Bool("long", false, "run 100,000 schedules")
	seed = flag.Uint64("seed", 0, "run the schedule of one seed and print it")
)

// step is one thing that happens in the world.
type step struct {
	name string
	n    uint64
}

func (s step) String() string { return fmt.Sprintf("%s %d", s.name, s.n) }

// steps are all that can happen, and how often.
var steps = []struct {
	name   string
	weight int
}{
	{"publish", 30}, {"unheard", 4}, {"strangers", 5}, {"observe", 20}, {"sync", 8}, {"wait", 8},
	{"delete", 4}, {"delete-newest", 2}, {"delete-entity", 2}, {"purge-subject", 2}, {"purge-first", 2}, {"purge", 1},
	{"cut", 4}, {"connect", 8}, {"restart", 3}, {"bridge-restart", 2},
	{"rollback", 5}, {"rollback-behind", 4}, {"index-ahead", 5}, {"block", 3},
	{"backup", 2}, {"restore", 2}, {"recreate", 1}, {"recreate-by-strangers", 1}, {"lose-stream", 1}, {"promote", 1},
}

func schedule(seed uint64) []step {
	random := rand.New(rand.NewPCG(seed, 1))
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	script := []step{{"named", seed % 4}}
	for range 10 + random.IntN(60) {
		pick := random.IntN(total)
		for _, s := range steps {
			if pick -= s.weight; pick < 0 {
				script = append(script, step{s.name, uint64(random.IntN(1000))})
				break
			}
		}
	}
	return append(script, step{"connect", 0})
}

func run(script []step) *world {
	w := newWorld()
	for _, s := range script {
		w.logf("%s", s)
		w.do(s)
		if len(w.problems) > 0 {
			break
		}
	}
	return w
}

func (w *world) do(s step) {
	n := s.n
	switch s.name {
	case "named":
		w.unnamed = n == 0
	case "publish":
		if w.up {
			w.confirm()
		}
		for i := range n%4 + 1 {
			id := len(w.ledger.events) + 1
			w.ledger.events = append(w.ledger.events, &event{id: fmt.Sprint("e", id), subject: fmt.Sprint("s", (n+i)%3), entity: fmt.Sprint("n", (n/3+i)%5), pending: true})
		}
		if w.up {
			w.publish()
			if len(w.problems) == 0 && w.up {
				w.now = w.now.Add(10 * time.Millisecond)
			}
		}
	case "unheard": // stored, and the bridge dies before it has heard of it
		id := len(w.ledger.events) + 1
		e := &event{id: fmt.Sprint("e", id), subject: fmt.Sprint("s", n%3), entity: fmt.Sprint("n", n%5), pending: true}
		w.ledger.events = append(w.ledger.events, e)
		w.store(e)
		w.up = false
	case "strangers":
		for i := range n%6 + 1 {
			w.live.last++
			w.live.messages[w.live.last] = message{fmt.Sprintf("x%d-%d", w.live.last, i), w.now}
		}
	case "observe":
		w.now = w.now.Add(2 * time.Second)
		if w.up {
			w.observe()
		}
	case "sync":
		w.synced = w.live.clone()
	case "wait":
		w.now = w.now.Add(time.Duration(n%5) * 7 * time.Minute / 2)
		if w.up && n%5 > 0 { // it is observed all the while
			w.observe()
		}
	case "cut":
		w.up = false
	case "connect":
		if !w.up {
			w.connect()
		}
	case "bridge-restart":
		w.up = false
	case "restart":
		w.end()
	case "backup":
		b := w.live.clone()
		w.backup = &b
	default:
		w.disturb(s)
	}
}

// end is the end of a server process: its successor has another name, and is up again not
// before a host could be.
func (w *world) end() { w.endFor(6 * time.Second) }

func (w *world) endFor(away time.Duration) {
	w.hosts++
	w.up = false
	w.now = w.now.Add(away)
}

func (w *world) disturb(s step) {
	n := s.n
	seqs := make([]uint64, 0, len(w.live.messages))
	for seq := range w.live.messages {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	switch s.name {
	case "delete", "delete-newest", "purge-first", "purge":
		w.faults++ // beside a hole it makes another one of it
	}
	switch s.name {
	case "delete":
		if len(seqs) > 0 {
			w.remove(func(seq uint64, _ *event) bool { return seq == seqs[n%uint64(len(seqs))] })
		}
	case "delete-newest":
		if len(seqs) > 0 {
			w.remove(func(seq uint64, _ *event) bool { return seq == seqs[len(seqs)-1] })
		}
	case "delete-entity":
		w.removeAll(func(_ uint64, e *event) bool { return e != nil && e.entity == fmt.Sprint("n", n%5) })
	case "purge-subject":
		w.removeAll(func(_ uint64, e *event) bool { return e != nil && e.subject == fmt.Sprint("s", n%3) })
	case "purge-first":
		w.remove(func(seq uint64, _ *event) bool { return len(seqs) > 0 && seq < seqs[n%uint64(len(seqs))] })
	case "purge":
		w.remove(func(uint64, *event) bool { return true })
	case "rollback", "rollback-behind":
		up := w.up
		for _, e := range w.ledger.events {
			e.undone = e.undone || e.purpose && !e.seen
		}
		w.lose(func(seq uint64) bool { return seq > w.synced.last }, true, false)
		// What was deleted since is there again: no doing of the bridge.
		w.live = w.synced.clone()
		if s.name == "rollback" || w.unnamed {
			w.end()
		} else {
			w.endFor(time.Duration(270+17*n) * time.Millisecond)
		}
		w.up = up && s.name == "rollback-behind" // it lives on another server of a cluster
	case "index-ahead":
		w.lose(func(seq uint64) bool { return seq > w.synced.last }, false, w.observedNow())
		w.end()
	case "block":
		if len(seqs) > 2 {
			from := seqs[1+n%uint64(len(seqs)-1)]
			to := from + 1 + n%7
			w.lose(func(seq uint64) bool { return from <= seq && seq <= to && seq <= w.live.last }, false, false)
			w.end()
		}
	case "lose-stream":
		w.lose(func(uint64) bool { return true }, false, false)
		w.create()
		w.end()
	case "recreate", "recreate-by-strangers":
		w.remove(func(uint64, *event) bool { return true })
		w.create()
		w.faults++ // with a restart of the server it looks like one
		w.up = false
		if s.name == "recreate-by-strangers" {
			w.do(step{"strangers", 5})
			w.do(step{"strangers", n})
		}
	case "restore":
		if w.backup != nil {
			for _, e := range w.ledger.events {
				e.rolledBack, e.holed = false, false // the backup has holes of its own
			}
			w.lose(func(seq uint64) bool { return seq > w.backup.last }, true, false)
			w.streams++
			identity := w.streams
			w.live = w.backup.clone()
			w.live.identity = identity
			w.synced = w.live.clone()
			w.end()
		}
	case "promote":
		w.streams++
		w.live.identity = w.streams
		w.synced.identity = w.streams
		w.end()
	default:
		w.problem("unknown step %s", s)
	}
}

// observedNow says whether the stream was observed a moment ago.
func (w *world) observedNow() bool {
	o := w.ledger.observed
	return o.Identity == w.identity() && w.now.Sub(o.At) < 9*time.Minute && w.synced.last <= max(o.Last, w.live.last)
}

// eventOf is the event whose message is at a sequence; nil for one of somebody else's.
func (w *world) eventOf(seq uint64) *event {
	i := slices.IndexFunc(w.ledger.events, func(e *event) bool { return e.id == w.live.messages[seq].id })
	if i < 0 {
		return nil
	}
	return w.ledger.events[i]
}

// holds says whether a stream has anything of ours at its sequence.
func (w *world) holds(s stream) bool {
	for seq, record := range w.ledger.places {
		if s.messages[seq].id == w.ledger.event(record).id {
			return true
		}
	}
	return false
}

// remove deletes messages on purpose. Done to a stream that has lost some, it blurs the
// traces: telling is then enough.
func (w *world) remove(which func(seq uint64, e *event) bool) {
	for _, e := range w.ledger.events {
		e.rolledBack, e.holed = false, false
	}
	for seq := range w.live.messages {
		e := w.eventOf(seq)
		if !which(seq, e) {
			continue
		}
		if e != nil && e.acked && !e.pending { // what the bridge has not heard of it sends again
			e.purpose = true
		}
		delete(w.live.messages, seq)
	}
	for w.live.first <= w.live.last {
		if _, there := w.live.messages[w.live.first]; there {
			break
		}
		w.live.first++
	}
}

// removeAll deletes all of a kind.
func (w *world) removeAll(which func(seq uint64, e *event) bool) {
	before := make(map[*event]bool)
	for _, e := range w.ledger.events {
		before[e] = e.purpose
	}
	w.remove(which)
	for _, e := range w.ledger.events {
		if e.purpose && !before[e] {
			e.wholesale = w.faults + 1
		}
	}
}

// lose takes messages away with a server's power.
func (w *world) lose(which func(seq uint64) bool, rolledBack, holed bool) {
	w.faults++
	for _, e := range w.ledger.events {
		if !rolledBack && e.rolledBack { // a hole where it was hides the rollback
			e.rolledBack, e.holed = false, false
		}
	}
	for seq := range w.live.messages {
		if !which(seq) {
			continue
		}
		if e := w.eventOf(seq); e != nil && e.acked && !e.pending {
			e.rolledBack, e.holed = rolledBack, holed
		}
		delete(w.live.messages, seq)
	}
}

// TestSimulation runs schedules of faults over a model of JetStream and of the journal.
// After each session's begin, every acknowledged event is in the stream, was deleted on
// purpose, or an operator has been told; and nothing that was seen to be deleted on
// purpose comes back.
func TestSimulation(t *testing.T) {
	if *seed != 0 {
		w := run(schedule(*seed))
		t.Logf("seed %d:\n%s", *seed, strings.Join(w.log, "\n"))
		for _, p := range w.problems {
			t.Error(p)
		}
		return
	}
	schedules := 2_000
	if *long {
		schedules = 100_000
	}
	first := rand.Uint64() >> 16
	begin := time.Now()
	for i := range uint64(schedules) {
		script := schedule(first + i)
		w := run(script)
		if len(w.problems) == 0 {
			continue
		}
		script = shrink(script)
		w = run(script)
		t.Fatalf("seed %d (-seed %d prints it): %s\nshrunk, to be kept in testdata/scripts:\n%s\nlog:\n%s", first+i, first+i, w.problems[0], text(script), strings.Join(w.log, "\n"))
	}
	t.Logf("%d schedules from seed %d, %.0f a second", schedules, first, float64(schedules)/time.Since(begin).Seconds())
}

// shrink leaves out of a failing script what it fails without.
func shrink(script []step) []step {
	for again := true; again; {
		again = false
		for i := range script {
			shorter := slices.Delete(slices.Clone(script), i, i+1)
			if len(run(shorter).problems) > 0 {
				script, again = shorter, true
				break
			}
		}
	}
	return script
}

func text(script []step) string {
	var lines []string
	for _, s := range script {
		lines = append(lines, s.String())
	}
	return strings.Join(lines, "\n")
}

// TestScripts runs the scripts that failed once.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var script []step
			for line := range strings.Lines(string(b)) {
				if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				var s step
				if _, err := fmt.Sscanf(line, "%s %d", &s.name, &s.n); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				script = append(script, s)
			}
			w := run(script)
			for _, p := range w.problems {
				t.Error(p)
			}
			if t.Failed() {
				t.Log(strings.Join(w.log, "\n"))
			}
		})
	}
}

var _ integrity.Stream = (*world)(nil)
var _ integrity.Ledger = (*ledger)(nil)
