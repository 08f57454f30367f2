package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/persat-bridge/persat-bridge/cmd/persat-bridge/config"
	"github.com/persat-bridge/persat-bridge/publisher"
)

// asyncServers are the configured NATS servers, without what is secret in their
// addresses; none when the embedded one does not listen.
func asyncServers(cfg *config.Config) (map[string]asyncServer, error) {
	if cfg.NATS.Embedded.Enabled {
		if cfg.NATS.Embedded.Listen == "" {
			return nil, nil
		}
		return map[string]asyncServer{"nats": {Host: reachable(cfg.NATS.Embedded.Listen), Protocol: "nats", Description: "The NATS server inside the bridge. It asks for no credentials."}}, nil
	}
	urls, domain := cfg.NATS.URL.Reveal(), cfg.NATS.Domain
	if cfg.NATS.Context != "" {
		c, err := publisher.LoadContext(cfg.NATS.Context)
		if err != nil {
			return nil, fmt.Errorf("NATS_CONTEXT: %w", err)
		}
		urls, domain = cmp.Or(urls, c.ServerURL()), cmp.Or(domain, c.JSDomain())
	}
	servers := make(map[string]asyncServer)
	for i, raw := range strings.Split(urls, ",") {
		s, err := asyncServerAt(strings.TrimSpace(raw))
		if err != nil {
			return nil, fmt.Errorf("nats.url: server %d: %w", i+1, err)
		}
		if domain != "" {
			s.Description += fmt.Sprintf(" The stream is in JetStream domain %s.", domain)
		}
		name := "nats"
		if i > 0 {
			name = fmt.Sprintf("nats-%d", i+1)
		}
		servers[name] = s
	}
	return servers, nil
}

func asyncServerAt(raw string) (asyncServer, error) {
	if !strings.Contains(raw, "://") {
		raw = "nats://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil { // its text has the whole address in it, perhaps a password
		return asyncServer{}, errors.New("not an address")
	}
	s := asyncServer{Host: u.Host, Pathname: u.Path, Protocol: u.Scheme, Description: "A consumer needs credentials of its own, as the server's operator gives them."}
	port := map[string]string{"nats": "4222", "tls": "4222", "ws": "80", "wss": "443"}[u.Scheme]
	if u.Port() == "" {
		s.Host = net.JoinHostPort(u.Hostname(), port)
	}
	if u.Scheme == "tls" { // no protocol of AsyncAPI's own
		s.Protocol = "nats"
		s.Description = "With TLS. " + s.Description
	}
	return s, nil
}
