package webhook

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestNewNamesEveryMistake(t *testing.T) {
	one := func(s Source) Options { return Options{Sources: []Source{s}} }
	good := Source{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA}}
	tests := []struct {
		name string
		o    Options
		want []string
	}{
		{"nothing configured", Options{}, []string{"no source"}},
		{"svix without a secret", one(Source{Name: "persat", Auth: AuthSvix}), []string{"source persat", "needs a secret"}},
		{"auth forgotten: fails closed", one(Source{Name: "persat", Secrets: []string{secretA}}), []string{`auth ""`}},
		{"auth of another tool", one(Source{Name: "persat", Auth: "hmac", Secrets: []string{"hush"}}), []string{`auth "hmac"`}},
		{"none with secrets", one(Source{Name: "persat", Auth: AuthNone, Secrets: []string{"hush"}}), []string{"nothing would check"}},
		{"half a secret", one(Source{Name: "persat", Auth: AuthSvix, Secrets: []string{"whsec_hush!"}}), []string{"secret 1"}},
		{"basic without a password", one(Source{Name: "persat", Auth: AuthBasic, Secrets: []string{"hush", "hush:"}}), []string{"secret 1", "secret 2"}},
		{"header without a value", one(Source{Name: "persat", Auth: AuthHeader, Secrets: []string{"hush", "X Y: hush"}}), []string{"secret 1", "secret 2"}},
		{"header that HTTP uses", one(Source{Name: "persat", Auth: AuthHeader, Secrets: []string{"Host: hush"}}), []string{"Host"}},
		{"name with a slash", one(Source{Name: "a/b", Auth: AuthNone}), []string{"source a/b"}},
		{"name of the metrics", one(Source{Name: "other", Auth: AuthNone}), []string{"source other"}},
		{"the same twice", Options{Sources: []Source{good, good}}, []string{"twice"}},
		{"several at once", Options{
			Sources:        []Source{{Name: "", Auth: AuthNone, Tolerance: -1, RateLimit: math.NaN(), AllowCIDRs: []netip.Prefix{{}}}},
			MaxBodyBytes:   -1,
			MaxInFlight:    -1,
			AnswerTimeout:  -1,
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")},
		}, []string{"name is not", "tolerance", "rate limit", "not valid", "max body bytes", "max in flight", "answer timeout", "as IPv4"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.o, &recorder{})
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("error %q quotes a secret", err)
			}
		})
	}
}

func TestSetSecrets(t *testing.T) {
	f := newFixture(t, Options{Sources: []Source{
		{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA}},
		{Name: "basic", Auth: AuthBasic, Secrets: []string{"user:password"}},
	}})
	verifies := func(secret string) bool {
		return f.do(signed(t, secret, "msg_1", time.Now(), event)).code < 300
	}
	for name, secrets := range map[string]map[string][]string{
		"none left":          {"persat": nil},
		"one is not base64":  {"persat": {secretB, "***"}},
		"unknown source":     {"persat": {secretB}, "nobody": {secretB}},
		"another is no pair": {"persat": {secretB}, "basic": {"user"}},
	} {
		if err := f.SetSecrets(secrets); err == nil {
			t.Errorf("%s: it was taken", name)
		}
		if !verifies(secretA) || verifies(secretB) {
			t.Errorf("%s: an error changed the secrets", name)
		}
	}
	if err := f.SetSecrets(map[string][]string{"persat": {secretB}}); err != nil {
		t.Fatalf("set secrets: %v", err)
	}
	if verifies(secretA) || !verifies(secretB) {
		t.Error("the old secret verifies, or the new one does not")
	}
}

func TestMetricsAreZeroAtFirst(t *testing.T) {
	f := newFixture(t, Options{})
	for _, source := range []string{"source=persat", "source=other"} {
		for _, code := range []string{"200", "202", "400", "401", "403", "404", "405", "413", "429", "503"} {
			if got := f.counted("persat_bridge_requests_total", source, "code="+code); got != 0 {
				t.Errorf("requests_total %s %s: got %d, want 0", source, code, got)
			}
		}
		for _, reason := range reasons {
			if got := f.counted("persat_bridge_rejected_total", source, "reason="+string(reason)); got != 0 {
				t.Errorf("rejected_total %s %s: got %d, want 0", source, reason, got)
			}
		}
	}
	if got := f.counted("persat_bridge_accept_duration_seconds", "source=persat"); got != 0 {
		t.Errorf("accept_duration_seconds: got %d, want 0", got)
	}
}
