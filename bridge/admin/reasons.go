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
		e := reason.Explain(h.Reason)
		h.ReasonCode, h.ReasonParams = e.Code, e.Params
	}
	if s.LastFailure != nil {
		s.LastFailure = &explainedAttempts([]bridge.FailedAttempt{*s.LastFailure})[0]
	}
	return s
}

func explainedAttempts(attempts []bridge.FailedAttempt) []bridge.FailedAttempt {
	for i := range attempts {
		a := &attempts[i]
		e := reason.Explain(a.Reason)
		a.ReasonCode, a.ReasonParams = e.Code, e.Params
	}
	return attempts
}

// explain adds to records the codes of their reasons.
func explain(records []bridge.Record) {
	for i := range records {
		r := &records[i]
		if r.Reason != "" {
			e := reason.Explain(r.Reason)
			r.ReasonCode, r.ReasonParams = e.Code, e.Params
		}
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
