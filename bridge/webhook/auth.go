package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Auth is how a source proves who it is.
type Auth string

const (
	// AuthSvix: a Standard Webhooks signature over the body. The only one that
	// protects the body itself.
	AuthSvix Auth = "svix"
	// AuthBasic: HTTP Basic, as in https://user:password@host/.
	AuthBasic Auth = "basic"
	// AuthHeader: a header with a secret value.
	AuthHeader Auth = "header"
	// AuthNone: everyone who reaches the listener is the sender.
	AuthNone Auth = "none"
)

// authenticator judges whether a request is the sender's. It is used by many
// requests at once and replaced as a whole when secrets change.
type authenticator interface {
	check(r *http.Request, body []byte, now time.Time) Verdict
}

// newAuthenticator decodes the secrets, once, into what check compares with.
func newAuthenticator(auth Auth, secrets []string, tolerance time.Duration) (authenticator, error) {
	if auth != AuthNone && len(secrets) == 0 {
		return nil, fmt.Errorf("auth %s needs a secret", auth)
	}
	switch auth {
	case AuthSvix:
		keys, err := ParseSecrets(secrets)
		return svixAuth{keys, tolerance}, err
	case AuthBasic:
		return newBasicAuth(secrets)
	case AuthHeader:
		return newHeaderAuth(secrets)
	case AuthNone:
		if len(secrets) > 0 {
			return nil, errors.New("auth none has secrets that nothing would check")
		}
		return noAuth{}, nil
	}
	return nil, fmt.Errorf("auth %q is not svix, basic, header or none", auth)
}

type svixAuth struct {
	keys      Keys
	tolerance time.Duration
}

func (a svixAuth) check(r *http.Request, body []byte, now time.Time) Verdict {
	return a.keys.Verify(r.Header, body, now, a.tolerance)
}

// digest hides the length of a secret from the comparison.
type digest [sha256.Size]byte

func (d digest) equals(s string) int {
	got := sha256.Sum256([]byte(s))
	return subtle.ConstantTimeCompare(got[:], d[:])
}

type basicAuth []struct{ user, password digest }

func newBasicAuth(secrets []string) (basicAuth, error) {
	a := make(basicAuth, len(secrets))
	var errs []error
	for i, secret := range secrets {
		user, password, _ := strings.Cut(secret, ":")
		if user == "" || password == "" {
			errs = append(errs, fmt.Errorf("secret %d is not user:password", i+1))
		}
		a[i].user, a[i].password = sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	}
	return a, errors.Join(errs...)
}

func (a basicAuth) check(r *http.Request, _ []byte, _ time.Time) Verdict {
	given := r.Header["Authorization"]
	if len(given) == 0 {
		return Verdict{Reason: MissingCredentials, Detail: "without an Authorization header"}
	}
	user, password, ok := r.BasicAuth()
	if !ok || len(given) > 1 {
		return Verdict{Reason: WrongCredentials, Detail: "Authorization is not one Basic header"}
	}
	found := 0
	for _, c := range a {
		found |= c.user.equals(user) & c.password.equals(password)
	}
	if found == 0 {
		return Verdict{Reason: WrongCredentials, Detail: "user or password fits no secret of the source"}
	}
	return Verdict{}
}

type headerAuth []struct {
	name  string
	value digest
}

func newHeaderAuth(secrets []string) (headerAuth, error) {
	a := make(headerAuth, len(secrets))
	var errs []error
	for i, secret := range secrets {
		name, value, _ := strings.Cut(secret, ":")
		name, value = http.CanonicalHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !token(name) || value == "":
			errs = append(errs, fmt.Errorf("secret %d is not Header-Name: value", i+1))
		case name == "Host" || name == "Content-Length" || name == "Transfer-Encoding" || name == "Trailer":
			// net/http takes these out of the headers: they would never fit.
			errs = append(errs, fmt.Errorf("secret %d uses the header %s, which HTTP uses itself", i+1, name))
		}
		a[i].name, a[i].value = name, sha256.Sum256([]byte(value))
	}
	return a, errors.Join(errs...)
}

func (a headerAuth) check(r *http.Request, _ []byte, _ time.Time) Verdict {
	found, present := 0, false
	for _, c := range a {
		values := r.Header[c.name]
		present = present || len(values) > 0
		if len(values) == 1 {
			found |= c.value.equals(values[0])
		}
	}
	switch {
	case found == 1:
		return Verdict{}
	case present:
		return Verdict{Reason: WrongCredentials, Detail: "the header's value fits no secret of the source"}
	}
	return Verdict{Reason: MissingCredentials, Detail: "without the header of any secret of the source"}
}

// token says whether s can be the name of a header (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		letterOrDigit := c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letterOrDigit && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

type noAuth struct{}

func (noAuth) check(*http.Request, []byte, time.Time) Verdict { return Verdict{} }
