package pull

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

var errURL = errors.New("not the address of a polling endpoint: write it like https://api.us.svix.com/api/v1/app/app_…/poller/poll_…")

// CheckURL reports why a URL cannot be pulled from, or nil. Its error does not quote
// the URL, which may hold a secret.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return errURL
	case u.User != nil:
		return errors.New("holds a user: the token goes into pull.token")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("holds a query or a fragment: the address ends with the endpoint's id")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("is http, which would show the token to the network: use https")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// fetchTimeout bounds one fetch, from the connection to the last byte.
const fetchTimeout = 60 * time.Second

// client asks a polling endpoint for pages.
type client struct {
	endpoint *url.URL
	token    string
	http     *http.Client
	maxBytes int64
}

func newClient(endpoint *url.URL, token string, transport http.RoundTripper, maxBytes int64) *client {
	return &client{
		endpoint: endpoint,
		token:    token,
		maxBytes: maxBytes,
		http: &http.Client{
			Transport: transport,
			Timeout:   fetchTimeout,
			// A redirect would carry the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// fetch makes one request. Its error is a *Failure, or that of ctx.
func (c *client) fetch(ctx context.Context, at position, items int) (page, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address(at, items), nil)
	if err != nil {
		return page{}, &Failure{Code: CodeUnreachable, Detail: "pull.url makes no request"}
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "persat-bridge")
	answer, err := c.http.Do(r)
	if err != nil {
		return page{}, unreached(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		// Read what is left of a short body, so that the connection is used again.
		_, _ = io.CopyN(io.Discard, answer.Body, 64<<10)
		return page{}, refused(answer, at, time.Now())
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, c.maxBytes+1))
	switch {
	case err != nil:
		return page{}, unreached(ctx, err)
	case int64(len(body)) > c.maxBytes:
		return page{}, &Failure{Code: CodeTooLarge, Status: answer.StatusCode, Detail: fmt.Sprintf("(%d bytes)", c.maxBytes)}
	}
	p, err := parsePage(body)
	if err != nil {
		detail := err.Error()
		if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err == nil && kind == "text/html" {
			detail = "it answers a web page"
		}
		return page{}, &Failure{Code: CodeNoPage, Status: answer.StatusCode, Detail: detail}
	}
	return p, nil
}

func (c *client) address(at position, items int) string {
	query := url.Values{"limit": {strconv.Itoa(items)}}
	switch after := at.after(); {
	case at.Iterator != "":
		query.Set("iterator", at.Iterator)
	case !after.IsZero():
		query.Set("after", after.UTC().Format(time.RFC3339Nano))
	}
	u := *c.endpoint
	u.RawQuery = query.Encode()
	return u.String()
}

// refused classifies an answer that is not 2xx.
func refused(answer *http.Response, at position, now time.Time) *Failure {
	f := &Failure{Status: answer.StatusCode, RetryAfter: retryAfter(answer.Header.Get("Retry-After"), now)}
	switch code := answer.StatusCode; {
	case code < 400:
		f.Code = CodeMoved
		if to, err := answer.Location(); err == nil {
			f.Detail = (&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String()
		}
	case code == http.StatusUnauthorized:
		f.Code = CodeToken
	case code == http.StatusForbidden:
		f.Code = CodeForbidden
	case code == http.StatusNotFound, code == http.StatusGone:
		f.Code = CodeNotFound
	case code == http.StatusTooManyRequests:
		f.Code = CodeBusy
	case code >= 500:
		f.Code = CodeServer
	case at.Iterator != "" && (code == http.StatusBadRequest || code == http.StatusUnprocessableEntity):
		f.Code = CodeIterator
	default:
		f.Code = CodeRefused
	}
	return f
}

// retryAfter reads seconds or a date; 0 when there is neither.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), int(retryAfterMost.Seconds()))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// unreached classifies a request without a whole answer. An error of net/http quotes
// the URL, so only what it wraps is told.
func unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) || errors.As(err, &unknownAuthority) || errors.As(err, &hostname) || errors.As(err, &invalid) {
		return &Failure{Code: CodeCertificate, Detail: err.Error()}
	}
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return &Failure{Code: CodeUnreachable, Detail: "no answer in time"}
	}
	return &Failure{Code: CodeUnreachable, Detail: err.Error()}
}
