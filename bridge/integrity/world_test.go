package integrity_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/integrity"
)

// world is a model of JetStream and of the journal, over which schedules of faults run.
// It knows what nobody in production knows: why each message is missing.
type world struct {
	now                        time.Time
	hosts                      int  // servers started until now
	unnamed                    bool // the server process cannot be told
	streams                    int  // streams made until now
	live                       stream
	synced                     stream
	backup                     *stream
	ledger                     ledger
	up                         bool
	monitor                    integrity.Monitor
	faultsBefore, faultsHealed int           // until the last session, and until this one
	faults                     int           // how often something was lost
	gap                        time.Duration // between the last two sessions' observations
	log                        []string
	problems                   []string
}

type stream struct {
	identity    int
	messages    map[uint64]message
	first, last uint64
}

type message struct {
	id     string
	stored time.Time
}

func (s stream) clone() stream {
	s.messages = maps.Clone(s.messages)
	return s
}

// event is a record of the journal and the truth about its message.
type event struct {
	id, subject, entity string
	marked              time.Time
	pending             bool
	acked               bool // the bridge has heard that it is stored
	// purpose: it was deleted on purpose, seen: and that was observed before the server ended.
	purpose, seen     bool
	healed            bool // it was published again: behind the duplicate window, twice
	wholesale         int  // deleted with all of its subject or entity, after so many faults; 0: not so
	undone            bool // a rollback undid the deletion before it was observed
	told              bool // an operator has been told that it is missing
	rolledBack, holed bool // lost in a way that evidence decides, so that telling is not enough
}

type ledger struct {
	w        *world
	events   []*event // record i+1
	places   map[uint64]uint64
	identity string
	observed integrity.Observation
	noted    uint64
}

func newWorld() *world {
	w := &world{now: time.Unix(1_800_000_000, 0), hosts: 1}
	w.ledger = ledger{w: w, places: make(map[uint64]uint64)}
	w.create()
	w.synced = w.live.clone()
	return w
}

func (w *world) create() {
	w.streams++
	w.live = stream{identity: w.streams, messages: make(map[uint64]message), first: 1}
	w.synced = w.live.clone()
}

func (w *world) logf(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }
func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// integrity.Stream.

func (w *world) State(context.Context) (integrity.State, error) {
	s := integrity.State{Exists: true, Identity: fmt.Sprint("stream ", w.live.identity), Host: fmt.Sprint("host ", w.hosts),
		First: w.live.first, Last: w.live.last, Messages: uint64(len(w.live.messages))}
	if w.unnamed {
		s.Host = ""
	}
	if s.First <= s.Last {
		s.Deleted = s.Last - s.First + 1 - s.Messages
	}
	return s, nil
}

func (w *world) Messages(_ context.Context, wanted []integrity.Wanted) (map[uint64]integrity.Answer, error) {
	answers := make(map[uint64]integrity.Answer)
	for _, x := range wanted {
		m, found := w.live.messages[x.Seq]
		answers[x.Seq] = integrity.Answer{Found: found, Message: integrity.Message{Seq: x.Seq, ID: m.id, Stored: m.stored}}
	}
	return answers, nil
}

func (w *world) Deleted(context.Context) ([]integrity.Range, error) {
	var ranges []integrity.Range
	for seq := w.live.first; seq <= w.live.last; seq++ {
		if _, there := w.live.messages[seq]; there {
			continue
		}
		if n := len(ranges); n > 0 && ranges[n-1].Last+1 == seq {
			ranges[n-1].Last = seq
		} else {
			ranges = append(ranges, integrity.Range{First: seq, Last: seq})
		}
	}
	return ranges, nil
}

func (w *world) Heads(_ context.Context, from uint64, n int) ([]integrity.Message, error) {
	var heads []integrity.Message
	for seq := from; seq <= w.live.last && len(heads) < n; seq++ {
		if m, there := w.live.messages[seq]; there {
			heads = append(heads, integrity.Message{Seq: seq, ID: m.id, Stored: m.stored})
		}
	}
	return heads, nil
}

// integrity.Ledger.

