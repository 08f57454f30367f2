// Package notify delivers messages to the services that people use: Slack, Teams, Discord,
// Telegram, email, ntfy, any webhook and so on. The services are those of
// nicholas-fedor/shoutrrr, the fork of containrrr/shoutrrr that is kept up: each has an
// address and a body of its own, which change without notice, and one URL that names a
// service with its secrets is what operators know from other programs. It brings no module
// that the bridge did not have.
//
// These URLs are secrets as a whole: a token is where others have a path. What shoutrrr
// says of a failure has parts of them, so nothing of that passes unread.
package notify

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/persat-bridge/persat-bridge/bridge/alert"
)

// Service is one of the services, with its secrets. It is safe for concurrent use.
type Service struct{ name, url string }

var _ alert.Receiver = (*Service)(nil)

// New returns the service that a URL names. It connects to nothing. key is where the URL
// is configured.
func New(key, url string) *Service {
	return &Service{name: fmt.Sprintf("%s (%s)", key, scheme(url)), url: url}
}

// Name implements alert.Receiver.
func (s *Service) Name() string { return s.name }

// Send implements alert.Receiver.
func (s *Service) Send(m alert.Message) error {
	service, err := new(router.ServiceRouter).Locate(s.url)
	if err != nil {
		return scrub(err, s.url)
	}
	params := types.Params{}
	if u, err := url.Parse(s.url); scheme(s.url) == "smtp" && err == nil && !hasSubject(u.Query()) {
		params["subject"] = m.Subject
	}
	if err := service.Send(m.Text, &params); err != nil {
		return scrub(err, s.url)
	}
	return nil
}

func hasSubject(q url.Values) bool {
	for name := range q {
		if name = strings.ToLower(name); name == "subject" || name == "title" {
			return true
		}
	}
	return false
}

// Check says what is wrong with a URL, and never the URL. It connects to nothing.
func Check(text string) error {
	name := scheme(text)
	known := new(router.ServiceRouter).ListServices()
	slices.Sort(known)
	switch {
	case name == "":
		return errors.New("not a URL of shoutrrr, which is service://…: " + strings.Join(known, ", "))
	case !slices.Contains(known, name):
		return fmt.Errorf("%q is no service: there are %s", name, strings.Join(known, ", "))
	case name == "matrix": // it would log in
		return nil
	}
	if _, err := new(router.ServiceRouter).Locate(text); err != nil {
		return fmt.Errorf("not a whole URL of %s: %w", name, scrub(err, text))
	}
	return nil
}

var schemeName = regexp.MustCompile(`^[A-Za-z0-9]+`)

// scheme is the service that a URL names: generic of generic+https://….
func scheme(text string) string {
	before, _, found := strings.Cut(text, "://")
	if !found || strings.ContainsAny(before, "/@:?") {
		return ""
	}
	return strings.ToLower(schemeName.FindString(before))
}
