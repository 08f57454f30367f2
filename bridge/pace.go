package bridge

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Batches says whether and how a backlog is sent in atomic batches. Its zero value is that
// it is not.
type Batches struct {
	// Enabled lets a backlog go in batches where the stream takes them and they get more
	// through.
	Enabled bool
	// Backlog is how many events must wait for one way of sending to be measured.
	// Default 512.
	Backlog int
	// Least and Most bound the events of a batch. Default 16 and 512: each batch costs the
	// server a few syncs, and two are in flight at most.
	Least, Most int
	// Measure is how long one measurement takes at least, Again how long after it the other
	// way is looked at once more; that doubles up to thirty times as much. Default 100 ms and
	// 2 s.
	Measure, Again time.Duration
}

func (o *Batches) validate() {
	if o.Backlog <= 0 {
		o.Backlog = 512
	}
	if o.Least <= 0 {
		o.Least = 16
	}
	if o.Most <= 0 {
		o.Most = 512
	}
	if o.Measure <= 0 {
		o.Measure = 100 * time.Millisecond
	}
	if o.Again <= 0 {
		o.Again = 2 * time.Second
	}
}

// way is how events are sent.
type way int

const (
	single   way = iota // one by one
	together            // in atomic batches
)

func (w way) String() string {
	if w == together {
		return "batch"
	}
	return "single"
}

const (
	// Batches have to get clearlyBetter as much through as single events to be chosen, and
	// single events slightlyBetter: they are the plain way.
	clearlyBetter, slightlyBetter = 1.5, 1.05
	// measureLeast is how many events a measurement has at least.
	measureLeast = 32
	// trialLimit ends the trial of a way of which nothing comes.
	trialLimit = 5 * time.Second
	// refusedPause is how long no batch is sent after one that was not decided; it doubles
	// up to refusedLongest.
	refusedPause   = time.Second
	refusedLongest = time.Minute
)

// pace chooses how a backlog is sent. A server that syncs each message syncs a batch once
// for all of its messages, and one that does not has more work with a batch: so both ways
// are measured, one after the other, and looked at again from time to time. The loop owns
// it.
type pace struct {
	o   Batches
	log *zap.Logger

	way    way
	reason PaceReason
	detail string // of the reason, for people
	rates  [2]float64
	// trial says that way is only tried.
	trial   bool
	entered time.Time // when way was entered
	look    time.Time // when the other way is tried next
	every   time.Duration

	// counted are the acknowledgements of way since began, which is zero before the first.
	began   time.Time
	counted int
	warm    bool // the first measurement of way, which says little, is over

	notBefore time.Time // of the next batch, after one that was not decided
	pause     time.Duration
}

func newPace(o Batches, log *zap.Logger) *pace {
	p := &pace{o: o, log: log}
	p.begin(time.Time{})
	return p
}

// begin is the beginning of a session: nothing is known of its server.
func (p *pace) begin(now time.Time) {
	*p = pace{o: p.o, log: p.log, reason: PaceUnmeasured, every: p.o.Again, entered: now, look: now}
	if !p.o.Enabled {
		p.reason = PaceOff
	}
}

// choose says how to send now: together, in batches of up to most, or single when most is 0.
// allowed is what the stream takes, and waiting how many events could go.
func (p *pace) choose(now time.Time, allowed, window, waiting int) (least, most int) {
	switch {
	case !p.o.Enabled:
		return 0, 0
	case allowed < 2:
		p.enter(single, now)
		p.trial, p.reason, p.rates[together] = false, PaceNotAllowed, 0
		return 0, 0
	case p.reason == PaceNotAllowed:
		p.begin(now)
	}
	switch {
	case now.Before(p.notBefore):
		return 0, 0
	case waiting < p.o.Backlog:
		p.began = time.Time{} // what is measured without a backlog is what comes in
	case p.measured(now):
		p.conclude(now)
	}
	if p.trial && now.Sub(p.entered) > trialLimit {
		p.revert(now)
	}
	if p.way == single {
		return 0, 0
	}
	most = min(p.o.Most, allowed, window/2)
	if most < 2 {
		return 0, 0
	}
	return min(p.o.Least, most), most
}

func (p *pace) measured(now time.Time) bool {
	if p.began.IsZero() {
		return false
	}
	took := now.Sub(p.began)
	return took >= p.o.Measure && (p.counted >= measureLeast || took >= 10*p.o.Measure)
}

// conclude ends a measurement.
func (p *pace) conclude(now time.Time) {
	rate := float64(p.counted) / now.Sub(p.began).Seconds()
	p.began, p.counted = time.Time{}, 0
	if !p.warm {
		p.warm = true
		return
	}
	p.rates[p.way] = rate
	enough := p.rates[1-p.way] * slightlyBetter
	if p.way == together {
		enough = p.rates[1-p.way] * clearlyBetter
	}
	switch {
	case p.trial && rate < enough:
		p.revert(now)
	case p.trial:
		p.trial, p.every = false, p.o.Again
		p.look = now.Add(p.every)
		p.decided()
	case !now.Before(p.look):
		p.trial = true
		p.enter(1-p.way, now)
	}
}

