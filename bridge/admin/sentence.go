package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Level says how a bridge is.
type Level string

// The levels, from well to not.
const (
	Good Level = "good" // all is published as it comes
	Warn Level = "warn" // somebody has to look
	Bad  Level = "bad"  // events are refused, or some are lost for good
)

// Sentence is a Status in one sentence, with what to do about it. The page says it in its
// own language, so it is codes with their parameters; Text and Advice are English.
type Sentence struct {
	Level Level  `json:"level"`
	Head  Phrase `json:"head"`
	// Facts follow the head. Remedies are what to do, the most urgent one alone, with
	// the reason that NATS gives, when there is one.
	Facts    []Phrase `json:"facts"`
	Remedies []Phrase `json:"remedies"`
	Text     string   `json:"text"`
	Advice   string   `json:"advice"`
}

// Phrase is a part of a Sentence: a code, and the one parameter that it has.
type Phrase struct {
	Code   string     `json:"code"`
	Count  int64      `json:"count,omitempty"`
	At     *time.Time `json:"at,omitempty"`
	Reason string     `json:"reason,omitempty"`
}

// behindAfter is how old the oldest pending event may be while all goes well.
const behindAfter = 15 * time.Second

// NewSentence derives the sentence. Times in its texts are in the given zone.
func NewSentence(s bridge.Status, zone *time.Location) Sentence {
	d := derivation{status: s, level: Good, head: "publishing", remedies: []Phrase{}}
	d.derive()
	sentence := Sentence{Level: d.level, Head: Phrase{Code: d.head}, Facts: d.facts, Remedies: d.remedies}
	facts := make([]string, len(d.facts))
	for i, p := range d.facts {
		facts[i] = p.english(s.Time, zone)
	}
	remedies := make([]string, len(d.remedies))
	for i, p := range d.remedies {
		remedies[i] = p.english(s.Time, zone)
	}
	sentence.Text = sentence.Head.english(s.Time, zone) + "; " + strings.Join(facts, ", ")
	sentence.Advice = strings.Join(remedies, " ")
	return sentence
}

// derivation is a Sentence in the making.
type derivation struct {
	status   bridge.Status
	level    Level
	head     string
	facts    []Phrase
	remedies []Phrase
}

func (d *derivation) fact(p Phrase) { d.facts = append(d.facts, p) }

// warn sets what is to be done, unless something more urgent is.
func (d *derivation) warn(remedies ...Phrase) {
	d.level = Warn
	if len(d.remedies) == 0 {
		d.remedies = remedies
	}
}

func (d *derivation) derive() {
	s := d.status
	oldest := oldestPending(s)
	behind := oldest != nil && s.Time.Sub(*oldest) > behindAfter
	var held int64
	for _, h := range s.Held {
		held += int64(h.Waiting)
	}
	waiting := []Phrase{{Code: "waiting", Count: int64(s.Pending)}}
	if behind {
		waiting = append(waiting, Phrase{Code: "oldest", At: oldest})
	}
	switch {
	case !s.NATS.Up:
		d.head = "accepting"
		d.natsAway()
		d.facts = append(d.facts, waiting...)
	case held > 0:
		d.head = "accepting"
		d.warn(Phrase{Code: "advice_held"})
		d.facts = append(d.facts, waiting...)
	case behind:
		d.warn(Phrase{Code: "advice_behind"})
		d.facts = append(d.facts, waiting...)
	default:
		d.fact(Phrase{Code: "nothing_waiting"})
	}
	if held > 0 {
		d.fact(Phrase{Code: "held_some", Count: held})
	}
	if s.StreamMissing {
		d.warn(Phrase{Code: "advice_stream"})
		d.fact(Phrase{Code: "stream_missing"})
	}
	if s.Dead > 0 {
		d.warn(Phrase{Code: "advice_dead"})
		d.fact(Phrase{Code: "dead_some", Count: int64(s.Dead)})
	}
	if !s.Accepting {
		d.level, d.head, d.remedies = Bad, "refusing", []Phrase{{Code: "advice_refusing", Reason: s.Refusing}}
	}
	switch {
	case s.Gone > 0:
		d.level = Bad
		d.fact(Phrase{Code: "gone_some", Count: s.Gone})
	case d.level != Good:
		d.fact(Phrase{Code: "nothing_lost"})
	}
}

func (d *derivation) natsAway() {
	link := d.status.NATS
	if link.Since.IsZero() { // the first attempt has not ended
		d.warn()
		d.fact(Phrase{Code: "nats_connecting"})
		return
	}
	since := link.Since
	d.fact(Phrase{Code: "nats_away", At: &since})
	if link.Attempts > 0 {
		d.warn(Phrase{Code: "advice_nats"}, Phrase{Code: "advice_reason", Reason: link.Reason})
	} else {
		d.warn(Phrase{Code: "advice_nats"})
	}
}

func oldestPending(s bridge.Status) (oldest *time.Time) {
	for _, source := range s.Sources {
		if at := source.OldestPending; at != nil && (oldest == nil || at.Before(*oldest)) {
			oldest = at
		}
	}
	return oldest
}

// english are the words of each code; those of the page are in page/words.js.
var english = map[string]func(p Phrase, at string) string{
	"publishing":      say("Accepting and publishing"),
	"accepting":       say("Accepting"),
	"refusing":        say("Not accepting events"),
	"nats_away":       func(_ Phrase, at string) string { return "NATS away since " + at },
	"nats_connecting": say("connecting to NATS"),
	"waiting":         plural("event waiting", "events waiting"),
	"oldest":          func(_ Phrase, at string) string { return "the oldest since " + at },
	"nothing_waiting": say("nothing waiting"),
	"held_some":       plural("held", "held"),
	"stream_missing":  say("the stream is missing"),
	"dead_some":       plural("dead letter to decide on", "dead letters to decide on"),
	"gone_some":       plural("event lost by the stream and no longer kept here", "events lost by the stream and no longer kept here"),
	"nothing_lost":    say("nothing lost"),
	"advice_nats":     say("Bring NATS back. Events are taken and wait on this disk; they go by themselves, in order, when it answers."),
	"advice_reason":   func(p Phrase, _ string) string { return "Last attempt: " + p.Reason + "." },
	"advice_refusing": func(p Phrase, _ string) string {
		return p.Reason + ". Senders get a 503 and repeat for more than a day, so nothing is lost yet."
	},
	"advice_held":   say("Repair what is named under “Held”. Its events, and later ones of the same entities, wait and then go by themselves."),
	"advice_stream": say("NATS does not find the stream, and the bridge does not create it again by itself: see the notice."),
	"advice_dead":   say("Look at each reason. Replay what has been repaired, discard what nobody needs."),
	"advice_behind": say("Publishing is slower than accepting. Look at the end-to-end latency and at the load of NATS."),
}

func say(text string) func(Phrase, string) string {
	return func(Phrase, string) string { return text }
}

func plural(one, many string) func(Phrase, string) string {
	return func(p Phrase, _ string) string {
		if p.Count == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", p.Count, many)
	}
}

func (p Phrase) english(now time.Time, zone *time.Location) string {
	at := ""
	if p.At != nil {
		at = Clock(*p.At, now, zone)
	}
	return english[p.Code](p, at)
}

// Clock is a time as people read it: without the day when that is today's.
func Clock(t, now time.Time, zone *time.Location) string {
	t, now = t.In(zone), now.In(zone)
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}
