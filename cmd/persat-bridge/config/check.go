package config

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// senderRepeats is how long the sender goes on repeating: 27 h 35 min, rounded up.
const senderRepeats = 28 * time.Hour

// shortToken is from where on an admin token is too long to be tried out.
const shortToken = 16

// check looks at the values once all places have been read. What was refused
// there is at its default here, and not looked at again.
func (l *loader) check() {
	l.checkServer()
	l.checkAdmin()
	l.checkSources()
	l.checkJournal()
	l.checkNATS()
	l.checkPublish()
	l.checkListeners()
	l.checkAlerts()
	c := l.cfg
	l.oneOf("accept.wait_for", c.Accept.WaitFor, "journal", "stream")
	l.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error", "dpanic", "panic", "fatal")
	l.oneOf("log.format", c.Log.Format, "json", "console", "auto")
}

func (l *loader) checkServer() {
	s := l.cfg.Server
	l.checkListen(s.Listen)
	switch {
	case s.MaxBodyBytes < 1:
		l.mistake("server.max_body_bytes", "%v lets nothing in", s.MaxBodyBytes)
	case s.MaxBodyBytes > 32*MiB:
		l.mistake("server.max_body_bytes", "%v is more than 32MiB: NATS takes no message over 64MiB, and the journal none that large", s.MaxBodyBytes)
	case s.MaxBodyBytes > 8*MiB && l.cfg.NATS.outside():
		l.warn("server.max_body_bytes", "%v is more than the 8 MB that NATS advises to stay below; its max_payload has to be raised too", s.MaxBodyBytes)
	}
	l.between("server.max_in_flight", s.MaxInFlight, 1, 1<<20)
	l.positive("server.shutdown_timeout", s.ShutdownTimeout)
	l.keyPair("server.tls", s.TLS.CertFile, s.TLS.KeyFile)
}

// checkListen allows no listener where every source is pulled.
func (l *loader) checkListen(address string) {
	if address != "" {
		l.address("server.listen", address)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(l.cfg.Sources)) {
		if l.cfg.Sources[name].Pull.URL == "" {
			l.mistake("server.listen", "empty, and source %s is not pulled: no event would get in; name an address, or set sources.%s.pull.url", name, name)
		}
	}
}

func (l *loader) checkAdmin() {
	a := &l.cfg.Admin
	l.secretFile("admin.token", &a.Token, &a.TokenFile)
	if !l.address("admin.listen", a.Listen) || loopback(a.Listen) || l.bad("admin.token_file") {
		return
	}
	switch {
	case a.Token == "":
		l.mistake("admin.token", "empty, but admin.listen %s is not a loopback address: set a token (%s) or listen on 127.0.0.1", quote(a.Listen), variable("admin.token"))
	case len(a.Token) < shortToken:
		l.warn("admin.token", "shorter than %d characters, and admin.listen %s is not a loopback address: it may be guessed, by who can then read, discard and replay events", shortToken, quote(a.Listen))
	}
}

func (l *loader) checkJournal() {
	j := l.cfg.Journal
	if j.Dir == "" {
		l.mistake("journal.dir", "empty: name a directory")
	}
	if j.MaxBytes < 16*MiB {
		l.mistake("journal.max_bytes", "%v is less than 16MiB, which the journal needs for itself", j.MaxBytes)
	}
	if l.positive("journal.retention", j.Retention) && j.Retention < senderRepeats {
		l.warn("journal.retention", "%v is shorter than the 28 h that the sender repeats for: a stream that lost its tail may be refilled in part", j.Retention)
	}
	if l.positive("journal.dedup_window", j.DedupWindow) && j.DedupWindow < senderRepeats {
		l.warn("journal.dedup_window", "%v is shorter than the 28 h that the sender repeats for: late repeats count as new events", j.DedupWindow)
	}
}

func (l *loader) checkPublish() {
	p := l.cfg.Publish
	l.between("publish.max_in_flight", p.MaxInFlight, 1, 16384)
	l.oneOf("publish.batch", p.Batch, "auto", "off")
	l.positive("publish.ack_timeout", p.AckTimeout)
	l.between("publish.max_attempts", p.MaxAttempts, 1, 1<<20)
	b := p.Backoff
	l.positive("publish.backoff.initial", b.Initial)
	if l.positive("publish.backoff.max", b.Max) && b.Max < b.Initial {
		l.mistake("publish.backoff.max", "%v is less than publish.backoff.initial %v", b.Max, b.Initial)
	}
	// Written so that NaN fails too.
	if !(b.Multiplier >= 1 && b.Multiplier <= 100) {
		l.mistake("publish.backoff.multiplier", "%v is not 1 to 100", b.Multiplier)
	}
	if !(b.Jitter >= 0 && b.Jitter <= 1) {
		l.mistake("publish.backoff.jitter", "%v is not 0 to 1", b.Jitter)
	}
}

// checkListeners finds two listeners on one port before the second one's bind
// does. Different addresses on one port are fine, all addresses and one are not.
func (l *loader) checkListeners() {
	type listener struct{ key, address string }
	all := []listener{{"admin.listen", l.cfg.Admin.Listen}}
	if l.cfg.Server.Listen != "" {
		all = append([]listener{{"server.listen", l.cfg.Server.Listen}}, all...)
	}
	if e := l.cfg.NATS.Embedded; e.Enabled && e.Listen != "" {
		all = append(all, listener{"nats.embedded.listen", e.Listen})
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if !l.bad(a.key) && !l.bad(b.key) && collide(a.address, b.address) {
				l.mistake(a.key, "%s is taken by %s %s", quote(a.address), b.key, quote(b.address))
			}
		}
	}
}

func collide(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	all := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return portA == portB && portA != "0" && (hostA == hostB || all(hostA) || all(hostB))
}

// address checks host:port to listen on, and says whether it is one.
func (l *loader) address(key, s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.ContainsAny(host, " /@") {
		l.mistake(key, "%s is not an address to listen on: write it like 127.0.0.1:8080 or :8080", quote(s))
		return false
	}
	return true
}

func (l *loader) positive(key string, d time.Duration) bool {
	if d <= 0 {
		l.mistake(key, "%v is not a positive duration: write it like 30s", d)
	}
	return d > 0
}

func (l *loader) between(key string, n, low, high int) {
	if n < low || n > high {
		l.mistake(key, "%d is not %d to %d", n, low, high)
	}
}

func (l *loader) oneOf(key, got string, want ...string) {
	for _, w := range want {
		if got == w {
			return
		}
	}
	last := len(want) - 1
	l.mistake(key, "%s is not %s or %s", quote(got), strings.Join(want[:last], ", "), want[last])
}
