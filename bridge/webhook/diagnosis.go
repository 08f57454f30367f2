package webhook

import (
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// tellAfter is how many requests of one kind have to be refused, and none
// verified between them, before a human hears of it. One is a scanner.
const tellAfter = 3

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
	BadTimestamp: "requests are signed well, but at a time outside the source's tolerance, and are refused: " +
		"set this host's clock (NTP); if it is right, something in between holds requests back",
	MissingCredentials: "requests come without the credentials of this source, and are refused: " +
		"set them at the endpoint in the sender's portal (user:password in the URL, or a custom header); " +
		"`persat-bridge capture` shows what it does send",
	WrongCredentials: "requests come with credentials that this source does not have, and are refused: " +
		"compare the endpoint in the sender's portal with the source's secrets",
}

// diagnosis turns a run of refused requests of one source into one line for an
// operator, and the end of it into another.
type diagnosis struct {
	log *zap.Logger

	mu      sync.Mutex
	refused map[Reason]int // since a delivery last verified
	told    bool
	since   time.Time
}

func newDiagnosis(source string, log *zap.Logger) *diagnosis {
	return &diagnosis{log: log.With(zap.String("source", source)), refused: make(map[Reason]int)}
}

// note takes the verdict on one request.
func (d *diagnosis) note(v Verdict, r *http.Request, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.OK() {
		d.recovered(now)
		return
	}
	remedy, known := remedies[v.Reason]
	if !known {
		return
	}
	if len(d.refused) == 0 {
		d.since = now
	}
	d.refused[v.Reason]++
	if d.refused[v.Reason] != tellAfter {
		return
	}
	d.told = true
	fields := []zap.Field{zap.String("reason", string(v.Reason)), zap.String("detail", v.Detail), zap.Int("refused", tellAfter)}
	switch v.Reason {
	case BadTimestamp:
		fields = append(fields, zap.Time("host_time", now), zap.Time("request_time", v.At), zap.Duration("offset", v.At.Sub(now)))
	case WrongSignature:
		// A proxy that unpacks or packs bodies shows here.
		fields = append(fields, zap.String("headers", v.Headers), zap.Bool("content_encoding", r.Header.Get("Content-Encoding") != ""))
	}
	d.log.Warn(remedy, fields...)
}

func (d *diagnosis) recovered(now time.Time) {
	if len(d.refused) == 0 {
		return
	}
	if d.told {
		total := 0
		for _, n := range d.refused {
			total += n
		}
		d.log.Info("a delivery has verified: requests of this source are taken again",
			zap.Int("refused", total), zap.Duration("for", now.Sub(d.since).Round(time.Second)))
	}
	clear(d.refused)
	d.told = false
}