func (l *ledger) Identity() (string, error)                    { return l.identity, nil }
func (l *ledger) Observed() (o integrity.Observation, _ error) { return l.observed, nil }
func (l *ledger) RollbackNoted() (uint64, error)               { return l.noted, nil }
func (l *ledger) HasUnsent() (bool, error)                     { return slices.ContainsFunc(l.events, isPending), nil }
func isPending(e *event) bool                                  { return e.pending }
func (l *ledger) event(record uint64) *event                   { return l.events[record-1] }
func (l *ledger) sorted() []uint64                             { return slices.Sorted(maps.Keys(l.places)) }
func (l *ledger) place(seq uint64) integrity.Place {
	return integrity.Place{Seq: seq, Record: l.places[seq]}
}
func (l *ledger) Unsent(id string) (record uint64, ok bool, _ error) {
	i := slices.IndexFunc(l.events, func(e *event) bool { return e.id == id && e.pending })
	return uint64(i + 1), i >= 0, nil
}

// whole says whether the ledger has all that was ever in the stream.
func (l *ledger) whole() bool {
	seqs := l.sorted()
	return len(seqs) > 0 && seqs[len(seqs)-1] == uint64(len(seqs))
}

func (l *ledger) Newest(below uint64, n int) (places []integrity.Place, _ error) {
	seqs := l.sorted()
	for i := len(seqs) - 1; i >= 0 && len(places) < n; i-- {
		if below == 0 || seqs[i] < below {
			places = append(places, l.place(seqs[i]))
		}
	}
	return places, nil
}

func (l *ledger) From(seq uint64, n int) (places []integrity.Place, _ error) {
	for _, s := range l.sorted() {
		if s >= seq && len(places) < n {
			places = append(places, l.place(s))
		}
	}
	return places, nil
}

func (l *ledger) Record(p integrity.Place) (integrity.Record, bool, error) {
	e := l.event(p.Record)
	return integrity.Record{ID: e.id, Subject: e.subject, Entities: []string{e.entity}, Marked: e.marked}, !e.pending, nil
}

// What the bridge does.

const duplicateWindow = 5 * time.Minute

// store publishes an event as JetStream takes it: a known id is a duplicate.
func (w *world) store(e *event) (seq uint64, duplicate bool) {
	for seq, m := range w.live.messages {
		if m.id == e.id && w.now.Sub(m.stored) < duplicateWindow {
			return seq, true
		}
	}
	w.live.last++
	w.live.messages[w.live.last] = message{e.id, w.now}
	return w.live.last, false
}

// publish sends all that is pending, in order.
func (w *world) publish() {
	for i, e := range w.ledger.events {
		if !e.pending || !w.up {
			continue
		}
		if e.purpose && e.seen {
			w.problem("%s was deleted on purpose, which was observed, and is published again", e.id)
		}
		if e.wholesale == w.faults+1 && w.faultsBefore == w.faults && w.gap > 11*time.Minute {
			w.problem("%s was deleted with all of its kind, and is published again", e.id)
		}
		e.purpose = false // nothing told it from a loss
		seq, duplicate := w.store(e)
		other, taken := w.ledger.places[seq]
		if w.ledger.identity == "" { // the stream was made in this session
			w.ledger.identity = w.identity()
		}
		if !duplicate && seq <= w.monitor.Baseline() || taken && other != uint64(i+1) {
			w.logf("%s: sequence %d was given before (duplicate %t, heard %d): rolled back", e.id, seq, duplicate, w.monitor.Baseline())
			w.ledger.noted = min(cmp.Or(w.ledger.noted, seq), seq)
			w.connect()
			return
		}
		w.monitor.Heard(seq, duplicate, w.now)
		e.pending, e.acked, e.marked = false, true, w.now
		w.ledger.places[seq] = uint64(i + 1)
	}
}

func (w *world) identity() string { return fmt.Sprint("stream ", w.live.identity) }

func (w *world) unpublish(r integrity.Range) {
	for seq, record := range w.ledger.places {
		if r.Has(seq) {
			delete(w.ledger.places, seq)
			w.ledger.event(record).pending, w.ledger.event(record).healed = true, true
		}
	}
}

func (w *world) forget(ranges []integrity.Range, told bool) {
	for _, r := range ranges {
		for seq, record := range w.ledger.places {
			if r.Has(seq) {
				delete(w.ledger.places, seq)
				w.ledger.event(record).told = w.ledger.event(record).told || told
			}
		}
	}
}

