package webhook

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	svix "github.com/svix/svix-webhooks/go"
)

// The sender's own libraries verify what Sign signs, and Verify takes what they sign.
func TestSignatureAgreesWithBothLibraries(t *testing.T) {
	theirs := map[string]interface {
		Verify([]byte, http.Header) error
		Sign(string, time.Time, []byte) (string, error)
	}{}
	var err error
	if theirs["svix"], err = svix.NewWebhook(secretA); err != nil {
		t.Fatal(err)
	}
	if theirs["webhook"], err = standardwebhooks.NewWebhook(secretA); err != nil {
		t.Fatal(err)
	}
	keys := mustKeys(t, secretB, secretA)
	now := time.Now()
	for family, library := range theirs {
		for _, body := range []string{event, "", "not JSON", "\x00\xff", strings.Repeat("x", 1<<20)} {
			ours, err := Sign(secretA, "msg_1", now, []byte(body))
			if err != nil {
				t.Fatalf("sign: %v", err)
			}
			if err := library.Verify([]byte(body), renamed(ours, family)); err != nil {
				t.Errorf("%s library on our signature of %.20q: %v", family, body, err)
			}
			signature, err := library.Sign("msg_1", now, []byte(body))
			if err != nil {
				t.Fatalf("%s library signs: %v", family, err)
			}
			h := renamed(ours, family)
			h.Set(family+"-signature", signature)
			if v := keys.Verify(h, []byte(body), now, time.Minute); !v.OK() || v.Headers != family || v.ID != "msg_1" {
				t.Errorf("our verdict on the %s library's signature of %.20q: %+v", family, body, v)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	const fresh = ""
	tests := []struct {
		name   string
		change func(h http.Header)
		at     time.Duration
		body   string
		want   Reason
	}{
		{"as sent", nil, 0, event, fresh},
		{"white-labelled sender", func(h http.Header) { rename(h, "webhook") }, 0, event, fresh},
		{"no headers at all", func(h http.Header) { clear(h) }, 0, event, MissingSignature},
		{"proxy dropped the id", del("Svix-Id"), 0, event, MissingSignature},
		{"proxy dropped the timestamp", del("Svix-Timestamp"), 0, event, MissingSignature},
		{"proxy dropped the signature", del("Svix-Signature"), 0, event, MissingSignature},
		{"half of each family", func(h http.Header) {
			h["Webhook-Id"] = h["Svix-Id"]
			h.Del("Svix-Id")
		}, 0, event, MissingSignature},
		{"forged svix set beside a good webhook set", func(h http.Header) {
			good := h.Clone()
			rename(good, "webhook")
			for k, v := range good {
				h[k] = v
			}
			h.Set("Svix-Id", "msg_other")
		}, 0, event, WrongSignature},
		{"gateway that doubles headers", func(h http.Header) {
			for name := range h {
				h.Add(name, h.Get(name))
			}
		}, 0, event, fresh},
		{"two ids", func(h http.Header) { h.Add("Svix-Id", "msg_2") }, 0, event, MalformedSignature},
		{"timestamp given twice", func(h http.Header) { h.Add("Svix-Timestamp", "1") }, 0, event, MalformedSignature},
		{"list in two fields", func(h http.Header) { h.Add("Svix-Signature", "v1,AAAA") }, 0, event, fresh},
		{"list in two fields, the good one last", func(h http.Header) { h["Svix-Signature"] = []string{"v1,AAAA", h.Get("Svix-Signature")} }, 0, event, fresh},
		{"adapter that splits at commas", func(h http.Header) { h["Svix-Signature"] = strings.Split(h.Get("Svix-Signature"), ",") }, 0, event, fresh},
		{"adapter that joins with commas", edit(func(s string) string { return "v1,AAAA, " + s }), 0, event, fresh},
		{"split, of another version", func(h http.Header) { h["Svix-Signature"] = strings.Split("v1a,"+h.Get("Svix-Signature")[3:], ",") }, 0, event, MalformedSignature},
		{"empty id", set("Svix-Id", ""), 0, event, MalformedSignature},
		{"id with a space", set("Svix-Id", "msg 1"), 0, event, MalformedSignature},
		{"id with a tab", set("Svix-Id", "msg\t1"), 0, event, MalformedSignature},
		{"id that ends a NATS header", set("Svix-Id", "msg\r\nNats-Rollup: all"), 0, event, MalformedSignature},
		{"id beyond ASCII", set("Svix-Id", "msg_ñ"), 0, event, MalformedSignature},
		{"id of 257 characters", set("Svix-Id", strings.Repeat("a", 257)), 0, event, MalformedSignature},
		{"id of 256 characters, not the signed one", set("Svix-Id", strings.Repeat("a", 256)), 0, event, WrongSignature},
		{"timestamp in milliseconds", set("Svix-Timestamp", "1700000000000"), 0, event, MalformedSignature},
		{"timestamp as a date", set("Svix-Timestamp", now.Format(time.RFC3339)), 0, event, MalformedSignature},
		{"timestamp with a sign", func(h http.Header) { h.Set("Svix-Timestamp", "+"+h.Get("Svix-Timestamp")) }, 0, event, MalformedSignature},
		{"timestamp with a leading zero", func(h http.Header) { h.Set("Svix-Timestamp", "0"+h.Get("Svix-Timestamp")) }, 0, event, MalformedSignature},
		{"timestamp beyond 64 bits", set("Svix-Timestamp", strings.Repeat("9", 30)), 0, event, MalformedSignature},
		{"empty timestamp", set("Svix-Timestamp", ""), 0, event, MalformedSignature},
		{"another second", set("Svix-Timestamp", "1700000000"), 0, event, WrongSignature},
		{"flipped bit in the id", set("Svix-Id", "msg_0"), 0, event, WrongSignature},
		{"flipped bit in the body", nil, 0, strings.Replace(event, "48", "49", 1), WrongSignature},
		{"body without its last byte", nil, 0, event[:len(event)-1], WrongSignature},
		{"flipped bit in the signature", edit(func(s string) string { return s[:3] + flip(s[3]) + s[4:] }), 0, event, WrongSignature},
		{"another spelling of the same signature bytes", edit(respell), 0, event, WrongSignature},
		{"signature with something behind", edit(func(s string) string { return s + "AAAA" }), 0, event, MalformedSignature},
		{"signature of another length", set("Svix-Signature", "v1,d3Jvbmc="), 0, event, WrongSignature},
		{"signature without a version", edit(func(s string) string { return s[3:] }), 0, event, MalformedSignature},
		{"signature that is not base64", set("Svix-Signature", "v1,***"), 0, event, MalformedSignature},
		{"version alone", set("Svix-Signature", "v1,"), 0, event, MalformedSignature},
		{"only ed25519", edit(func(s string) string { return "v1a" + s[2:] }), 0, event, MalformedSignature},
		{"ed25519 beside hmac", edit(func(s string) string { return "v1a,AAAA " + s }), 0, event, fresh},
		{"another signature first, while rotating", edit(func(s string) string { return "v1,d3Jvbmc= " + s }), 0, event, fresh},
		{"list with garbage in it", edit(func(s string) string { return "  v1 ,, v2,x v1,*** " + s + " " }), 0, event, fresh},
		{"signed 4 minutes ago", nil, -4 * time.Minute, event, fresh},
		{"signed 4 minutes ahead", nil, 4 * time.Minute, event, fresh},
		{"signed 6 minutes ago", nil, -6 * time.Minute, event, BadTimestamp},
		{"signed 6 minutes ahead", nil, 6 * time.Minute, event, BadTimestamp},
		{"signed in 1970", nil, -time.Duration(now.Unix()) * time.Second, event, BadTimestamp},
		{"old and forged: the secret is wrong, not the clock", set("Svix-Timestamp", "1700000000"), -6 * time.Minute, event, WrongSignature},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, secret := range []string{secretA, secretB} { // either of a rotation
				h, err := Sign(secret, "msg_1", now.Add(tt.at), []byte(event))
				if err != nil {
					t.Fatalf("sign: %v", err)
				}
				if tt.change != nil {
					tt.change(h)
				}
				got := mustKeys(t, secretA, secretB).Verify(h, []byte(tt.body), now, 5*time.Minute)
				if got.Reason != tt.want {
					t.Errorf("reason: got %q (%s), want %q", got.Reason, got.Detail, tt.want)
				}
				if v := mustKeys(t, "bm90IHRoaXMgb25l").Verify(h, []byte(tt.body), now, 5*time.Minute); v.OK() {
					t.Error("a stranger's secret verifies it")
				}
			}
		})
	}
}

func TestParseSecretsQuotesNone(t *testing.T) {
	_, err := ParseSecrets([]string{secretA, "whsec_not base64!", "whsec_", ""})
	if err == nil {
		t.Fatal("bad secrets were taken")
	}
	for _, want := range []string{"secret 2", "secret 3", "secret 4"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "not base64!") {
		t.Errorf("error %q quotes a secret", err)
	}
}

// FuzzSignatureHeaders holds Verify against the svix library, which sees one
// secret at a time and the first of repeated headers: what the library refuses,
// Verify must.
func FuzzSignatureHeaders(f *testing.F) {
	now := time.Now()
	good, err := Sign(secretA, "msg_1", now, []byte(event))
	if err != nil {
		f.Fatal(err)
	}
	id, timestamp, signature := good.Get("svix-id"), good.Get("svix-timestamp"), good.Get("svix-signature")
	f.Add(id, timestamp, signature, "", "", "", event)
	f.Add("", "", "", id, timestamp, signature, event)
	f.Add(id, timestamp, "v1a,x v1,AAAA "+signature, id, "", "v1,", event)
	f.Add(id, "0"+timestamp, signature+"\n", id, timestamp, signature, event)
	f.Add(id, "-1", ",,, v1,", id+".1", timestamp, signature, "")
	library, err := svix.NewWebhook(secretA)
	if err != nil {
		f.Fatal(err)
	}
	keys, err := ParseSecrets([]string{secretB, secretA})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sid, sts, ssig, wid, wts, wsig, body string) {
		h := http.Header{}
		for name, value := range map[string]string{
			"Svix-Id": sid, "Svix-Timestamp": sts, "Svix-Signature": ssig,
			"Webhook-Id": wid, "Webhook-Timestamp": wts, "Webhook-Signature": wsig,
		} {
			if value != "" {
				h.Set(name, value)
			}
		}
		v := keys.Verify(h, []byte(body), now, 5*time.Minute)
		// The library knows blanks between entries and a comma in them; here either
		// separates. Each text behind a v1 is shown to the library by itself.
		err := library.VerifyIgnoringTimestamp([]byte(body), h)
		name := "Svix-Signature"
		if v.Headers == "webhook" {
			name = "Webhook-Signature"
		}
		list := h.Get(name)
		for rest := list; err != nil; {
			text, more, ok := nextText(rest)
			if !ok {
				break
			}
			if before := strings.TrimRight(list[:len(list)-len(more)-len(text)], " ,"); !strings.HasSuffix(" "+before, " v1") && !strings.HasSuffix(","+before, ",v1") {
				t.Errorf("%q in %q does not follow v1", text, list)
			}
			h.Set(name, "v1,"+text)
			err = library.VerifyIgnoringTimestamp([]byte(body), h)
			rest = more
		}
		if err != nil && (v.OK() || v.Reason == BadTimestamp) {
			t.Errorf("verified what the library refuses: %v: %q", err, h)
		} else if err == nil && v.Reason == WrongSignature {
			t.Errorf("refused what the library verifies: %s: %q", v.Detail, h)
		}
		if off := v.At.Sub(now).Abs(); v.OK() && off > 5*time.Minute {
			t.Errorf("verified a request signed %v from now", off)
		}
	})
}

