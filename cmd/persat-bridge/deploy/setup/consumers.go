package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Consumers on other hosts connect to the server nats-outside, which asks everyone for
// TLS and knows a user for each of them. The directory outside of the secrets is for the
// operator, who hands over a password and the CA; the directory nats-outside is all that
// the server has.

// members are the servers of docker-compose.yml that nats-outside can be connected to.
var members = []string{"nats", "nats-1", "nats-2", "nats-3"}

// consumerName is a name that is a user, a file, and nothing else.
var consumerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// writeConsumers makes certificate, passwords and configuration of nats-outside.
func writeConsumers(dir string, getenv func(string) string, now time.Time, stderr io.Writer) error {
	hosts, err := parseHosts(getenv("NATS_HOSTS"))
	if err != nil {
		return err
	}
	names := list(getenv("NATS_CONSUMERS"))
	if len(names) == 0 {
		return errors.New("NATS_CONSUMERS is empty: name a user for each consumer in .env, as in NATS_CONSUMERS=billing,reports")
	}
	leafPassword, err := password(filepath.Join(dir, "nats/outside-password"))
	if err != nil {
		return err
	}
	remotes, err := leafURLs(getenv("NATS_SERVERS"), leafPassword)
	if err != nil {
		return err
	}
	// The permissions are those of the user consumer, from the file that has them.
	var users strings.Builder
	users.WriteString("include ../conf/consumer.conf\nUSERS: [\n")
	for i, name := range names {
		switch {
		case !consumerName.MatchString(name):
			return fmt.Errorf("NATS_CONSUMERS: %q is no name of a user: letters, digits, - and _, up to 63", name)
		case slices.Contains(names[:i], name):
			return fmt.Errorf("NATS_CONSUMERS has %s twice", name)
		}
		secret, err := password(filepath.Join(dir, "outside", name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&users, "  {user: %q, password: %q, permissions: $CONSUMER_PERMISSIONS}\n", name, secret)
	}
	users.WriteString("]\n")
	if err := write(filepath.Join(dir, "nats-outside/users.conf"), users.String()); err != nil {
		return err
	}
	if err := write(filepath.Join(dir, "nats-outside/remotes.conf"), remotes); err != nil {
		return err
	}
	return writeCertificate(dir, hosts, now, stderr)
}

// leafURLs is where nats-outside finds the servers that the bridge publishes to.
func leafURLs(servers, password string) (string, error) {
	var text strings.Builder
	text.WriteString("REMOTES: [\n")
	for _, server := range list(servers) {
		u, err := url.Parse(server)
		if err != nil || !slices.Contains(members, u.Hostname()) {
			return "", fmt.Errorf("NATS_SERVERS: consumers on other hosts reach the NATS servers of docker-compose.yml (%s) through nats-outside, and %q is none of them: give its consumers access there", strings.Join(members, ", "), server)
		}
		fmt.Fprintf(&text, "  %q\n", "nats-leaf://outside:"+password+"@"+u.Hostname()+":7422")
	}
	text.WriteString("]\n")
	return text.String(), nil
}

// list cuts a variable at its commas.
func list(text string) (parts []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
