package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
	"github.com/persat-bridge/persat-bridge/bridge/autoconfig"
)

// Keys are the decoded secrets of a source: more than one while rotating. They are
// used by many requests at once.
type Keys []*key

// key is a decoded secret, with what has been computed of it: a hash that has taken in
// the key costs less than one that has not.
type key struct {
	secret []byte
	macs   sync.Pool // of *mac
}

type mac struct {
	hash.Hash
	sum  [sha256.Size]byte
	text [44]byte // base64 of sum
}

func newKey(secret []byte) *key {
	k := &key{secret: secret}
	k.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, secret)} }
	return k
}

// sign returns the base64 of the HMAC over head and body, which is valid until m is put
// back.
func (m *mac) sign(head, body []byte) []byte {
	m.Reset()
	m.Write(head)
	m.Write(body)
	base64.StdEncoding.Encode(m.text[:], m.Sum(m.sum[:0]))
	return m.text[:]
}

// ParseSecrets decodes secrets as Svix shows them, base64 with or without
// "whsec_" in front, or an AutoConfig token, whose signing secret counts. Its errors name a secret by its position, never by value.
func ParseSecrets(secrets []string) (Keys, error) {
	var keys Keys
	var errs []error
	for i, secret := range secrets {
		secret, tokenErr := autoconfig.SigningSecret(secret)
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		switch {
		case tokenErr != nil:
			errs = append(errs, fmt.Errorf("secret %d: %w", i+1, tokenErr))
		case err != nil:
			// The decoder's own words quote nothing, but say where it stumbled.
			errs = append(errs, fmt.Errorf("secret %d is not base64 with or without whsec_ in front: copy it whole", i+1))
		case len(decoded) == 0:
			errs = append(errs, fmt.Errorf("secret %d is empty", i+1))
		default:
			keys = append(keys, newKey(decoded))
		}
	}
	return keys, errors.Join(errs...)
}

// Verdict is what a look at a request's signature or credentials found.
type Verdict struct {
	// Reason is why it does not verify, or empty when it does.
	Reason Reason
	// Detail tells an operator more. It quotes neither signature nor secret.
	Detail string
	// Headers is "svix" or "webhook", the family of signature headers found.
	Headers string
	// ID and At are the delivery id and the time of this attempt, as far as
	// they could be read.
	ID string
	At time.Time
}

// OK says that the request is the sender's.
func (v Verdict) OK() bool { return v.Reason == "" }

