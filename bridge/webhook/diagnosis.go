package webhook

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// reportAfter is how many requests of one kind from one network have to be refused,
	// and none verified between them, before a human hears of it. One is a scanner.
	reportAfter = 3
	// reportAgain is when a run that goes on is reported again, and when one that has
	// stopped is forgotten.
	reportAgain = 24 * time.Hour
	// maxRuns bounds the runs of one source that are remembered, and reportsAnHour those
	// that become a line: a scanner comes from many networks.
	maxRuns       = 64
	reportsAnHour = 10
)

// remedies are what an operator can do about requests that keep being refused.
// No live delivery of this sender had been seen when the bridge was written:
// the first days of a new endpoint are when these words are needed.
var remedies = map[Reason]string{
	MissingSignature: "requests come without a complete set of svix-* or webhook-* signature headers, and are refused: " +
		"if this sender does not sign, protect the endpoint with auth: basic or auth: header; " +
		"`persat-bridge capture` shows what it does send",
	WrongSignature: "requests are signed with a secret that this source does not have, and are refused: " +
		"copy the endpoint's signing secret from the sender's portal (the page of this endpoint, not of another) to the source's secrets; " +
		"if it is the same, something in between, such as a proxy or a firewall, rewrites the body",
	CompressedBody: "requests have a compressed body, were signed before it was compressed, and are refused: " +
		"switch compression (Content-Encoding: gzip and the like) off at the sender, or at the proxy that adds it",
	BadTimestamp: "requests are signed well, but at a time outside the source's tolerance, and are refused: " +
		"set this host's clock (NTP); if it is right, something in between holds requests back",
	MissingCredentials: "requests come without the credentials of this source, and are refused: " +
		"set them at the endpoint in the sender's portal (user:password in the URL, or a custom header); " +
		"`persat-bridge capture` shows what it does send",
	MalformedSignature: "requests come with signature headers that cannot be read, and are refused: " +
		"the field detail says what is wrong with them; something in between may have rewritten them, or the sender signs in another way; " +
		"`persat-bridge capture` shows what it does send",
	BadAddress: "requests come from an address outside allow_cidrs, and are refused: " +
		"if the address is that of a proxy in front, name the proxy in server.trusted_proxies; if it is the sender's, add it to the source's allow_cidrs",
	NotFound: "requests are posted to a path that is no source's, and are refused: " +
		"the endpoint's URL in the sender's portal ends in /webhooks/ and the name of a source, and a proxy in front must pass the path on as it is",
	WrongMethod: "requests come with another method than POST, and are refused: " +
		"the sender must POST (a redirect on the way turns a POST into a GET); a load balancer's health check belongs to GET /readyz",
	BodyTooLarge: "requests have a body over server.max_body_bytes, and are refused: " +
		"raise it if they are the sender's events, the sender repeats them, and each repeat is refused, too",
	BodyIncomplete: "bodies of requests end before they are whole, and are refused: " +
		"something in between cuts them off, or is too slow: it has 15 s",
	OverRate: "requests are over the source's rate_limit, and are refused: " +
		"raise it if the sender's bursts are legitimate, the sender repeats what was refused for 27 hours",
	WrongCredentials: "requests come with credentials that this source does not have, and are refused: " +
		"compare the endpoint in the sender's portal with the source's secrets",
}

// diagnosis turns a run of refused requests of one source, from one network and for one
// reason, into one line for an operator, another one each day for as long as it goes on,
// and the end of it into a last one.
type diagnosis struct {
	log *zap.Logger

	mu   sync.Mutex
	runs map[runKey]*run
	// reports counts the lines of runs since hour.
	reports int
	hour    time.Time
}

type runKey struct {
	reason  Reason
	network netip.Prefix
}

type run struct {
	refused             int // since a delivery last verified
	since, last, logged time.Time
}

func newDiagnosis(source string, log *zap.Logger) *diagnosis {
	return &diagnosis{log: log.With(zap.String("source", source)), runs: make(map[runKey]*run)}
}

// refused takes a request that was refused, from the given address.
func (d *diagnosis) refused(refused *refusal, r *http.Request, address string, now time.Time) {
	remedy, known := remedies[refused.reason]
	if !known || refused.reason == NotFound && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return // scanners look at paths all day
	}
	key := runKey{refused.reason, networkOf(address)}
	d.mu.Lock()
	defer d.mu.Unlock()
	current := d.runs[key]
	if current == nil || now.Sub(current.last) > reportAgain {
		d.makeRoom()
		current = &run{since: now}
		d.runs[key] = current
	}
	current.refused++
	current.last = now
	if current.refused < reportAfter || now.Sub(current.logged) < reportAgain || !d.mayReport(now) {
		return
	}
	current.logged = now
	fields := []zap.Field{zap.String("reason", string(refused.reason)), zap.Int("refused", current.refused),
		zap.Time("since", current.since), zap.String("address", address)}
	if refused.detail != "" {
		fields = append(fields, zap.String("detail", refused.detail))
	}
	switch refused.reason {
	case BadTimestamp:
		fields = append(fields, zap.Time("host_time", now), zap.Time("request_time", refused.at), zap.Duration("offset", refused.at.Sub(now)))
	case WrongSignature:
		// A proxy that unpacks or packs bodies shows here.
		fields = append(fields, zap.Bool("content_encoding", r.Header.Get("Content-Encoding") != ""))
	case NotFound, WrongMethod:
		// Signature headers tell the sender from a scanner.
		fields = append(fields, zap.String("method", shortened(r.Method)), zap.String("path", shortened(r.URL.Path)), zap.Bool("signed", missingHeaders(r.Header) == ""))
	case BodyTooLarge:
		fields = append(fields, zap.Int64("declared", r.ContentLength))
	}
	d.log.Warn(remedy, fields...)
}

// makeRoom forgets the shortest run, of those the one that is longest ago.
func (d *diagnosis) makeRoom() {
	if len(d.runs) < maxRuns {
		return
	}
	var least runKey
	var than *run
	for key, r := range d.runs {
		if than == nil || r.refused < than.refused || r.refused == than.refused && r.last.Before(than.last) {
			least, than = key, r
		}
	}
	delete(d.runs, least)
}

func (d *diagnosis) mayReport(now time.Time) bool {
	if now.Sub(d.hour) >= time.Hour {
		d.hour, d.reports = now, 0
	}
	d.reports++
	return d.reports <= reportsAnHour
}

// verified takes a request that was the sender's: the runs of its network are over.
func (d *diagnosis) verified(address string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.runs) == 0 {
		return
	}
	network := networkOf(address)
	total, reported, since := 0, false, now
	for key, r := range d.runs {
		if key.network != network || !endsVerified[key.reason] {
			continue
		}
		total += r.refused
		reported = reported || !r.logged.IsZero()
		if r.since.Before(since) {
			since = r.since
		}
		delete(d.runs, key)
	}
	if reported {
		d.log.Info("a delivery has verified: requests of this source are taken again",
			zap.Int("refused", total), zap.Duration("for", now.Sub(since).Round(time.Second)))
	}
}

// endsVerified are the reasons that a delivery which verifies disproves. That one event
// fits, or is sent to the right path, says nothing of those that do not and are not.
var endsVerified = map[Reason]bool{
	MissingSignature: true, MalformedSignature: true, WrongSignature: true, BadTimestamp: true, CompressedBody: true,
	MissingCredentials: true, WrongCredentials: true, BadAddress: true, BodyIncomplete: true,
}

// shortened is what a line shows of a stranger's text.
func shortened(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
