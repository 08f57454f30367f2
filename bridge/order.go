package bridge

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// task is a pending event that Run has taken notice of. While it waits it holds no body
// and no header, so that a hundred thousand of them, behind a held subject, stay
// small; the attempt then reads both from the journal.
type task struct {
	seq  uint64
	size int      // of its body
	lane []uint64 // the lanes it stands in, one for each entity
	gate *gate
	read *read // while it is ready to go; nil: to be read again
	// blocked counts the lanes in which another event stands before it.
	blocked int
	// replay is the number of the replay that this is a part of; 0 for none.
	replay int

	attempts int
	unknown  int // attempts that failed for no known reason
	wait     backoff.BackOff
	due      time.Time // when it may be tried again, while in delayed
}

// lanes keep the events of an entity in the order of acceptance: one line of
// tasks for each entity that has any, and only the first of a line may go.
type lanes struct {
	seed  maphash.Seed
	lines map[uint64][]*task
}

func newLanes() *lanes {
	return &lanes{seed: maphash.MakeSeed(), lines: make(map[uint64][]*task)}
}

// keys are the lanes of an event. Entities whose keys collide share a lane;
// that costs them some parallelism and nothing else.
func (l *lanes) keys(e *Event) []uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	key := func(kind byte, name string) uint64 {
		h.Reset()
		h.WriteString(e.Source)
		h.WriteByte(0)
		h.WriteByte(kind)
		h.WriteString(name)
		return h.Sum64()
	}
	if len(e.Entities) == 0 {
		return []uint64{key('t', e.Type)}
	}
	keys := make([]uint64, 0, len(e.Entities))
	seen := make(map[uint64]bool, len(e.Entities))
	for _, entity := range e.Entities {
		if k := key('e', entity); !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	return keys
}

// join puts t at the end of its lanes and says whether it may go at once.
func (l *lanes) join(t *task) bool {
	for _, k := range t.lane {
		line := l.lines[k]
		if len(line) > 0 {
			t.blocked++
		}
		l.lines[k] = append(line, t)
	}
	return t.blocked == 0
}

// leave takes t, which stands in each of its lanes, out of them, and returns the tasks
// that may go now. Only what is dropped with a cancelled replay leaves from behind the
// first; those behind it are still blocked by the first.
func (l *lanes) leave(t *task) []*task {
	var free []*task
	for _, k := range t.lane {
		line := l.lines[k]
		i := slices.Index(line, t)
		if i > 0 {
			l.lines[k] = slices.Delete(line, i, i+1)
			continue
		}
		line[0] = nil
		line = line[1:]
		if len(line) == 0 {
			delete(l.lines, k)
			continue
		}
		l.lines[k] = line
		next := line[0]
		if next.blocked--; next.blocked == 0 {
			free = append(free, next)
		}
	}
	return free
}

// gate stands before a subject, that is a source and an event type. Open, it
// lets everything pass. After a failure of the kind Held it is closed: what
// comes waits in line, and from time to time one event is let through to probe.
type gate struct {
	gateKey
	closed  bool
	since   time.Time
	reason  string
	wait    backoff.BackOff
	due     time.Time // when the next probe may go
	probing *task
	probed  time.Time // when the last probe went
	line    []*task
	tasks   int // how many tasks have this subject; the gate goes with the last
}

type gateKey struct{ source, eventType string }

// waits says whether there is something that could go as a probe, when it is due.
func (g *gate) waits() bool { return g.closed && g.probing == nil && len(g.line) > 0 }

// take removes the next task of the line.
func (g *gate) take() *task {
	t := g.line[0]
	g.line[0] = nil
	g.line = g.line[1:]
	return t
}

// delayed is a heap of tasks by the time they are due.
type delayed []*task

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delayed) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *delayed) Push(x any)        { *d = append(*d, x.(*task)) }
func (d *delayed) Pop() any {
	old := *d
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return t
}

// newBackOff makes a sequence of waits that never ends. One belongs to one
// goroutine.
func (b Backoff) newBackOff() backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(b.Initial),
		backoff.WithMaxInterval(b.Max),
		backoff.WithMultiplier(b.Multiplier),
		backoff.WithRandomizationFactor(b.Jitter),
		backoff.WithMaxElapsedTime(0), // the library's default gives up after 15 minutes
	)
}
