package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/webhook"
)

// Of a request with two of three signature headers, or with malformed ones, capture said
// "not signed", and advised to give up signatures.
func TestCaptureTellsHowARequestIsSigned(t *testing.T) {
	body := []byte(`{"eventType":"workorder.created","payload":{"_id":"1"}}`)
	whole, err := webhook.Sign(testSecret, "msg_1", time.Now(), body)
	if err != nil {
		t.Fatal(err)
	}
	without := func(names ...string) http.Header {
		h := whole.Clone()
		for _, name := range names {
			h.Del(name)
		}
		return h
	}
	with := func(name string, values ...string) http.Header {
		h := whole.Clone()
		h[name] = values
		return h
	}
	keys, err := webhook.ParseSecrets([]string{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		header http.Header
		about  string
		auth   string
	}{
		{"all three", whole, "signed with svix-* headers, and the signature verifies", "svix"},
		{"the timestamp dropped by a proxy", without("Svix-Timestamp"), "signed in part: it has svix-id, svix-signature, but not svix-timestamp", "svix"},
		{"one left of three, of the other family", http.Header{"Webhook-Id": {"msg_1"}}, "signed in part: it has webhook-id, but not webhook-timestamp, webhook-signature", "svix"},
		{"milliseconds", with("Svix-Timestamp", "1700000000000"), "signed with svix-* headers, but svix-timestamp is not a number of seconds", "svix"},
		{"only v1a", with("Svix-Signature", "v1a,AAAA"), "signed with svix-* headers, but svix-signature holds no v1", "svix"},
		{"another kind of signature", http.Header{"X-Hub-Signature": {"sha256=00"}}, "not signed, and nothing in it is secret: set a password or a header for this endpoint in the portal; the header X-Hub-Signature is no Standard Webhooks signature", "basic"},
		{"none", http.Header{}, "not signed, and nothing in it is secret", "basic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/webhooks/persat", nil)
			r.Header = c.header
			about, lines := fit(r, "persat", body, keys)
			if !strings.HasPrefix(about, c.about) || !strings.Contains(lines, "auth: "+c.auth) {
				t.Errorf("got %q, %q; want %q, auth: %s", about, lines, c.about, c.auth)
			}
		})
	}
}

// A request can have bytes in its headers and body that steer a terminal.
func TestCaptureShowsNothingThatSteers(t *testing.T) {
	body := []byte("{\"eventType\":\"workorder.created\",\"payload\":{\"_id\":\"x\\u001b]0;t\",\"n\":\"\u009b2J\u202e\x7f\"}}")
	r := httptest.NewRequest(http.MethodPost, "/webhooks/persat", nil)
	r.Host = "\u009b2J"
	r.Header = http.Header{"User-Agent": {"\u202etxt\x9b"}, "Authorization": {"Basic " + "eDobWzJKOnk="}}
	var out bytes.Buffer
	p := &program{stdout: &out}
	if err := p.showRequest(r, body, nil); err != nil {
		t.Fatal(err)
	}
	if steersTerminal(out.String()) {
		t.Errorf("got %q", out.String())
	}
}
