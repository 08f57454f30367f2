package config

import (
	"fmt"
	"io"
	"net/url"
	"strings"
)

// masked is what a secret looks like from outside.
const masked = "<secret>"

// Secret is a string that does not get out by being printed, logged or encoded:
// whatever the verb or the format, it shows as <secret>, or as nothing when empty.
type Secret string

// Reveal returns the secret itself. Whoever calls it answers for where it goes.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString is String: %#v is the verb that would look inside.
func (s Secret) GoString() string { return s.String() }

// Format writes String for every verb, also those that fmt would not ask
// String for, such as %x.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText serves JSON, YAML and the log.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Servers is a comma-separated list of NATS addresses, which may hold user and
// password: it prints without them.
type Servers string

// Reveal returns the list as it was written, user info and all.
func (s Servers) Reveal() string { return string(s) }

func (s Servers) String() string {
	list := s.list()
	for i, server := range list {
		list[i] = redact(server)
	}
	return strings.Join(list, ",")
}

// GoString is String: %#v is the verb that would look inside.
func (s Servers) GoString() string { return s.String() }

// Format writes String for every verb.
func (s Servers) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText serves JSON, YAML and the log.
func (s Servers) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Servers) list() []string {
	if strings.TrimSpace(string(s)) == "" {
		return nil
	}
	list := strings.Split(string(s), ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// redact hides the user info of one address. What does not parse is hidden as a
// whole, for the user info may be why.
func redact(server string) string {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	if err != nil || checkServer(server) != "" {
		return masked
	}
	if u.User != nil {
		return u.Scheme + "://" + masked + "@" + u.Host
	}
	return u.Scheme + "://" + u.Host
}
