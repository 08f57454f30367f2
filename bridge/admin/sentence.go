package admin

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/reason"
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
	// Facts follow the head, the worst one first. Remedies are what to do, the most urgent
	// one alone, with the reason, when there is one; behind a refusal of events stands
	// what keeps them from NATS.
	Facts    []Phrase `json:"facts"`
	Remedies []Phrase `json:"remedies"`
	Text     string   `json:"text"`
	Advice   string   `json:"advice"`
}

// Phrase is a part of a Sentence: a code, and the parameters that it has.
type Phrase struct {
	Code  string     `json:"code"`
	Count int64      `json:"count,omitempty"`
	At    *time.Time `json:"at,omitempty"`
	// Refused and Queued are parts of Count.
	Refused int64   `json:"refused,omitempty"`
	Queued  int64   `json:"queued,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	reason.Explanation
}

const (
	// behindAfter is how old the oldest pending event may be while all goes well.
	behindAfter = 15 * time.Second
	// publishedWithin is how long ago an event may have been published when events are
	// said to be published, while some wait. The age of the oldest is known to the second.
	publishedWithin = 3 * time.Second
	// fillingFrom is the part of its limit from which the journal is worth a word, and
	// nearlyFull that from which it is worth a warning though no event waits.
	fillingFrom, nearlyFull = 0.8, 0.95
)

// NewSentence derives the sentence. The requests that were refused are in it until the first
// event has arrived: later ones may be anybody's. Times in its texts are in the given zone.
func NewSentence(s bridge.Status, refused []RefusedRequests, zone *time.Location) Sentence {
	d := derivation{status: s, level: Good, head: "publishing", remedies: []Phrase{}}
	for _, r := range refused {
		d.refused += int64(r.Count)
	}
	d.derive()
	for i := range d.remedies {
		d.remedies[i].Explanation = reason.Explain(d.remedies[i].Reason)
	}
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
	refused  int64 // requests
	level    Level
	head     string
	facts    []Phrase
	remedies []Phrase
}

func (d *derivation) fact(p Phrase) { d.facts = append(d.facts, p) }

// warn sets what is to be done, unless something more urgent is.
func (d *derivation) warn(remedies ...Phrase) {
	if d.level == Good {
		d.level = Warn
	}
	if len(d.remedies) == 0 && len(remedies) > 0 {
		d.remedies = remedies
	}
}

func (d *derivation) derive() {
	s := d.status
	oldest := oldestPending(s)
	behind := oldest != nil && s.Time.Sub(*oldest) > behindAfter
	full := share(s)
	if s.Gone > 0 {
		d.level = Bad
		d.fact(Phrase{Code: "gone_some", Count: s.Gone})
	}
	if s.StreamMissing {
		d.fact(Phrase{Code: "stream_missing"})
	}
	switch {
	case !s.NATS.Up:
		d.head = "accepting"
		d.natsAway()
		d.waiting()
		d.oldest(oldest, behind)
	case s.StreamMissing:
		d.head = "accepting"
		d.warn(Phrase{Code: "advice_stream"})
		d.waiting()
		d.oldest(oldest, behind)
	case len(s.Held) > 0:
		d.head = "accepting"
		d.warn(Phrase{Code: "advice_held"}, Phrase{Code: "advice_answer", Reason: firstReason(s.Held)})
		d.waiting()
		d.oldest(oldest, behind)
	case s.Pending > 0 && !published(s, oldest):
		d.head = "accepting"
		d.waiting()
		failed := s.LastFailure
		fails := failed != nil && (s.LastPublished == nil || failed.At.After(*s.LastPublished))
		if !fails && !behind { // a moment is no fault
			d.fact(Phrase{Code: "oldest_for", Seconds: s.Time.Sub(*oldest).Seconds()})
			break
		}
		d.oldest(oldest, behind)
		d.fact(Phrase{Code: "nothing_published", At: s.LastPublished})
		if fails {
			d.warn(Phrase{Code: "advice_failing", Reason: failed.Reason})
		} else {
			d.behind(full)
		}
	case behind:
		d.behind(full)
		d.waiting()
		d.oldest(oldest, behind)
	case s.Pending == 0 && s.Accepted == 0:
		d.head = "ready"
		d.fact(Phrase{Code: "none_arrived"})
		if d.refused > 0 {
			d.fact(Phrase{Code: "refused_requests", Count: d.refused})
			d.warn(Phrase{Code: "advice_requests"})
		}
	default:
		d.fact(Phrase{Code: "nothing_waiting"})
	}
	if s.Gone > 0 && len(d.remedies) == 0 {
		d.remedies = []Phrase{{Code: "advice_gone", Count: s.Gone}}
	}
	if full >= fillingFrom {
		d.filling(full, behind)
	}
	if s.Dead > 0 {
		d.warn(Phrase{Code: "advice_dead"})
		d.fact(Phrase{Code: "dead_some", Count: int64(s.Dead)})
	}
	if full >= fillingFrom && d.level == Good {
		d.remedies = []Phrase{{Code: "advice_early"}}
	}
	if !s.Accepting {
		d.refusing()
	}
	// Of a missing stream it is not known what is lost, nor of a request that was refused.
	if d.level != Good && s.Gone == 0 && !s.StreamMissing && d.head != "ready" {
		d.fact(Phrase{Code: "nothing_lost"})
	}
}

// waiting adds how many events wait, and how many of them are refused or stand behind
// such ones.
func (d *derivation) waiting() {
	s := d.status
	if s.Pending == 0 {
		d.fact(Phrase{Code: "nothing_waiting"})
		return
	}
	waiting := Phrase{Code: "waiting", Count: int64(s.Pending)}
	if s.NATS.Up && len(s.Held) > 0 {
		waiting.Refused, waiting.Queued = int64(min(s.Refused, s.Pending)), int64(min(s.Queued, max(s.Pending-s.Refused, 0)))
	}
	if waiting.Refused > 0 {
		waiting.Code = "waiting_refused"
	}
	d.fact(waiting)
}

// behind warns of events that wait for long though nothing is known to keep them.
func (d *derivation) behind(full float64) {
	if full >= fillingFrom {
		d.warn(Phrase{Code: "advice_filling"})
		return
	}
	d.warn(Phrase{Code: "advice_behind"})
}

// filling adds how full the journal is. While no event waits for long, the oldest published
// events make room, so that only a journal which is nearly full in spite of that is worth a
// warning.
func (d *derivation) filling(full float64, behind bool) {
	p := Phrase{Code: "filling", Count: int64(100 * full)}
	if room := d.status.JournalRoom; behind && room != nil {
		p.Code, p.Seconds = "filling_until", *room
	}
	switch {
	case behind:
		d.warn(Phrase{Code: "advice_filling"})
	case full > nearlyFull:
		d.warn(Phrase{Code: "advice_nearly_full"})
	}
	d.fact(p)
}

// refusing says why events are refused, and what keeps them from being published.
func (d *derivation) refusing() {
	s := d.status
	remedies := []Phrase{{Code: "advice_refusing", Reason: s.Refusing}}
	switch {
	case !s.NATS.Up && !s.NATS.Since.IsZero():
		remedies = append(remedies, Phrase{Code: "advice_nats_back"})
		if s.NATS.Attempts > 0 {
			remedies = append(remedies, Phrase{Code: "advice_reason", Reason: s.NATS.Reason})
		}
	case s.NATS.Up && len(s.Held) > 0:
		remedies = append(remedies, d.remedies...)
	}
	d.level, d.head, d.remedies = Bad, "refusing", remedies
}

// oldest adds since when the oldest event waits, when that is long.
func (d *derivation) oldest(at *time.Time, behind bool) {
	if behind {
		d.fact(Phrase{Code: "oldest", At: at})
	}
}

// published says whether events are being published while some wait: one was a moment
// ago, or none has waited for longer than that.
func published(s bridge.Status, oldest *time.Time) bool {
	return s.LastPublished != nil && s.Time.Sub(*s.LastPublished) <= publishedWithin || oldest == nil || s.Time.Sub(*oldest) <= publishedWithin
}

// firstReason is the reason for which the most events are held.
func firstReason(held []bridge.HeldSubject) string {
	waiting := make(map[string]int)
	most := held[0].Reason
	for _, h := range held {
		if waiting[h.Reason] += h.Waiting; waiting[h.Reason] > waiting[most] {
			most = h.Reason
		}
	}
	return most
}

// share is the used part of the journal's limit; 0 without one.
func share(s bridge.Status) float64 {
	if s.JournalLimit <= 0 {
		return 0
	}
	return float64(s.JournalBytes) / float64(s.JournalLimit)
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
	"publishing":       say("Accepting and publishing"),
	"ready":            say("Ready"),
	"none_arrived":     say("no event has arrived yet"),
	"refused_requests": plural("request was refused", "requests were refused"),
	"accepting":        say("Accepting"),
	"refusing":         say("Not accepting events"),
	"nats_away":        func(_ Phrase, at string) string { return "NATS away since " + at },
	"nats_connecting":  say("connecting to NATS"),
	"waiting":          plural("event waiting", "events waiting"),
	"oldest":           func(_ Phrase, at string) string { return "the oldest since " + at },
	"oldest_for":       func(p Phrase, _ string) string { return "the oldest for " + spell(p.Seconds) },
	"nothing_waiting":  say("nothing waiting"),
	"waiting_refused": func(p Phrase, at string) string {
		text := fmt.Sprintf("%s: %d refused", plural("event waiting", "events waiting")(p, at), p.Refused)
		if p.Queued > 0 {
			text += fmt.Sprintf(", %d queued behind them", p.Queued)
		}
		return text
	},
	"nothing_published": func(p Phrase, at string) string {
		if p.At == nil {
			return "nothing published yet"
		}
		return "nothing published since " + at
	},
	"filling": func(p Phrase, _ string) string { return fmt.Sprintf("the journal is %d %% full", p.Count) },
	"filling_until": func(p Phrase, _ string) string {
		return fmt.Sprintf("the journal is %d %% full, room for %s at the present rate", p.Count, spell(p.Seconds))
	},
	"stream_missing": say("the stream is missing"),
	"dead_some":      plural("dead letter to decide on", "dead letters to decide on"),
	"gone_some": func(p Phrase, at string) string {
		return "the stream has lost " + plural("event", "events")(p, at) + " that the bridge no longer keeps"
	},
	"nothing_lost":     say("nothing lost"),
	"advice_nats":      say("Bring NATS back. Events are taken and wait on this disk; they go by themselves, in order, when it answers."),
	"advice_nats_back": say("Bring NATS back."),
	"advice_reason":    func(p Phrase, _ string) string { return "Last attempt: " + p.Reason + "." },
	"advice_refusing": func(p Phrase, _ string) string {
		return capital(p.Reason) + ". Senders get a 503 and repeat for more than a day, so nothing is lost yet."
	},
	"advice_held":   say("Repair what NATS refuses events for. They, and later ones of the same entities, wait on this disk and then go by themselves."),
	"advice_answer": func(p Phrase, _ string) string { return "Reason: " + p.Reason + "." },
	"advice_failing": func(p Phrase, _ string) string {
		return "Publishing fails and is tried again; events wait on this disk. If it lasts, look into NATS for this error: " + p.Reason + "."
	},
	"advice_filling":     say("See why events wait (NATS, its load, what it refuses), or raise journal.max_bytes and restart. From 90 % on, published events are dropped before journal.retention; at 100 % senders get a 503."),
	"advice_early":       say("Nothing is in danger: from 90 % on, the oldest published events are dropped before journal.retention ends. To keep them longer, raise journal.max_bytes and restart."),
	"advice_nearly_full": say("Dropping published events does not make enough room. Decide on the dead letters, or raise journal.max_bytes and restart. At 100 % senders get a 503."),
	"advice_gone": func(p Phrase, _ string) string {
		if p.Count == 1 {
			return "The lost event cannot be published again from here: ask the sender to send it again; see the notice."
		}
		return "The lost events cannot be published again from here: ask the sender to send them again; see the notice."
	},
	"advice_stream":   say("NATS does not find the stream, and the bridge does not create it again by itself: see the notice."),
	"advice_requests": say("See below why requests were refused: the secrets of sender and bridge may differ."),
	"advice_dead":     say("Look at each reason and decide: replay what can be published, have the rest sent again, or discard."),
	"advice_behind":   say("Events wait longer than usual. After an outage this passes by itself; if the number grows, look at the end-to-end latency and at the load of NATS."),
}

// spell is a time in its largest unit.
func spell(seconds float64) string {
	for _, unit := range []struct {
		name string
		size float64
	}{{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}} {
		if seconds >= 2*unit.size || unit.size == 1 {
			return fmt.Sprintf("%.0f %s", seconds/unit.size, unit.name)
		}
	}
	return ""
}

// capital begins a sentence with a reason.
func capital(text string) string {
	_, size := utf8.DecodeRuneInString(text)
	return strings.ToUpper(text[:size]) + text[size:]
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
