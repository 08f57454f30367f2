// Package alert tells people who look at no page and have no Prometheus when something
// needs them: once when a condition begins, once when it ends, and once a day while it
// lasts. Its conditions are those of the Prometheus rules
// (cmd/persat-bridge/deploy/prometheus), but for one: a process that is down tells nobody.
// Whether the stream fills is judged by its mean growth, where the rule has six hours of
// history.
//
// An Alerter looks at the state every few seconds. A condition begins when it has held for
// Options.After without a break, and has ended when it has not held for that long: what
// comes and goes is not told twice.
//
// Each receiver has a queue and a goroutine of its own, which tries a message again, with
// growing waits, until it is delivered: an outage of the network delays messages and loses
// none, and a receiver that does not answer holds up neither the others nor the bridge. The
// queue holds 200 messages; beyond that the oldest is dropped, and the log says so.
//
// Options.Memory has what was told and what is not delivered yet. After a restart, also
// after a kill, a condition that was told is not told as new: it is told again once a day,
// and its end is. What only a kill in the moment of a delivery can do is to double a message.
// Conditions that are read from counters need their time to be seen to have ended, for
// counters begin at 0 with the process.
package alert

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// State is what an Alerter looks at.
type State struct {
	bridge.Status
	// Counters are of the metrics of this process.
	Counters Counters
	// CertificateExpires is when the certificate of the public listener does; zero without
	// one.
	CertificateExpires time.Time
	// Pulls are the polling endpoints that cannot be fetched from.
	Pulls []FailingPull
	// Stream is the stream as it was seen last; nil while NATS is away. Without its list
	// of consumers, which takes a permission, nothing is told of them.
	Stream *bridge.StreamInfo
}

// Counters only grow while the process lives.
type Counters struct {
	// Unauthentic counts by source the requests that were refused because they are not
	// authentic, and Taken the events that were accepted, repeats among them.
	Unauthentic, Taken map[string]float64
	// Overloaded counts the requests that were refused because there were too many at once.
	Overloaded float64
	// Healed counts the events that the stream had lost.
	Healed float64
	// AcceptDuration is the histogram of the time to accept an event: for each upper bound,
	// in seconds, how many took at most so long.
	AcceptDuration map[float64]uint64
}

// FailingPull is a polling endpoint that cannot be fetched from.
type FailingPull struct {
	Source string
	Since  time.Time
	Reason string
}

// Receiver is a way to people.
type Receiver interface {
	// Name tells receivers apart, in the log. It holds no secret.
	Name() string
	// Send makes one attempt to deliver a message. It may take long, and is not called
	// again before it has returned, or for half a minute; one that does not return for an
	// hour is given up. Its error holds no secret.
	Send(m Message) error
}

// Message is what a Receiver gets.
type Message struct {
	// Subject is a line for receivers that have one, such as email.
	Subject string
	Text    string
}

// Options say what an Alerter does. Receivers and Look are required.
type Options struct {
	Receivers []Receiver
	// Look returns the state. It does not wait.
	Look func() State
	// Language is en (default) or es.
	Language string
	// Bridge names the bridge in the messages, such as the host's name.
	Bridge string
	// Link is the address of the status page, or empty.
	Link string
	// After is how long a condition has to last before it is told. Default 2 min.
	After time.Duration
	// Repeat is after how long one that lasts is told again. Default 24 h.
	Repeat time.Duration
	// Silence is for how long a source may have no event. Default 24 h.
	Silence time.Duration
	// Memory keeps over a restart what was told. Without one, what lasts is told again.
	Memory Memory
	// Notice shows operators that messages cannot be delivered; an empty text is the end
	// of that.
	Notice func(about, text string)
	Log    *zap.Logger
}

func (o *Options) validate() error {
	if o.Look == nil || len(o.Receivers) == 0 {
		return errors.New("alert: there is nothing to look at, or nobody to tell")
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&o.After, 2 * time.Minute}, {&o.Repeat, 24 * time.Hour}, {&o.Silence, 24 * time.Hour}} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	if o.Notice == nil {
		o.Notice = func(string, string) {}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return nil
}

