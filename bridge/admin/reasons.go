package admin

import (
	"encoding/json"
	"slices"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/reason"
)

// explained is a status with the codes of its reasons. What the bridge has given is shared
// with others, and stays as it is.
func explained(s bridge.Status) bridge.Status {
	s.Held = slices.Clone(s.Held)
	for i := range s.Held {
		h := &s.Held[i]
		h.ReasonCode, h.ReasonParams = codeOf(h.Reason)
	}
	if s.LastFailure != nil {
		s.LastFailure = &explainedAttempts([]bridge.FailedAttempt{*s.LastFailure})[0]
	}
	s.NATS.ReasonCode, s.NATS.ReasonParams = codeOf(s.NATS.Reason)
	s.Publishing.DetailCode, s.Publishing.DetailParams = codeOf(s.Publishing.Detail)
	s.Replay = explainedReplay(s.Replay)
	return s
}

func codeOf(text string) (code string, params map[string]string) {
	if text == "" {
		return "", nil
	}
	e := reason.Explain(text)
	return e.Code, e.Params
}

func explainedReplay(r *bridge.Replay) *bridge.Replay {
	if r == nil {
		return nil
	}
	replay := *r
	replay.ReasonCode, replay.ReasonParams = codeOf(r.Reason)
	return &replay
}

// reasonsOf are the codes of texts, in their order.
func reasonsOf(texts []string) []reason.Explanation {
	explanations := make([]reason.Explanation, len(texts))
	for i, text := range texts {
		explanations[i] = reason.Explain(text)
	}
	return explanations
}

func explainedAttempts(attempts []bridge.FailedAttempt) []bridge.FailedAttempt {
	for i := range attempts {
		a := &attempts[i]
		a.ReasonCode, a.ReasonParams = codeOf(a.Reason)
	}
	return attempts
}

// explain adds to records the codes of their reasons.
func explain(records []bridge.Record) {
	for i := range records {
		r := &records[i]
		r.ReasonCode, r.ReasonParams = codeOf(r.Reason)
		explainedAttempts(r.Failures)
	}
}

// reasonsFile is a module of the page: the Spanish texts of the reasons, by their codes.
func reasonsFile() ([]byte, error) {
	texts, err := json.MarshalIndent(reason.Spanish(), "", "  ")
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte("// The reasons of the API in Spanish; in English they are the API's own.\n\nexport const reasons = "), texts, []byte(";\n")), nil
}
