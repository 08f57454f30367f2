package admin

import (
	"regexp"
	"slices"
	"strings"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// Explanation is a reason as a code with its parameters, for those who say it in their
// own language. It is empty for a reason that is not known: then the English text is all
// there is.
type Explanation struct {
	Code   string            `json:"reason_code,omitempty"`
	Params map[string]string `json:"reason_params,omitempty"`
}

// reasons are the texts of the reasons with their codes. Texts, and not codes, are what
// the journal keeps and what the layers below say: a dead letter of an older version has
// no code. {x} stands for a parameter. What follows a text behind a colon is the detail,
// a parameter of that name.
var reasons = compile([][2]string{
	// Refusals of NATS.
	{"stream_limit", "the stream refuses it: it is at a limit and discards new messages, or cannot store: make room in it or raise its limits"},
	{"max_msg_size", "larger than the stream's max_msg_size: raise it, then replay this dead letter"},
	{"max_payload", "larger than the NATS server's max_payload: raise it, then replay this dead letter"},
	{"headers_too_large", "its headers are larger than JetStream's 64 KB, a limit that nothing raises: discard it"},
	{"account_limit", "the NATS account is at its JetStream limit: raise it or make room"},
	{"server_resources", "the NATS server is out of resources: look at its disk and memory"},
	{"server_memory", "the NATS server is out of memory for JetStream"},
	{"server_storage", "the NATS server is out of storage for JetStream: make room on its disk or raise its limit"},
	{"no_peers", "the NATS cluster has too few servers up"},
	{"not_available", "JetStream is not available for the moment"},
	{"not_enabled", "JetStream is not enabled on the NATS server: enable it"},
	{"not_enabled_account", "JetStream is not enabled for the NATS account: enable it"},
	{"stream_offline", "the stream is offline: look at its servers"},
	{"too_many_requests", "the stream has more requests than it can take: it will go on by itself"},
	{"stream_busy", "the stream is still busy with an earlier attempt"},
	{"other_stream_has_subject", "another stream has this subject: give it back to the configured one"},
	{"stream_sealed", "the stream is sealed: configure another, or make this one anew"},
	{"no_stream", "no stream answers: it is missing, or its cluster has no leader"},
	{"not_jetstream", "something that is not JetStream answers on this subject: stop that responder"},
	{"no_answer", "no acknowledgement in time: the server is paused, its disk full, the link broken, the stream without acks, or the NATS user without permission"},
	{"no_answer", "no acknowledgement in time"},
	{"bad_headers", "its headers cannot be written"},
	{"bad_subject", "its subject is not valid"},
	{"no_headers", "the NATS server has headers switched off: switch them on"},
	{"source_unknown", `source "{source}" is not configured any more: put it back under sources until its events are published`},
	{"subject_missing", "stream {stream} does not have subject {subject}: add {prefix}.> to its subjects"},
	{"other_stream_took", "stream {other} took subject {subject} instead of {stream}: take the subject from one and give it to the other"},
	{"message_id_taken", `its message id "{id}" was used before for another event (message {sequence} of the stream): replay this dead letter, it gets a new one`},
	{"refused", "JetStream refuses it"},
	{"publish", "publish"},
	{"connection_lost", "connection to NATS lost"},
	{"connection_lost", "connection to NATS is stale"},
	{"stopping", "the bridge is stopping"},
	{"rolled_back", "the stream was rolled back"},
	{"rolled_back", "the stream was rolled back behind a connection that stayed up"},
	// Bodies that cannot be published.
	{"not_object", "not a JSON object"},
	{"batch", "not a JSON object but an array"},
	{"batch", "no eventType, but a list"},
	{"no_type", "no eventType"},
	{"type_twice", "eventType appears twice"},
	{"payload_twice", "payload appears twice"},
	{"type_not_text", "eventType is not a string"},
	{"type_empty", "eventType is empty"},
	{"type_too_long", "eventType is longer than {bytes} bytes"},
	{"type_invalid", `eventType "{type}": only A-Z a-z 0-9 _ - between single dots`},
	{"not_json", "not JSON"},
	{"compressed", "the body is compressed, and only JSON can be published: switch compression (Content-Encoding: gzip and the like) off at the sender, or at the proxy that adds it"},
	{"id_reused", `delivery id "{id}" was used before for other bytes (record {record})`},
	{"damaged", "damaged on the disk of the bridge: ask the sender to send this delivery again, and discard this one"},
	{"unreadable", "the journal cannot read this record"},
	// Why no events are taken.
	{"journal_full", "journal is full: {used} of journal.max_bytes {limit} bytes used: repair what keeps events from being published, or raise it"},
	{"journal_full", "journal is full: {used} of journal.max_bytes {limit} bytes used, too near to it: repair what keeps events from being published, or raise it"},
	{"journal_burst", "journal is full: what came in the last second has used the room there was"},
	{"disk_full", "journal is full: {free} of {total} bytes of the disk under {dir} are free, {kept} are kept: make room"},
	{"disk_full", "journal is full: {free} of {total} bytes of the disk under {dir} are free, hardly more than the {kept} that are kept: make room"},
	{"disk_stalled", "journal is stalled: its disk has not answered a write for {time}"},
	{"stopping", "bridge is stopping"},
	{"wait_for_stream", "NATS is away, and accept.wait_for is stream: events wait on disk, and a 2xx needs NATS"},
})

type reason struct {
	code   string
	text   *regexp.Regexp
	prefix string // of all that fit
	length int
}

// parameter is one in a quoted text.
var parameter = regexp.MustCompile(`\\\{(\w+)\\\}`)

func compile(table [][2]string) (compiled []reason) {
	for _, row := range table {
		pattern := regexp.QuoteMeta(row[1])
		pattern = parameter.ReplaceAllString(pattern, `(?P<$1>.+?)`)
		prefix, _, _ := strings.Cut(row[1], "{")
		compiled = append(compiled, reason{code: row[0], text: regexp.MustCompile(`(?s)^` + pattern + `(?:: (?P<detail>.*))?$`), prefix: prefix, length: len(row[1])})
	}
	return compiled
}

// Explain finds the code of a reason: of those that fit the longest, which leaves the
// least to the detail.
func Explain(text string) Explanation {
	var best *reason
	for i := range reasons {
		r := &reasons[i]
		if strings.HasPrefix(text, r.prefix) && (best == nil || r.length > best.length) && r.text.MatchString(text) {
			best = r
		}
	}
	if best == nil {
		return Explanation{}
	}
	e := Explanation{Code: best.code}
	for i, value := range best.text.FindStringSubmatch(text) {
		if name := best.text.SubexpNames()[i]; name != "" && value != "" {
			if e.Params == nil {
				e.Params = make(map[string]string)
			}
			e.Params[name] = value
		}
	}
	return e
}

var digits = regexp.MustCompile(`[0-9]+`)

// groupOf is what a reason has in common with others of its kind: its code, or, without
// one, its text without its numbers.
func groupOf(text string) string {
	if e := Explain(text); e.Code != "" {
		return e.Code
	}
	return digits.ReplaceAllString(text, "#")
}

// explained is a status with the codes of its reasons. What the bridge has given is shared
// with others, and stays as it is.
func explained(s bridge.Status) bridge.Status {
	s.Held = slices.Clone(s.Held)
	for i := range s.Held {
		h := &s.Held[i]
		e := Explain(h.Reason)
		h.ReasonCode, h.ReasonParams = e.Code, e.Params
	}
	if s.LastFailure != nil {
		s.LastFailure = &explainedAttempts([]bridge.FailedAttempt{*s.LastFailure})[0]
	}
	return s
}

func explainedAttempts(attempts []bridge.FailedAttempt) []bridge.FailedAttempt {
	for i := range attempts {
		a := &attempts[i]
		e := Explain(a.Reason)
		a.ReasonCode, a.ReasonParams = e.Code, e.Params
	}
	return attempts
}

// explain adds to records the codes of their reasons.
func explain(records []bridge.Record) {
	for i := range records {
		r := &records[i]
		if r.Reason != "" {
			e := Explain(r.Reason)
			r.ReasonCode, r.ReasonParams = e.Code, e.Params
		}
		explainedAttempts(r.Failures)
	}
}
