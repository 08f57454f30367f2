package publisher

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persat-bridge/persat-bridge/bridge"
)

// maxEntity is the longest entity id in bytes that becomes ce-subject. An id is
// whatever a caller of the sender's API chose; encoded it grows to three times its
// length, and a message with more than 64 KB of headers is refused for ever.
const maxEntity = 1024

// message makes the NATS message of an event: a CloudEvent in binary mode, its
// data the body byte for byte. A message is made for one attempt; publishing
// writes into it. The header names are case-sensitive, so they are set past
// the canonical form that nats.Header.Set would give them.
func message(subject string, e *bridge.Event) *nats.Msg {
	values := make([]string, 0, 9) // all that are not always the same, in one piece
	value := func(v string) []string {
		values = append(values, v)
		return values[len(values)-1 : len(values) : len(values)]
	}
	h := make(nats.Header, 11)
	h["Nats-Msg-Id"] = value(e.MessageID())
	h["Content-Type"] = isJSON
	h["ce-specversion"] = specVersion
	h["ce-id"] = value(percentEncode(e.ID))
	h["ce-type"] = value(percentEncode(e.Type))
	h["ce-source"] = value(percentEncode("/persat/" + e.Source))
	h["ce-time"] = value(e.Accepted.UTC().Format(time.RFC3339Nano))
	h["ce-datacontenttype"] = isJSON
	if len(e.Entities) == 1 && len(e.Entities[0]) <= maxEntity {
		h["ce-subject"] = value(percentEncode(e.Entities[0]))
	}
	if e.Traceparent != "" {
		h["traceparent"] = value(e.Traceparent)
	}
	if e.Replay > 0 {
		h["Persat-Replay"] = value(strconv.Itoa(e.Replay))
	}
	return &nats.Msg{Subject: subject, Header: h, Data: e.Body}
}

// Describe returns the subject and the headers with which e is published, for people.
// It is false for an event of a source that is not configured any more, whose subject
// nobody knows, and for one without a type.
func (p *JetStream) Describe(e *bridge.Event) (subject string, header map[string][]string, ok bool) {
	subject, ok = p.subject(e)
	if !ok || e.Type == "" {
		return "", nil, false
	}
	return subject, message(subject, e).Header, true
}

// subject is where e goes; false for an event of a source that is not configured any more.
func (p *JetStream) subject(e *bridge.Event) (string, bool) {
	prefix, ok := p.o.Prefixes[e.Source]
	if !ok {
		return "", false
	}
	subject := prefix + "." + e.Type
	if token := p.o.EntityTokens[e.Source]; token != nil {
		subject += "." + token(e.Entities)
	}
	return subject, true
}

// The values that all messages have. Nobody writes into them.
var (
	isJSON      = []string{"application/json"}
	specVersion = []string{"1.0"}
)

// percentEncode writes a header value as the CloudEvents NATS binding asks:
// what is not printable ASCII, the space, the double quote and the percent sign
// as %XX of its UTF-8 bytes.
func percentEncode(s string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	for i := 0; ; i++ {
		if i == len(s) {
			return s
		}
		if !plain(s[i]) {
			break
		}
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
