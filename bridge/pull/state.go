package pull

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Status is how the pulling of one source goes.
type Status struct {
	Source string `json:"source"`
	// State is "pulling", "caught_up", "failing" (passes by itself), "held" (an operator
	// has to act) or "refused" (the journal takes nothing).
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Code and Text say why, in the states failing, held and refused.
	Code Code   `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
	// LastItem is when the newest item that is on disk was sent.
	LastItem   *time.Time `json:"last_item,omitempty"`
	Accepted   int        `json:"accepted"`
	Duplicates int        `json:"duplicates"`
	// Quarantined items are dead letters.
	Quarantined int `json:"quarantined"`
}

// The states of a Status.
const (
	StatePulling  = "pulling"
	StateCaughtUp = "caught_up"
	StateFailing  = "failing" // passes by itself
	StateHeld     = "held"    // an operator has to act
	StateRefused  = "refused" // the journal takes nothing
)

// CodeJournal: the journal takes nothing at the moment.
const CodeJournal Code = "journal_refuses"

// state is Status, and what the log knows of it.
type state struct {
	mu     sync.Mutex
	status Status
	fetch  Failure // the fetch's last failure; no Code: it works
	full   bool    // the journal refuses
	// notice tells an operator of a failure that lasts; noticed says that it has.
	notice  func(text string)
	noticed bool
}

// noticeAfter is how long a failure that passes by itself lasts before an operator is
// told. One that an operator has to mend is told at once.
const noticeAfter = 2 * time.Minute

func (s *state) begin(source string, notice func(string), now time.Time) {
	s.status, s.notice = Status{Source: source, State: StatePulling, Since: now}, notice
}

// failed notes a failed fetch. The log gets the first, and the first of another kind.
func (s *state) failed(f *Failure, now time.Time, log *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.fetch.Code == f.Code
	s.fetch = *f
	if again {
		s.status.Text = f.Error()
	} else {
		state := StateFailing
		if f.Held() {
			state = StateHeld
		}
		s.become(state, f.Code, f.Error(), now)
		log.Warn("pulling has stopped; the bridge keeps trying", zap.String("code", string(f.Code)), zap.Error(f))
	}
	if f.Held() || now.Sub(s.status.Since) >= noticeAfter {
		s.noticed = true
		s.notice("source " + s.status.Source + " has not been pulled since " + s.status.Since.UTC().Format(time.RFC3339) + ": " + f.Error())
	}
}

// worked notes a fetch that brought a page.
func (s *state) worked(now time.Time, log *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetch.Code != "" {
		log.Info("pulling goes on", zap.Duration("after", now.Sub(s.status.Since).Round(time.Millisecond)))
		s.fetch = Failure{}
		if s.noticed {
			s.noticed = false
			s.notice("")
		}
	}
	if s.status.State != StateRefused {
		s.become(StatePulling, "", "", now)
	}
}

func (s *state) caughtUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.State == StatePulling {
		s.become(StateCaughtUp, "", "", time.Now())
	}
}

// refused notes that the journal took nothing.
func (s *state) refused(err error, now time.Time, log *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.full {
		log.Warn("pulling waits: the journal takes no events; the endpoint keeps the rest", zap.Error(err))
	}
	s.full = true
	s.become(StateRefused, CodeJournal, err.Error(), now)
}

// taken notes that the journal took all it was given.
func (s *state) taken(log *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		s.full = false
		log.Info("pulling goes on: the journal takes events again")
		s.become(StatePulling, "", "", time.Now())
	}
}

// become is a change of state; Since is that of the first of equal ones.
func (s *state) become(state string, code Code, text string, now time.Time) {
	if s.status.State != state || s.status.Code != code {
		s.status.Since = now
	}
	s.status.State, s.status.Code, s.status.Text = state, code, text
}

func (s *state) counted(o bridge.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o {
	case bridge.Accepted:
		s.status.Accepted++
	case bridge.Duplicate:
		s.status.Duplicates++
	case bridge.Quarantined:
		s.status.Quarantined++
	}
}

// reached notes the newest item on disk.
func (s *state) reached(newest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.status.LastItem; !newest.IsZero() && (last == nil || newest.After(*last)) {
		s.status.LastItem = &newest
	}
}

// Status returns a copy, and never waits for the endpoint or the disk.
func (p *Puller) Status() Status {
	p.state.mu.Lock()
	defer p.state.mu.Unlock()
	return p.state.status
}

// lag is how far the newest item on disk is behind; 0 when the endpoint had no more.
func (p *Puller) lag(now time.Time) time.Duration {
	s := p.Status()
	if s.State == StateCaughtUp {
		return 0
	}
	since := s.Since
	if s.LastItem != nil {
		since = *s.LastItem
	}
	return max(now.Sub(since), 0)
}
