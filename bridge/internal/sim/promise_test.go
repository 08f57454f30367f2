package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/journal"
)

// copies are all messages ever stored for an event, those of replays too, with their ids.
// n.mu is held.
func (n *server) copies(id string) (found []*message) {
	found = append(found, n.history[id]...)
	for other, messages := range n.history {
		if strings.HasPrefix(other, id+":r") {
			found = append(found, messages...)
		}
	}
	return found
}

// check is what holds at every moment in which nothing moves: what the bridge says of
// itself is what its journal has, and the journal has nothing that is not so.
func (g *ledger) check() error {
	n := g.w.server
	n.mu.Lock()
	wrong := slices.Clone(n.wrong)
	n.mu.Unlock()
	g.mu.Lock()
	wrong = append(wrong, g.wrong...)
	g.mu.Unlock()
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	l := g.w.life
	if l == nil {
		return nil
	}
	records, err := l.records()
	if err != nil {
		return err
	}
	states := make(map[journal.State]int)
	known := make(map[string]bool)
	n.mu.Lock()
	for _, r := range records {
		states[r.State]++
		id := r.Source + ":" + r.ID
		known[id] = true
		if p := g.byID[id]; p != nil && (r.State == journal.Dead || r.State == journal.Discarded) {
			p.dead = true
			if r.State == journal.Dead && bytes.HasPrefix(p.delivery.Body, []byte("plain")) && p.delivery.Unusable == "" && !strings.Contains(r.Reason, "was used before") {
				err = errors.Join(err, fmt.Errorf("%s is a dead letter, and nothing is wrong with it: %s", id, r.Reason))
			}
		}
		if r.State == journal.Published && len(n.copies(id)) == 0 {
			err = errors.Join(err, fmt.Errorf("record %d (%s) is published, but no stream ever stored it", r.Record, id))
		}
	}
	n.mu.Unlock()
	g.mu.Lock()
	for _, p := range g.all {
		// Retention may have taken what was published long ago.
		if p.answered > 0 && !known[p.id()] && time.Since(g.w.begin) < g.w.script.Options.Dedup {
			err = errors.Join(err, fmt.Errorf("%s was answered 2xx, and the journal does not have it", p.id()))
		}
	}
	g.mu.Unlock()
	s := l.bridge.Status(context.Background())
	if s.Pending != states[journal.Pending] {
		err = errors.Join(err, fmt.Errorf("status says that %d are pending, the journal has %d", s.Pending, states[journal.Pending]))
	}
	if s.Dead != states[journal.Dead] {
		err = errors.Join(err, fmt.Errorf("status says that %d are dead, the journal has %d", s.Dead, states[journal.Dead]))
	}
	// Retention may take an event before its turn comes.
	if r := s.Replay; r != nil && !r.Running && !l.cancelled && time.Since(g.w.begin) < min(g.w.script.Options.Dedup, g.w.script.Options.Retention) {
		if ended := r.Published + r.Failed + r.Skipped; ended != r.Matched {
			err = errors.Join(err, fmt.Errorf("replay %d matched %d events, and %d have ended: %+v", r.Number, r.Matched, ended, *r))
		}
	}
	if (l.bridge.Ready() == nil) == g.w.full {
		err = errors.Join(err, fmt.Errorf("ready says %v, and the disk is full: %v", l.bridge.Ready(), g.w.full))
	}
	return errors.Join(err, l.metrics(s))
}

// records are all that the journal has.
func (l *life) records() (all []bridge.Record, err error) {
	for before := uint64(0); ; {
		list, err := l.bridge.Events(context.Background(), bridge.EventQuery{Before: before, Limit: 10_000})
		if err != nil {
			return nil, fmt.Errorf("read the journal: %w", err)
		}
		all = append(all, list.Records...)
		if list.More == 0 {
			return all, nil
		}
		before = list.More
	}
}