func mustKeys(t *testing.T, secrets ...string) Keys {
	t.Helper()
	keys, err := ParseSecrets(secrets)
	if err != nil {
		t.Fatalf("parse secrets: %v", err)
	}
	return keys
}

func set(name, value string) func(http.Header) {
	return func(h http.Header) { h.Set(name, value) }
}

func del(name string) func(http.Header) {
	return func(h http.Header) { h.Del(name) }
}

func edit(f func(string) string) func(http.Header) {
	return func(h http.Header) { h.Set("Svix-Signature", f(h.Get("Svix-Signature"))) }
}

func rename(h http.Header, family string) {
	for _, name := range []string{"id", "timestamp", "signature"} {
		value := h.Get("svix-" + name)
		h.Del("svix-" + name)
		h.Set(family+"-"+name, value)
	}
}

func renamed(h http.Header, family string) http.Header {
	h = h.Clone()
	rename(h, family)
	return h
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// respell changes bits of the last base64 digit that no decoded byte has.
func respell(s string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := len(s) - 2
	other := s[:last] + string(digits[strings.IndexByte(digits, s[last])^1]) + "="
	a, errA := base64.StdEncoding.DecodeString(s[3:])
	b, errB := base64.StdEncoding.DecodeString(other[3:])
	if errA != nil || errB != nil || string(a) != string(b) {
		panic("respelling changed the bytes")
	}
	return other
}
