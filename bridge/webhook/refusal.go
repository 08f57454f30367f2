package webhook

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Reason says in one word why a request was not taken. It is the reason label of
// persat_bridge_rejected_total, so the list is closed.
type Reason string

const (
	MissingSignature   Reason = "missing_signature"
	MalformedSignature Reason = "malformed_signature"
	WrongSignature     Reason = "wrong_signature"
	// BadTimestamp: signed well, but too long ago or in the future.
	BadTimestamp Reason = "timestamp"
	// CompressedBody: the signature is of other bytes than a Content-Encoding has made.
	CompressedBody     Reason = "compressed"
	MissingCredentials Reason = "missing_credentials"
	WrongCredentials   Reason = "credentials"
	BadAddress         Reason = "address"
	OverRate           Reason = "rate_limit"
	TooManyInFlight    Reason = "in_flight"
	// TooManyReading: its place was needed for another request, which came later.
	TooManyReading Reason = "reading"
	// NoBodyMemory: large bodies hold all the memory that they may.
	NoBodyMemory   Reason = "body_memory"
	BodyTooLarge   Reason = "too_large"
	BodyIncomplete Reason = "incomplete_body"
	JournalFull    Reason = "journal_full"
	JournalFailed  Reason = "journal_failed"
	// JournalStalled: the disk does not answer.
	JournalStalled Reason = "journal_stalled"
	// NotInStream: it is on disk, but JetStream has not acknowledged it in time, and
	// the configuration asks for that.
	NotInStream Reason = "not_in_stream"
	// Stopping: this server drains, or the bridge behind it does.
	Stopping Reason = "stopping"
	// NotAccepted: Accept did not take it in time, or for another reason.
	NotAccepted Reason = "not_accepted"
	Panicked    Reason = "panic"
	NotFound    Reason = "not_found"
	WrongMethod Reason = "method"
)

var reasons = []Reason{
	MissingSignature, MalformedSignature, WrongSignature, BadTimestamp, CompressedBody, MissingCredentials, WrongCredentials,
	BadAddress, OverRate, TooManyInFlight, TooManyReading, NoBodyMemory, BodyTooLarge, BodyIncomplete,
	JournalFull, JournalFailed, JournalStalled, NotInStream, Stopping, NotAccepted, Panicked, NotFound, WrongMethod,
}

// refusal is every answer that is not a 2xx. It is an error inside the handlers
// and becomes a response in one place, Server.refuse.
type refusal struct {
	code   int
	reason Reason
	// text goes to the sender, whose portal shows it to people: short, and
	// nothing internal.
	text string
	// retryAfter in seconds, or 0 for none.
	retryAfter int
	// closes the connection: what is left of the body is not worth reading.
	closes bool
	// cut: reading the body has failed, and nothing more of it is worth waiting for.
	cut bool
	// challenge is the WWW-Authenticate header of a 401.
	challenge string
	// at is the time that a signed request gives itself.
	at time.Time
	// detail is for the log of this host, never for the sender.
	detail string
}

func (r *refusal) Error() string { return r.text }

// notTaken is the answer to an error of Accept.
func notTaken(err error) *refusal {
	r := &refusal{code: http.StatusServiceUnavailable, retryAfter: 5, detail: err.Error()}
	switch {
	case errors.Is(err, bridge.ErrFull):
		// Room comes back at the pace of an operator or of NATS.
		r.reason, r.text, r.retryAfter = JournalFull, "no room for events at the moment", 30
	case errors.Is(err, bridge.ErrStopping):
		r.reason, r.text = Stopping, "shutting down"
	case errors.Is(err, bridge.ErrFailed):
		r.reason, r.text = JournalFailed, "events cannot be kept at the moment"
	case errors.Is(err, bridge.ErrStalled):
		r.reason, r.text = JournalStalled, "events cannot be kept at the moment"
	case errors.Is(err, bridge.ErrNotAcknowledged):
		r.reason, r.text = NotInStream, "kept, but not yet in the stream"
	case errors.Is(err, context.DeadlineExceeded):
		r.reason, r.text = NotAccepted, "not accepted in time"
	default:
		r.reason, r.text = NotAccepted, "not accepted"
	}
	return r
}

// unauthenticated is the answer to a verdict that is not OK.
func unauthenticated(v Verdict) *refusal {
	r := &refusal{code: http.StatusUnauthorized, reason: v.Reason, detail: v.Detail, at: v.At}
	switch v.Reason {
	case MissingSignature:
		r.code, r.text = http.StatusBadRequest, "signature headers missing"
	case MalformedSignature:
		r.code, r.text = http.StatusBadRequest, "signature headers malformed"
	case BadTimestamp:
		r.text = "timestamp outside the tolerance"
	case MissingCredentials:
		r.text = "credentials missing"
	case WrongCredentials:
		r.text = "credentials wrong"
	default:
		r.text = "signature wrong"
	}
	return r
}
