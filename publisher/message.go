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
func message(prefix string, e *bridge.Event) *nats.Msg {
	h := nats.Header{
		"Nats-Msg-Id":        {e.MessageID()},
		"Content-Type":       {"application/json"},
		"ce-specversion":     {"1.0"},
		"ce-id":              {percentEncode(e.ID)},
		"ce-type":            {percentEncode(e.Type)},
		"ce-source":          {percentEncode("/persat/" + e.Source)},
		"ce-time":            {e.Accepted.UTC().Format(time.RFC3339Nano)},
		"ce-datacontenttype": {"application/json"},
	}
	if len(e.Entities) == 1 && len(e.Entities[0]) <= maxEntity {
		h["ce-subject"] = []string{percentEncode(e.Entities[0])}
	}
	if e.Traceparent != "" {
		h["traceparent"] = []string{e.Traceparent}
	}
	if e.Replay > 0 {
		h["Persat-Replay"] = []string{strconv.Itoa(e.Replay)}
	}
	return &nats.Msg{Subject: prefix + "." + e.Type, Header: h, Data: e.Body}
}

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
