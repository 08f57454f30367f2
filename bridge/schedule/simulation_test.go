package schedule

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
)

var (
	long = flag.Bool("long", false, "run 100,000 random schedules instead of 2,000")
	seed = flag.Uint64("seed", 0, "run the random schedule of this seed alone")
)

// TestSimulation runs random schedules. One that fails is shrunk and kept in
// testdata, where TestScripts finds it from then on.
func TestSimulation(t *testing.T) {
	first, schedules := rand.Uint64(), 2_000
	if *long {
		schedules = 100_000
	}
	if *seed != 0 {
		first, schedules = *seed, 1
	}
	t.Logf("the first of %d seeds is %d", schedules, first)
	begin, steps := time.Now(), 0
	for i := range schedules {
		seed := first + uint64(i)
		o, taken, err := simulate(seed)
		steps += len(taken)
		if err == nil {
			continue
		}
		short, why := shrink(o, taken)
		text := fmt.Sprintf("# Seed %d: %v.\n%s", seed, why, formatScript(o, short))
		path := filepath.Join("testdata", fmt.Sprintf("seed-%d.txt", seed))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
		t.Fatalf("seed %d (go test -run TestSimulation -seed %d ./bridge/schedule): %v\nshrunk, and kept as %s:\n%s", seed, seed, err, path, text)
	}
	took := time.Since(begin)
	t.Logf("%d schedules, %d steps, %.0f schedules a second", schedules, steps, float64(schedules)/took.Seconds())
}

// simulate runs one random schedule, and returns the steps that it took.
func simulate(seed uint64) (Options, []step, error) {
	random := rand.New(rand.NewPCG(seed, 0))
	between := func(low, high int) int { return low + random.IntN(high-low+1) }
	one := func(choices ...int) int { return choices[random.IntN(len(choices))] }
	o := Options{
		Window: one(1, 2, 3, 4, 8, 13), WindowBytes: one(1, 100, 300, 100_000), MaxTasks: one(5, 20, 1000), MaxKeys: one(5, 20, 1000),
		RecordBytes: one(0, 100, 300, 100_000), MaxAttempts: between(1, 4),
	}
	r := newRun(o)
	keys, subjects, replays := between(1, 12), between(1, 5), one(0, 0, 1, 3)
	outcomes := strings.Fields([]string{
		"done",
		"done done done hold retry drop requeue",
		"hold hold done",
		"retry done requeue drop",
		"hold retry requeue",
	}[random.IntN(5)])
	start, landing := func() step { return step{verb: "start"} }, 70
	if least := between(1, 4); random.IntN(2) == 0 { // a stream that takes batches, and now and then none
		landing = one(40, 70) // many are in flight, or few
		start = func() step {
			if random.IntN(20) == 0 {
				return step{verb: "start"}
			}
			return step{verb: "batch", task: fmt.Sprintf("%d-%d", least, least+one(0, 1, 3, 20))}
		}
	}
	next, nextReplayed := uint64(0), uint64(0)
	add := func() step {
		p := step{verb: "add", subject: string(rune('a' + random.IntN(subjects))), size: one(0, 10, 50, 200), record: random.IntN(2) == 0}
		for range one(1, 1, 1, 2, 4) {
			if k := uint64(random.IntN(keys)); !slices.Contains(p.keys, k) {
				p.keys = append(p.keys, k)
			}
		}
		if random.IntN(10) < replays {
			nextReplayed++
			p.task = fmt.Sprintf("r%d", nextReplayed)
			return p
		}
		next++
		if p.task = fmt.Sprint(next); random.IntN(10) == 0 { // read a second time
			p.task = fmt.Sprint(1 + random.Uint64N(next))
		}
		return p
	}
	var steps []step
	do := func(p step) error {
		steps = append(steps, p)
		return r.do(p)
	}
	for range between(20, 150) {
		p := start()
		flying := r.flying()
		switch n := random.IntN(100); {
		case n < 35 && (r.s.Room() || n < 5):
			p = add()
		case n < landing && len(flying) > 0:
			p = step{verb: outcomes[random.IntN(len(outcomes))], task: flying[random.IntN(len(flying))]}
		case n < 80:
			p = step{verb: "advance", wait: time.Duration(one(1, 10, 20, 100, 1000)) * time.Millisecond}
		case n >= 85 && n < 90: // a batch ends as a whole: stored, or not decided
			batches := r.m.inBatches()
			if len(batches) == 0 {
				break
			}
			verb := []string{"done", "requeue"}[random.IntN(2)]
			names := batches[random.IntN(len(batches))]
			for _, name := range names[between(0, len(names)-1):] {
				if err := do(step{verb: verb, task: name}); err != nil {
					return o, steps, err
				}
			}
		case n == 80: // the session ends, and another begins
			for _, name := range flying {
				if err := do(step{verb: "requeue", task: name}); err != nil {
					return o, steps, err
				}
			}
			p.verb = "resume"
		case n == 81 && replays > 0:
			p.verb = "cancel"
		case n == 82 && len(flying) == 0:
			p.verb = "reset"
		case n == 83:
			p.verb = "resume"
		case n == 84:
			p = step{verb: "window", task: fmt.Sprint(between(0, o.Window+1))}
		}
		if err := do(p); err != nil {
			return o, steps, err
		}
	}
	return o, steps, r.finish()
}

// shrink takes out of a failing schedule every step without which it still fails.
func shrink(o Options, steps []step) ([]step, error) {
	why := runScript(o, steps)
	for chunk := len(steps) / 2; chunk > 0; {
		smaller := false
		for i := 0; i+chunk <= len(steps); {
			without := slices.Delete(slices.Clone(steps), i, i+chunk)
			if err := runScript(o, without); err != nil {
				steps, why, smaller = without, err, true
				continue
			}
			i += chunk
		}
		if !smaller || chunk > len(steps) {
			chunk /= 2
		}
	}
	return steps, why
}

// TestScripts runs the schedules that are written down: what a rule means, and
// those that have failed once.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		if name == "mutations" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			o, steps, err := parseScript(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := runScript(o, steps); err != nil {
				t.Error(err)
			}
		})
	}
}
