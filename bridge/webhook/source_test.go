package webhook

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge"
)

func TestSourceCredentials(t *testing.T) {
	basic := Source{Name: "persat", Auth: AuthBasic, Secrets: []string{"persat:open:sesame", "persat:next"}}
	header := Source{Name: "persat", Auth: AuthHeader, Secrets: []string{"X-Token: s3cret", "x-new-token:n3xt"}}
	with := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	login := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	tests := []struct {
		name   string
		source Source
		give   func(*http.Request)
		reason Reason // empty: taken
	}{
		{"basic: password with a colon", basic, login("persat", "open:sesame"), ""},
		{"basic: second of a rotation", basic, login("persat", "next"), ""},
		{"basic: wrong password", basic, login("persat", "open"), WrongCredentials},
		{"basic: wrong user", basic, login("Persat", "next"), WrongCredentials},
		{"basic: nothing between the quotes", basic, login("", ""), WrongCredentials},
		{"basic: without", basic, func(*http.Request) {}, MissingCredentials},
		{"basic: another scheme", basic, with("Authorization", "Bearer next"), WrongCredentials},
		{"basic: not base64", basic, with("Authorization", "Basic ***"), WrongCredentials},
		{"basic: good one behind a proxy's own", basic, with("Authorization", "Basic cGVyc2F0Om5leHQ=", "Basic eDp5"), WrongCredentials},
		{"header: good", header, with("X-Token", "s3cret"), ""},
		{"header: second of a rotation", header, with("X-New-Token", "n3xt"), ""},
		{"header: value of the other", header, with("X-Token", "n3xt"), WrongCredentials},
		{"header: empty", header, with("X-Token", ""), WrongCredentials},
		{"header: given twice", header, with("X-Token", "s3cret", "s3cret"), WrongCredentials},
		{"header: without", header, func(*http.Request) {}, MissingCredentials},
		{"none: everyone", Source{Name: "persat", Auth: AuthNone}, func(*http.Request) {}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{Sources: []Source{tt.source}})
			r := request(event)
			tt.give(r)
			got := f.do(r)
			if tt.reason == "" {
				if got.code != 202 {
					t.Errorf("got %d %s, want 202", got.code, got.err)
				}
				return
			}
			if got.code != 401 || f.rejected("persat", tt.reason) != 1 {
				t.Errorf("got %d %s, want 401 for %s", got.code, got.err, tt.reason)
			}
			if challenged := got.header.Get("WWW-Authenticate") == `Basic realm="persat-bridge"`; challenged != (tt.source.Auth == AuthBasic) {
				t.Errorf("WWW-Authenticate: got %q", got.header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestSourceAddresses(t *testing.T) {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	tests := []struct {
		name      string
		proxies   []netip.Prefix
		peer      string
		forwarded []string
		want      int
	}{
		{"the sender itself", nil, "203.0.113.7:4711", nil, 202},
		{"the sender over IPv6", nil, "[2001:db8::7]:4711", nil, 202},
		{"the sender, mapped into IPv6", nil, "[::ffff:203.0.113.7]:4711", nil, 202},
		{"a stranger", nil, "198.51.100.1:4711", nil, 403},
		{"a stranger who claims to be the sender", nil, "198.51.100.1:4711", []string{"203.0.113.7"}, 403},
		{"a stranger on loopback who claims it", nil, "127.0.0.1:4711", []string{"203.0.113.7"}, 403},
		{"the sender behind our proxy", prefixes("10.0.0.0/8"), "10.1.1.1:80", []string{"203.0.113.7"}, 202},
		{"the sender behind two of ours", prefixes("10.0.0.0/8"), "10.1.1.1:80", []string{"203.0.113.7, 10.2.2.2"}, 202},
		{"a stranger behind our proxy", prefixes("10.0.0.0/8"), "10.1.1.1:80", []string{"198.51.100.1"}, 403},
		{"a stranger behind our proxy who claims it", prefixes("10.0.0.0/8"), "10.1.1.1:80", []string{"203.0.113.7, 198.51.100.1"}, 403},
		{"the same in two headers", prefixes("10.0.0.0/8"), "10.1.1.1:80", []string{"203.0.113.7", "198.51.100.1"}, 403},
		{"a proxy of nobody", prefixes("10.0.0.0/8"), "192.168.1.1:80", []string{"203.0.113.7"}, 403},
		{"garbage from our proxy", prefixes("10.0.0.0/8"), "10.1.1.1:80", []string{"unknown"}, 403},
		{"no address at all", nil, "@", nil, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Options{
				TrustedProxies: tt.proxies,
				Sources: []Source{{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA},
					AllowCIDRs: prefixes("203.0.113.0/24", "2001:db8::/32")}},
			})
			r := signed(t, secretA, "msg_1", time.Now(), event)
			r.RemoteAddr = tt.peer
			if tt.forwarded != nil {
				r.Header["X-Forwarded-For"] = tt.forwarded
			}
			if got := f.do(r); got.code != tt.want {
				t.Errorf("got %d, want %d", got.code, tt.want)
			}
		})
	}
}

func TestSourceRateLimit(t *testing.T) {
	f := newFixture(t, Options{Sources: []Source{
		{Name: "persat", Auth: AuthSvix, Secrets: []string{secretA}, RateLimit: 0.1},
		{Name: "quiet", Auth: AuthSvix, Secrets: []string{secretA}},
	}})
	for i, want := range []int{202, 429, 429} {
		got := f.do(signed(t, secretA, "msg_1"+strings.Repeat("1", i), time.Now(), event))
		if got.code != want {
			t.Errorf("request %d: got %d, want %d", i+1, got.code, want)
		}
		if want == 429 && got.header.Get("Retry-After") != "10" {
			t.Errorf("Retry-After: got %q, want 10", got.header.Get("Retry-After"))
		}
	}
	other := signed(t, secretA, "msg_2", time.Now(), event)
	other.URL.Path = "/webhooks/quiet"
	if got := f.do(other); got.code != 202 {
		t.Errorf("the other source: got %d, want 202", got.code)
	}
}

func TestServerInFlight(t *testing.T) {
	f := newFixture(t, Options{MaxInFlight: 2})
	entered, leave := make(chan struct{}), make(chan struct{})
	f.acceptor.accept = func(context.Context, bridge.Delivery) (bridge.Outcome, error) {
		entered <- struct{}{}
		<-leave
		return bridge.Accepted, nil
	}
	done := make(chan reply, 2)
	for _, id := range []string{"msg_1", "msg_2"} {
		r := signed(t, secretA, id, time.Now(), event)
		go func() { done <- f.do(r) }()
		reached(t, entered)
	}
	got := f.do(signed(t, secretA, "msg_3", time.Now(), event))
	if got.code != 503 || got.header.Get("Retry-After") != "1" || f.rejected("persat", TooManyInFlight) != 1 {
		t.Errorf("third: got %d, Retry-After %q, want 503, 1", got.code, got.header.Get("Retry-After"))
	}
	close(leave)
	for range 2 {
		if got := <-done; got.code != 202 {
			t.Errorf("under way: got %d, want 202", got.code)
		}
	}
	f.acceptor.accept = nil
	if got := f.do(signed(t, secretA, "msg_3", time.Now(), event)); got.code != 202 {
		t.Errorf("third, later: got %d, want 202", got.code)
	}
}