// Alerter watches the conditions, and tells the receivers.
type Alerter struct {
	o       Options
	started time.Time
	past    past
	known   map[key]*episode
	queues  []*queue
	notes   *notebook
}

// key tells conditions apart: the same one of several sources is several.
type key struct{ code, source string }

// episode is a time in which a condition holds.
type episode struct {
	finding
	since time.Time // when it was first seen
	over  time.Time // since when it is not seen any more; zero while it is
	told  time.Time // when it was last told; zero when it has not been
	// recalled says that it was told before the process started, and not seen since.
	recalled bool
}

// New checks the options. It starts nothing.
func New(o Options) (*Alerter, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	a := &Alerter{o: o, known: make(map[key]*episode), notes: newNotebook(o.Memory, o.Log)}
	for _, r := range o.Receivers {
		a.queues = append(a.queues, newQueue(r, o.Notice, a.notes.changed, o.Log))
	}
	a.notes.queues = a.queues
	return a, nil
}

// Run watches until ctx ends. Messages that are not delivered by then are delivered after
// the next start, when there is a Memory.
func (a *Alerter) Run(ctx context.Context) {
	a.started = time.Now()
	a.recall()
	var delivering, noting sync.WaitGroup
	for _, q := range a.queues {
		delivering.Go(func() { q.run(ctx) })
	}
	delivered := make(chan struct{})
	noting.Go(func() { a.notes.run(ctx, delivered) })
	defer func() {
		delivering.Wait()
		close(delivered)
		noting.Wait()
	}()
	tick := time.NewTicker(min(max(a.o.After/4, time.Second), 10*time.Second))
	defer tick.Stop()
	for {
		a.look(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// recall takes up what was told before the process started, and what was not delivered.
func (a *Alerter) recall() {
	r := a.notes.recall()
	for _, t := range r.Told {
		a.known[key{t.Code, t.Source}] = &episode{finding: finding{source: t.Source}, since: t.Since, told: t.Told, recalled: true}
	}
	a.notes.note(r.Told)
	for _, q := range a.queues {
		for _, m := range r.Waiting[q.receiver.Name()] {
			q.add(m)
		}
	}
}

// told are the conditions that were told and have not ended, in a fixed order.
func (a *Alerter) told() (told []toldEpisode) {
	for k, e := range a.known {
		if !e.told.IsZero() {
			told = append(told, toldEpisode{k.code, k.source, e.since, e.told})
		}
	}
	slices.SortFunc(told, func(x, y toldEpisode) int {
		return cmp.Or(cmp.Compare(x.Code, y.Code), cmp.Compare(x.Source, y.Source))
	})
	return told
}

// look compares the conditions with those that are known, and tells what has changed.
func (a *Alerter) look(now time.Time) {
	s := a.o.Look()
	a.past.note(now, &s)
	seen, changed := make(map[key]bool), false
	for _, c := range conditions {
		for _, f := range c.find(a, &s, now) {
			k := key{c.code, f.source}
			seen[k] = true
			e := a.known[k]
			if e == nil {
				e = &episode{since: now}
				a.known[k] = e
			}
			e.finding, e.over, e.recalled = f, time.Time{}, false
			switch {
			case e.told.IsZero() && now.Sub(e.since) >= a.o.After:
				a.tell(a.begin(c, e))
				e.told, changed = now, true
			case !e.told.IsZero() && now.Sub(e.told) >= a.o.Repeat:
				a.tell(a.still(c, e))
				e.told, changed = now, true
			}
		}
	}
	for _, c := range conditions {
		for k, e := range a.known {
			if k.code != c.code || seen[k] {
				continue
			}
			if e.recalled && now.Sub(a.started) < c.over {
				continue // it cannot be seen yet
			}
			if e.over.IsZero() {
				e.over = now
			}
			switch {
			case e.told.IsZero():
				delete(a.known, k) // it did not last
			case now.Sub(e.over) >= a.o.After:
				a.tell(a.end(c, e))
				delete(a.known, k)
				changed = true
			}
		}
	}
	if changed {
		a.notes.note(a.told())
	}
}

func (a *Alerter) tell(m Message) {
	for _, q := range a.queues {
		q.add(m)
	}
}