// connect begins a session: verify, heal, publish.
func (w *world) connect() {
	w.faultsBefore, w.faultsHealed = w.faultsHealed, w.faults
	w.gap = w.now.Sub(w.ledger.observed.At)
	old := w.gap > 9*time.Minute
	other := w.ledger.identity != w.identity() && !w.holds(w.live)
	for _, e := range w.ledger.events {
		e.holed = e.holed && !old
		if other { // nothing tells it from another stream
			e.rolledBack, e.holed = false, false
		}
		if other && !w.unnamed && w.ledger.observed.Host == fmt.Sprint("host ", w.hosts) { // which was recreated on purpose
			e.seen = e.purpose
		}
	}
	v, err := integrity.Verify(context.Background(), w, &w.ledger, integrity.Options{Newest: 4, Now: w.now}, new(integrity.Confirmed))
	if err != nil {
		w.problem("verify: %v", err)
		return
	}
	w.logf("verify: %s adopted %t from %d holes %v deleted %v undecided %v stored %v", v.Kind, v.Adopted, v.From, v.Holes, v.Deleted, v.Undecided, v.Stored)
	w.apply(v)
	w.up = true
	w.monitor.Begin(v.State.Last, false, w.now)
	w.publish()
	w.check()
}

func (w *world) apply(v integrity.Verdict) {
	all := integrity.Range{First: 1, Last: ^uint64(0)}
	l := &w.ledger
	switch {
	case v.Kind == integrity.Recreated && v.LostByServer && l.whole():
		w.unpublish(all)
	case v.Kind == integrity.Recreated:
		w.forget([]integrity.Range{all}, true)
		for _, e := range l.events { // the notice is of all that was ever published
			e.told = e.told || !e.pending
		}
	}
	if v.From != 0 {
		w.unpublish(integrity.Range{First: v.From, Last: ^uint64(0)})
	}
	for _, h := range v.Holes {
		w.unpublish(h)
	}
	for _, s := range v.Stored {
		e := l.event(s.Record)
		e.pending, e.acked, e.marked = false, true, s.At
		l.places[s.Seq] = s.Record
	}
	w.forget(v.Deleted, false)
	w.forget(v.Undecided, true)
	l.noted = 0
	if l.identity != "" || len(l.places) > 0 {
		l.identity = v.State.Identity
	}
	l.observed = v.State.Observe(w.now)
	w.seen()
}

// seen notes that the deletions until now have been observed.
func (w *world) seen() {
	there := make(map[string]bool) // a rollback may have undone the deletion
	for _, m := range w.live.messages {
		there[m.id] = true
	}
	for _, e := range w.ledger.events {
		e.seen = e.seen || e.purpose && !e.undone && !e.pending && !there[e.id]
	}
}

// confirm looks at the stream before something is sent after a silence.
func (w *world) confirm() {
	check, ok := w.monitor.Before(w.now)
	if !ok {
		return
	}
	c, err := integrity.Confirm(context.Background(), w, &w.ledger, check, w.now)
	if err != nil {
		w.problem("confirm: %v", err)
	}
	w.monitor.Ended(check, 0, w.now)
	if c.RolledBackAt != 0 {
		w.ledger.noted = c.RolledBackAt
	}
	if c.RolledBackAt != 0 || c.Recreated || c.Unsure != "" {
		w.logf("confirm: %+v", c)
		w.connect()
	}
}

func (w *world) observe() {
	v, again, err := integrity.Observe(context.Background(), w, &w.ledger, w.monitor.Baseline(), w.now)
	if err != nil {
		w.problem("observe: %v", err)
	}
	w.logf("observe: again %t deleted %v undecided %v", again, v.Deleted, v.Undecided)
	if again {
		w.connect()
		return
	}
	w.apply(v)
}

// known says whether the ledger has a record's place.
func (w *world) known(record uint64) bool {
	for _, r := range w.ledger.places {
		if r == record {
			return true
		}
	}
	return false
}

// check holds the stream against the truth.
func (w *world) check() {
	there := make(map[string]int)
	for _, m := range w.live.messages {
		there[m.id]++
	}
	for i, e := range w.ledger.events {
		if e.acked && !e.pending && !e.purpose && there[e.id] == 0 && (!e.told || e.rolledBack || e.holed) {
			w.problem("%s was acknowledged and lost; told %t", e.id, e.told)
		}
		if there[e.id] > 1 && !e.healed {
			w.problem("%s is there %d times", e.id, there[e.id])
		}
		if there[e.id] > 0 {
			e.rolledBack, e.holed = false, false
			if w.known(uint64(i + 1)) { // else it was given up, whatever a rollback brings back
				e.purpose, e.seen = false, false
			}
		}
	}
	// A pass right after finds nothing more to do.
	v, err := integrity.Verify(context.Background(), w, &w.ledger, integrity.Options{Newest: 4, Now: w.now}, new(integrity.Confirmed))
	if err != nil || v.Kind != integrity.Intact || len(v.Deleted)+len(v.Undecided)+len(v.Stored) > 0 {
		w.problem("a second pass: got %+v, %v", v, err)
	}
}
