package sim

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// ledger is what the senders know: what they sent, and what was answered 2xx. The oracle
// (promise_test.go) reads it.
type ledger struct {
	w *world

	mu    sync.Mutex
	clock int // rises with each request and each answer
	sent  int
	byID  map[string]*promise
	all   []*promise
	wrong []string // answers that may not be
	// heard is when the bridge heard that the stream has a message id; it has forgotten
	// what it heard in the last two seconds before its power went.
	heard map[string]time.Time
}

// promise is a delivery id, and what is known of it.
type promise struct {
	delivery bridge.Delivery
	keys     []string
	bodies   [][]byte // more than one when the id was used for others
	// The first request began and the first 2xx came at these turns of the clock; answered
	// is 0 while there was none.
	began, answered int
	taken           int // how often it was new
	// since is before the journal has noted the id; a dedup window later it may have forgotten it.
	since time.Time
	aside bool // as a dead letter: it may be published by an operator, or not
	dead  bool // it has been a dead letter
}

// id is that of its messages, but for replays.
func (p *promise) id() string { return p.delivery.Source + ":" + p.delivery.ID }

func newLedger(w *world) *ledger {
	return &ledger{w: w, byID: make(map[string]*promise), heard: make(map[string]time.Time)}
}

// newDelivery makes an event. Some are refused by the stream, and some cannot be published.
func (g *ledger) newDelivery(rng *rand.Rand, entities int) bridge.Delivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent++
	d := bridge.Delivery{Source: "a", ID: fmt.Sprintf("e%d", g.sent), Type: eventTypes[rng.IntN(len(eventTypes))]}
	if rng.IntN(4) == 0 {
		d.Source = "b"
	}
	for range [...]int{0, 1, 1, 1, 1, 1, 1, 2}[rng.IntN(8)] {
		if e := fmt.Sprint(rng.IntN(entities)); !slices.Contains(d.Entities, e) {
			d.Entities = append(d.Entities, e)
		}
	}
	kind := "plain"
	switch rng.IntN(60) {
	case 0:
		kind = "large" // see attempt.take
	case 1:
		kind = fmt.Sprintf("odd %d", 1+rng.IntN(6))
	case 2:
		d.Unusable = "not JSON"
	}
	size := rng.IntN(300)
	if rng.IntN(50) == 0 {
		size = rng.IntN(40_000)
	}
	d.Body = fmt.Appendf(nil, "%s %s:%s %s", kind, d.Source, d.ID, bytes.Repeat([]byte("x"), size))
	return d
}

// oldDelivery is one that was sent before.
func (g *ledger) oldDelivery(rng *rand.Rand) (bridge.Delivery, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.all) == 0 {
		return bridge.Delivery{}, false
	}
	return g.all[rng.IntN(len(g.all))].delivery, true
}

// offer sends a delivery to a life of the bridge, and notes the answer, unless the power
// went before it came.
func (g *ledger) offer(l *life, d bridge.Delivery) {
	g.mu.Lock()
	p := g.byID[d.Source+":"+d.ID]
	g.clock++
	if p == nil {
		p = &promise{delivery: d, keys: keysOf(d.Source, d.Type, d.Entities), began: g.clock}
		g.byID[p.id()] = p
		g.all = append(g.all, p)
	}
	other := false // these bytes are sent under this id for the first time, and others were before
	if !slices.ContainsFunc(p.bodies, func(b []byte) bool { return bytes.Equal(b, d.Body) }) {
		other = p.answered > 0
		p.bodies = append(p.bodies, d.Body)
	}
	begin := time.Now()
	if p.since.IsZero() {
		p.since = begin
	}
	// A forgotten id is published again, perhaps before this request has its answer.
	heard, known := g.heard[p.id()]
	mayBeNew := begin.Sub(p.since) >= g.w.script.Options.Dedup
	if mayBeNew {
		delete(g.heard, p.id())
	}
	g.mu.Unlock()
	ready := l.bridge.Ready()
	outcome, err := l.bridge.Accept(context.Background(), d)
	stored := g.w.server.hasStored(p.id())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clock++
	l.ifAlive(func() {
		g.w.log("accept %s: %v %v", p.id(), outcome, err)
		switch {
		case err != nil && ready == nil && !l.mayRefuse(err):
			g.wrong = append(g.wrong, fmt.Sprintf("%s is refused although the bridge is ready: %v", p.id(), err))
		case err != nil:
			return
		case ready != nil:
			g.wrong = append(g.wrong, fmt.Sprintf("%s is accepted although the bridge is not ready: %v", p.id(), ready))
		}
		if err != nil {
			return
		}
		if p.answered == 0 {
			p.answered = g.clock
		}
		switch outcome {
		case bridge.Accepted:
			if p.taken++; p.taken > 1 && time.Since(p.since) < g.w.script.Options.Dedup && !g.w.server.isShaken() {
				g.wrong = append(g.wrong, fmt.Sprintf("%s is accepted twice within the dedup window", p.id()))
			}
			if mayBeNew {
				p.since = begin
			}
		case bridge.Duplicate:
			if mayBeNew && known {
				g.heard[p.id()] = heard
			}
			if other {
				g.wrong = append(g.wrong, fmt.Sprintf("%s is called a duplicate, and its bytes are new", p.id()))
			}
		case bridge.Quarantined:
			if bytes.Equal(d.Body, p.delivery.Body) {
				p.aside = true
			}
		}
		if outcome == bridge.Accepted && g.w.script.Options.WaitForStream && !stored {
			g.wrong = append(g.wrong, fmt.Sprintf("%s is accepted before the stream has it", p.id()))
		}
	})
}

// hear notes that the bridge knows of a message in the stream.
func (g *ledger) hear(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, heard := g.heard[id]; !heard {
		g.heard[id] = time.Now()
	}
}

func (g *ledger) hasHeard(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, heard := g.heard[id]
	return heard
}

// cutAt forgets what the bridge cannot be expected to remember.
func (g *ledger) cutAt(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, at := range g.heard {
		if now.Sub(at) < 2*time.Second {
			delete(g.heard, id)
		}
	}
}

// isShaken says whether what the bridge knows of the stream need not be true any more: then
// it may have set ids free.
func (n *server) isShaken() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.shaken
}

// hasStored says whether a message of this id was ever stored, as a replay too.
func (n *server) hasStored(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.copies(id)) > 0
}
