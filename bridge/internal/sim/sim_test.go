package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var (
	long  = flag.Bool("long", false, "10,000 schedules, from a seed of the moment")
	seed  = flag.Uint64("seed", 0, "the schedule of this seed alone, with its trace")
	first = flag.Uint64("first", 1, "the seed of the first schedule")
	count = flag.Int("count", 200, "how many schedules")
	small = flag.Bool("shrink", true, "make a failing script shorter")
	file  = flag.String("script", "", "run this script alone, count times or until it fails")
)

// TestSimulation runs schedules from seeds. One that fails is shrunk and printed; put into
// testdata it is a regression test.
func TestSimulation(t *testing.T) {
	begin, from, number := time.Now(), *first, *count
	if *long {
		from, number = rand.Uint64N(1<<40), 10_000
	}
	if *seed != 0 {
		trace, err := run(t, newScript(*seed), true)
		t.Logf("%s\n%s", newScript(*seed), strings.Join(trace, "\n"))
		if err != nil {
			t.Error(err)
		}
		return
	}
	var next, failed atomic.Uint64
	t.Run("schedules", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				for failed.Load() == 0 {
					i := next.Add(1) - 1
					if i >= uint64(number) {
						return
					}
					s := newScript(from + i)
					if _, err := run(t, s, false); err != nil {
						failed.Add(1)
						report(t, s, err)
					}
				}
			})
		}
	})
	took := time.Since(begin)
	t.Logf("%v", &batches)
	t.Logf("%d schedules, seeds %d to %d, %.0f a second", number, from, from+uint64(number)-1, float64(number)/took.Seconds())
}

// TestRegressions runs the scripts that failed once.
func TestRegressions(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	times := 5
	if *file != "" {
		names, times = []string{*file}, *count
	}
	for _, name := range names {
		if filepath.Base(name) == "mutations.txt" {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := parseScript(string(text))
			if err != nil {
				t.Fatal(err)
			}
			for range times {
				if trace, err := run(t, s, true); err != nil {
					t.Fatalf("%v\n%s", err, strings.Join(trace, "\n"))
				}
			}
		})
	}
}

// report shrinks a failing script, and prints it with what happened in it.
func report(t *testing.T, s Script, err error) {
	t.Helper()
	t.Errorf("seed %d: %v", s.Options.Seed, err)
	if !*small {
		return
	}
	s = shrink(s, func(s Script) bool { _, other := run(t, s, false); return sameKind(err, other) })
	for range 20 {
		if trace, other := run(t, s, true); sameKind(err, other) {
			err = other
			t.Errorf("shrunk: %v\n%s\n%s", err, s, strings.Join(trace, "\n"))
			return
		}
	}
	t.Errorf("shrunk, and fails now and then:\n%s", s)
}

// sameKind says whether two runs broke the same promise: of other events, perhaps.
func sameKind(a, b error) bool {
	if a == nil || b == nil {
		return a == b
	}
	return numbers.ReplaceAllString(a.Error(), "") == numbers.ReplaceAllString(b.Error(), "")
}

// numbers are what differs between two runs, and all that follows the first promise.
var numbers = regexp.MustCompile(`(?s)(^step [0-9]+ [^:]*: |^at the end: |[ab]:e)?[0-9]*(;.*|\n.*)?`)