// metrics compares the gauges with the status.
func (l *life) metrics(s bridge.Status) error {
	families, err := l.registry.Gather()
	if err != nil {
		return err
	}
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]int{"persat_bridge_pending_events": s.Pending, "persat_bridge_dead_events": s.Dead} {
		if got := sums[name]; int(got) != want {
			err = errors.Join(err, fmt.Errorf("%s is %v, the status says %d", name, got, want))
		}
	}
	return err
}

// final is the promise, once everything that an operator can repair has been repaired.
func (g *ledger) final() error {
	n, l := g.w.server, g.w.life
	s := l.bridge.Status(context.Background())
	if s.Pending != 0 {
		return fmt.Errorf("%d events are still pending: held %v, link %+v, notices %q", s.Pending, s.Held, s.NATS, s.Notices)
	}
	records, err := l.records()
	if err != nil {
		return err
	}
	known := make(map[string]int) // how many records there are of an event: ids are forgotten
	for _, r := range records {
		known[r.Source+":"+r.ID]++
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var wrong []error
	there := make(map[*promise]uint64) // where the first message of an event is
	first := make(map[*promise]uint64) // where the first message of an event is, or was until it was removed
	for _, p := range g.all {
		fates := make(map[fate]int)
		elsewhere := false // some of its messages were in a stream before this one
		for _, m := range n.copies(p.id()) {
			fates[m.fate]++
			elsewhere = elsewhere || m.in != n.stream
			if !slices.ContainsFunc(p.bodies, func(b []byte) bool { return bytes.Equal(b, m.body) }) {
				wrong = append(wrong, fmt.Errorf("%s was stored with other bytes than were sent", m.id))
			}
			if m.id == p.id() && m.fate != lost && m.fate != givenUp && (first[p] == 0 || m.seq < first[p]) {
				first[p] = m.seq
			}
			if m.id == p.id() && m.fate == present && (there[p] == 0 || m.seq < there[p]) {
				there[p] = m.seq
			}
		}
		if elsewhere || p.taken > 1 || known[p.id()] > 1 || len(p.bodies) > 1 {
			delete(first, p)
			delete(there, p) // their order is not that of acceptance
		}
		told := len(s.Notices) > 0 || s.Gone > 0
		switch {
		case p.answered == 0, p.aside, p.dead, fates[present]+fates[removed]+fates[givenUp] > 0:
		case fates[dropped]+fates[lost] > 0 && (told || known[p.id()] == 0 && g.forgotten(p)):
		default:
			wrong = append(wrong, fmt.Errorf("%s was answered 2xx, and is not in the stream: %d messages of it were lost, %d were in a stream that was deleted; gone %d, notices %q", p.id(), fates[lost], fates[dropped], s.Gone, s.Notices))
		}
	}
	return errors.Join(append(wrong, g.order(first, there)...)...)
}

// forgotten says whether the journal need not know any more of an event that was
// published. n.mu is held.
func (g *ledger) forgotten(p *promise) bool {
	o := g.w.script.Options
	for _, m := range g.w.server.copies(p.id()) {
		if time.Since(m.at) > max(o.Retention, o.Dedup) {
			return true
		}
	}
	return false
}

// order says for which ordering keys an event stands before one that was accepted before
// it was sent.
func (g *ledger) order(first, there map[*promise]uint64) (wrong []error) {
	byKey := make(map[string][]*promise)
	for _, p := range g.all {
		if p.answered > 0 && first[p] > 0 {
			for _, key := range p.keys {
				byKey[key] = append(byKey[key], p)
			}
		}
	}
	for key, some := range byKey {
		for i, a := range some {
			for _, b := range some[i+1:] {
				if a.answered < b.began && there[b] > 0 && first[a] > there[b] {
					wrong = append(wrong, fmt.Errorf("key %q: %s is at %d, behind %s at %d, and was accepted before", key, a.id(), first[a], b.id(), there[b]))
				}
			}
		}
	}
	return wrong
}
