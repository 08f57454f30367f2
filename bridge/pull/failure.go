package pull

import (
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Code says what kind of failure a fetch ended in.
type Code string

const (
	CodeToken       Code = "token_refused"     // 401
	CodeForbidden   Code = "token_forbidden"   // 403
	CodeNotFound    Code = "endpoint_unknown"  // 404, 410
	CodeMoved       Code = "endpoint_moved"    // a redirect, which is not followed
	CodeCertificate Code = "certificate"       // TLS does not verify
	CodeNoPage      Code = "answer_is_no_page" // 2xx, and not as documented
	CodeRepeats     Code = "page_repeats"      // the endpoint gives the same page again
	CodeTooLarge    Code = "page_too_large"    // beyond MaxPageBytes with one item asked for
	CodeIterator    Code = "iterator_unknown"  // 400 or 422 for a position that it gave itself
	CodeRefused     Code = "request_refused"   // another 4xx
	CodeBusy        Code = "endpoint_busy"     // 429
	CodeServer      Code = "endpoint_failing"  // 5xx
	CodeUnreachable Code = "endpoint_unreachable"
)

// Failure is a fetch that brought no page. Its text holds neither the token nor what
// the endpoint answered.
type Failure struct {
	Code Code
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Detail says more for some codes: where the endpoint has moved, what is wrong
	// with the page or the connection.
	Detail string
	// RetryAfter is what the endpoint asks for; 0 when it does not.
	RetryAfter time.Duration
}

func (f *Failure) Error() string {
	switch f.Code {
	case CodeToken:
		return "the polling endpoint refuses the token (401): copy the endpoint's key whole from the sender's portal into pull.token"
	case CodeForbidden:
		return "the polling endpoint does not allow this token (403): pull.token has to be the key of the endpoint in pull.url"
	case CodeNotFound:
		return fmt.Sprintf("there is no polling endpoint at pull.url (%d): copy the URL from the sender's portal", f.Status)
	case CodeMoved:
		return "the polling endpoint has moved" + f.detail(" to ") + ": if that address is the sender's, set pull.url to it"
	case CodeCertificate:
		return "the polling endpoint's certificate does not verify" + f.detail(": ") + ": check pull.url and this host's certificates (ca-certificates) and clock"
	case CodeNoPage:
		return "pull.url does not answer as a polling endpoint" + f.detail(": ") + ": copy the URL from the sender's portal"
	case CodeRepeats:
		return "the polling endpoint gives the same page again and says that there is more: ask the sender"
	case CodeTooLarge:
		return "one item of the polling endpoint is larger than a page may be" + f.detail(" ")
	case CodeIterator:
		return fmt.Sprintf("the polling endpoint does not know the position (%d)", f.Status)
	case CodeRefused:
		return fmt.Sprintf("the polling endpoint refuses the request (%d)", f.Status)
	case CodeBusy:
		return "the polling endpoint asks to wait (429)"
	case CodeServer:
		return fmt.Sprintf("the polling endpoint fails (%d)", f.Status)
	}
	return "the polling endpoint is not reached" + f.detail(": ")
}

func (f *Failure) detail(before string) string {
	if f.Detail == "" {
		return ""
	}
	return before + f.Detail
}

// Held says that an operator has to act; the other failures pass.
func (f *Failure) Held() bool {
	switch f.Code {
	case CodeBusy, CodeServer, CodeUnreachable:
		return false
	}
	return true
}

// wait is how long not to fetch after the failure.
func (f *Failure) wait(b backoff.BackOff) time.Duration {
	next := min(b.NextBackOff(), failedMost)
	if f.RetryAfter > 0 {
		return min(f.RetryAfter, retryAfterMost)
	}
	return next
}
