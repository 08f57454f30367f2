package sim

import (
	"slices"
	"testing"
)

// shrinkTries is how often a shorter script may pass before it is believed: the scheduler
// is not part of the seed.
const shrinkTries = 4

// shrink takes steps out of a script as long as it fails without them.
func shrink(s Script, fails func(Script) bool) Script {
	failsOnce := func(s Script) bool {
		for range shrinkTries {
			if fails(s) {
				return true
			}
		}
		return false
	}
	for size := len(s.Steps) / 2; size > 0; {
		shorter := false
		for at := 0; at+size <= len(s.Steps); {
			candidate := s
			candidate.Steps = slices.Delete(slices.Clone(s.Steps), at, at+size)
			if failsOnce(candidate) {
				s, shorter = candidate, true
			} else {
				at += size
			}
		}
		if !shorter {
			size /= 2
		}
	}
	return s
}

func TestShrink(t *testing.T) {
	s := Script{Steps: []string{"a", "b", "c", "d", "e", "f", "g"}}
	got := shrink(s, func(s Script) bool { return slices.Contains(s.Steps, "b") && slices.Contains(s.Steps, "f") })
	if want := []string{"b", "f"}; !slices.Equal(got.Steps, want) {
		t.Errorf("got %q, want %q", got.Steps, want)
	}
}