// families lists the two spellings of the same three headers, in the order of
// preference. They are never mixed: a sender sets one whole set or the other.
var families = [...]struct{ name, id, timestamp, signature string }{
	{"svix", "Svix-Id", "Svix-Timestamp", "Svix-Signature"},
	{"webhook", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"},
}

// Verify judges the signature headers h over body. The timestamp is looked at
// last: what it says counts only once it is known who said it.
func (k Keys) Verify(h http.Header, body []byte, now time.Time, tolerance time.Duration) Verdict {
	v, timestamp, signatures := readHeaders(h)
	if !v.OK() {
		return v
	}
	if !k.signed(v.ID, timestamp, body, signatures) {
		v.Reason, v.Detail = WrongSignature, "no signature in the list fits any secret of the source"
		return v
	}
	if offset := v.At.Sub(now); offset > tolerance || offset < -tolerance {
		v.Reason, v.Detail = BadTimestamp, fmt.Sprintf("timestamp is %v from this host's clock", offset.Round(time.Second))
	}
	return v
}

// signed compares without an early exit, so that the time it takes says nothing
// of which secret fits or how far. It compares the base64 text, as both libraries
// do: the decoded bytes have more than one spelling.
func (k Keys) signed(id, timestamp string, body []byte, signatures string) bool {
	var room [384]byte
	head := signedHead(room[:0], id, timestamp)
	found := 0
	for _, key := range k {
		m := key.macs.Get().(*mac)
		want := m.sign(head, body)
		for list := signatures; ; {
			text, rest, more := nextText(list)
			if !more {
				break
			}
			found |= subtle.ConstantTimeCompare([]byte(text), want)
			list = rest
		}
		key.macs.Put(m)
	}
	return found == 1
}

// signedHead is what is signed before the body.
func signedHead(b []byte, id, timestamp string) []byte {
	b = append(append(b, id...), '.')
	return append(append(b, timestamp...), '.')
}

// readHeaders picks the family and checks the form of its three headers.
func readHeaders(h http.Header) (v Verdict, timestamp, signatures string) {
	for _, f := range families {
		ids, timestamps, lists := h[f.id], h[f.timestamp], h[f.signature]
		if len(ids) == 0 || len(timestamps) == 0 || len(lists) == 0 {
			continue
		}
		v.Headers = f.name
		malformed := func(detail string) (Verdict, string, string) {
			v.Reason, v.Detail = MalformedSignature, detail
			return v, "", ""
		}
		if !same(ids) || !same(timestamps) {
			return malformed(f.name + "-id or " + f.name + "-timestamp is given twice, with different values")
		}
		if !bridge.WellFormedID(ids[0]) {
			return malformed(f.name + "-id is not 1 to 256 visible ASCII characters")
		}
		v.ID = ids[0]
		at, ok := parseTimestamp(timestamps[0])
		if !ok {
			return malformed(f.name + "-timestamp is not a number of seconds since 1970")
		}
		v.At = at
		// A list may come in several fields (RFC 9110, 5.3), and is one list all the same.
		list := lists[0]
		if len(lists) > 1 {
			list = strings.Join(lists, ",")
		}
		if _, _, ok := nextText(list); !ok {
			return malformed(f.name + "-signature holds no v1,<base64>")
		}
		return v, timestamps[0], list
	}
	return Verdict{Reason: MissingSignature, Detail: missingHeaders(h)}, "", ""
}

// missingHeaders is empty for a whole set, and tells a request without any signature header from one that has
// lost a part of its set on the way.
func missingHeaders(h http.Header) string {
	for _, f := range families {
		var absent []string
		for _, name := range []string{f.id, f.timestamp, f.signature} {
			if len(h[name]) == 0 {
				absent = append(absent, strings.ToLower(name))
			}
		}
		if len(absent) == 0 {
			return ""
		}
		if len(absent) < 3 {
			return "without " + strings.Join(absent, ", ")
		}
	}
	return "without any signature header"
}

// same says whether all values of a repeated header are one: a gateway that doubles
// headers changes nothing.
func same(values []string) bool {
	for _, v := range values {
		if v != values[0] {
			return false
		}
	}
	return true
}

// nextText returns the next base64 text of version v1 in a signature list, and the list
// behind it. The sender writes "v1,text v1,text"; what passes HTTP headers on may split
// the list at its commas and join it again with others. So blanks and commas both
// separate, and a text is what follows "v1". Other versions are skipped: v1a is
// asymmetric, and a sender may add more.
func nextText(list string) (text, rest string, ok bool) {
	before := ""
	for {
		list = strings.TrimLeft(list, " ,")
		if list == "" {
			return "", "", false
		}
		end := strings.IndexAny(list, " ,")
		if end < 0 {
			end = len(list)
		}
		word := list[:end]
		list = list[end:]
		var room [64]byte
		if before == "v1" {
			if _, err := base64.StdEncoding.AppendDecode(room[:0], []byte(word)); err == nil {
				return word, list, true
			}
		}
		before = word
	}
}

// parseTimestamp takes plain decimal digits: no sign, no space and no leading
// zero, for which the libraries would sign another text than the header shows.
func parseTimestamp(s string) (time.Time, bool) {
	if len(s) == 0 || len(s) > 12 || s[0] == '0' && len(s) > 1 {
		return time.Time{}, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return time.Time{}, false
		}
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// Sign returns the headers that the sender would set on an attempt made at the
// given time. A header of one's own can be added to them.
func Sign(secret, id string, at time.Time, body []byte) (http.Header, error) {
	keys, err := ParseSecrets([]string{secret})
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", id, err)
	}
	if !bridge.WellFormedID(id) {
		return nil, errors.New("sign: the id is not 1 to 256 visible ASCII characters")
	}
	timestamp := strconv.FormatInt(at.Unix(), 10)
	m := keys[0].macs.Get().(*mac)
	f := families[0]
	return http.Header{
		f.id:        {id},
		f.timestamp: {timestamp},
		f.signature: {"v1," + string(m.sign(signedHead(nil, id, timestamp), body))},
	}, nil
}