// revert ends a trial that was not better.
func (p *pace) revert(now time.Time) {
	p.endTrial(now)
	p.decided()
}

// endTrial goes back to the other way, and says nothing of either.
func (p *pace) endTrial(now time.Time) {
	p.trial = false
	p.enter(1-p.way, now)
	p.look = now.Add(p.every)
	p.every = min(2*p.every, 30*p.o.Again)
}

// decided notes and logs the way that was chosen.
func (p *pace) decided() {
	reason := PaceSingle
	if p.way == together {
		reason = PaceBatch
	}
	if p.reason == reason {
		return
	}
	p.reason, p.detail = reason, ""
	text := "events are published one by one: that gets more through than atomic batches"
	if p.way == together {
		text = "a backlog is published in atomic batches: that gets more through than one by one"
	}
	p.log.Info(text, zap.Int("single_per_second", int(p.rates[single])), zap.Int("batch_per_second", int(p.rates[together])))
}

func (p *pace) enter(w way, now time.Time) {
	if p.way != w {
		p.way, p.entered = w, now
		p.began, p.counted, p.warm = time.Time{}, 0, false
	}
}

// acknowledged notes that n events were stored, alone or as one batch. The first ones of a
// way tell when it began.
func (p *pace) acknowledged(w way, n int, now time.Time) {
	if w == together {
		p.pause = 0
		if p.way == together && !p.trial && p.reason == PaceRefused {
			p.reason, p.detail = PaceBatch, ""
		}
	}
	switch {
	case w != p.way:
	case p.began.IsZero():
		p.began, p.counted = now, 0
	default:
		p.counted += n
	}
}

// refused notes a batch that was not decided: its events go alone, and so do all for a while.
func (p *pace) refused(reason string, now time.Time) {
	p.pause = min(max(2*p.pause, refusedPause), refusedLongest)
	p.notBefore = now.Add(p.pause)
	if p.trial && p.way == together { // a refusal measures nothing
		p.endTrial(now)
	}
	p.began = time.Time{}
	if p.reason != PaceRefused || p.detail != reason {
		p.log.Info("an atomic batch was not stored as a whole; its events are published one by one", zap.String("reason", reason))
	}
	p.reason, p.detail = PaceRefused, reason
}

// PaceReason says why events are sent as they are.
type PaceReason string

const (
	PaceOff        PaceReason = "off"         // publish.batch is off
	PaceNotAllowed PaceReason = "not_allowed" // the stream takes no batches
	PaceUnmeasured PaceReason = "unmeasured"  // there was no backlog to measure with yet
	PaceSingle     PaceReason = "single"      // one by one gets more through
	PaceBatch      PaceReason = "batch"       // batches get more through
	PaceRefused    PaceReason = "refused"     // a batch was not stored as a whole
)

// Publishing says how events are sent.
type Publishing struct {
	// Mode is "batch" when a backlog goes in atomic batches, else "single".
	Mode string `json:"mode"`
	// Reason says why, and Detail what the server had against a batch.
	Reason PaceReason `json:"reason"`
	Detail string     `json:"detail,omitempty"`
	// DetailCode and DetailParams are Detail for other languages, as in Record.
	DetailCode   string            `json:"detail_code,omitempty"`
	DetailParams map[string]string `json:"detail_params,omitempty"`
	// SinglePerSecond and BatchPerSecond are what each way got through when it was last
	// measured with a backlog; 0 when it was not, since the connection began.
	SinglePerSecond int `json:"single_per_second"`
	BatchPerSecond  int `json:"batch_per_second"`
}

// String is for people, in English.
func (p Publishing) String() string {
	switch p.Reason {
	case PaceOff:
		return "one by one: publish.batch is off"
	case PaceNotAllowed:
		return "one by one: the stream takes no atomic batches (allow_atomic)"
	case PaceUnmeasured:
		return "one by one; atomic batches will be tried when events pile up"
	case PaceRefused:
		return fmt.Sprintf("one by one for a while: %s", p.Detail)
	}
	way := "one by one"
	if p.Mode == together.String() {
		way = "a backlog in atomic batches"
	}
	return fmt.Sprintf("%s: measured %d events/s one by one, %d in batches", way, p.SinglePerSecond, p.BatchPerSecond)
}

func (p *pace) publishing() Publishing {
	w := p.way
	if p.trial {
		w = 1 - w
	}
	return Publishing{
		Mode: w.String(), Reason: p.reason, Detail: p.detail,
		SinglePerSecond: int(p.rates[single]), BatchPerSecond: int(p.rates[together]),
	}
}
