package autoconfig_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/bridge/autoconfig"
)

const (
	secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	key    = "appsk_sEcReT"
)

// token makes a token of these members.
func token(members map[string]string) string {
	text, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return "auto_v1_" + base64.StdEncoding.EncodeToString(text)
}

func members(server string) map[string]string {
	return map[string]string{"aid": "app_1", "eid": "ep_1", "surl": server, "esec": secret, "tok": key}
}

func without(m map[string]string, name string) map[string]string {
	delete(m, name)
	return m
}

func TestParse(t *testing.T) {
	const server = "https://api.us.svix.com"
	tests := []struct {
		name, token, want string // want: in the error
	}{
		{"whole", token(members(server)), ""},
		{"without padding", strings.TrimRight(token(members(server)), "="), ""},
		{"a secret", secret, "copy it whole"},
		{"cut off", token(members(server))[:40], "copy it whole"},
		{"not base64", "auto_v1_%%%", "copy it whole"},
		{"not JSON", "auto_v1_" + base64.StdEncoding.EncodeToString([]byte("x")), "copy it whole"},
		{"no secret", token(without(members(server), "esec")), "no signing secret"},
		{"no endpoint", token(without(members(server), "eid")), "no endpoint"},
		{"no key", token(without(members(server), "tok")), "no endpoint"},
		{"plain http", token(members("http://api.us.svix.com")), "no https server"},
		{"a user in the server", token(members("https://a:b@api.us.svix.com")), "no https server"},
		{"no server", token(members("")), "no https server"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := autoconfig.Parse(tt.token)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
					t.Errorf("got %v, want an error with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.App != "app_1" || got.Endpoint != "ep_1" || got.Server.String() != server {
				t.Errorf("got %v", got)
			}
			for _, text := range []string{fmt.Sprint(got), fmt.Sprintf("%#v", got), got.String()} {
				if strings.Contains(text, secret) || strings.Contains(text, key) {
					t.Errorf("%s shows a secret", text)
				}
			}
			if signs, err := autoconfig.SigningSecret(tt.token); signs != secret || err != nil {
				t.Errorf("signing secret: got %q, %v", signs, err)
			}
		})
	}
	if signs, err := autoconfig.SigningSecret(secret); signs != secret || err != nil {
		t.Errorf("of a plain secret: got %q, %v", signs, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(token(members("https://api.us.svix.com")))
	f.Add("auto_v1_")
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := autoconfig.Parse(s)
		if err != nil {
			if len(s) > 60 && strings.Contains(err.Error(), s[10:60]) {
				t.Errorf("the error quotes the token: %v", err)
			}
			return
		}
		if parsed.App == "" || parsed.Endpoint == "" || parsed.Server.Hostname() == "" {
			t.Errorf("got %v of %q", parsed, s)
		}
	})
}

func TestClientRefusals(t *testing.T) {
	status, location := 0, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, "<html>")
	}))
	t.Cleanup(server.Close)
	parsed, err := autoconfig.Parse(token(members(server.URL)))
	if err != nil {
		t.Fatal(err)
	}
	client := autoconfig.NewClient(parsed, nil)
	for code, want := range map[int]string{401: "refuses the token", 403: "refuses the token", 404: "does not know the endpoint", 302: "answers 302", 500: "answers 500", 200: "not that of the sender's API"} {
		status, location = code, ""
		if code == 302 {
			location = server.URL + "/elsewhere"
		}
		_, err := client.Get(context.Background())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), key) {
			t.Errorf("%d: got %v, want %q", code, err, want)
		}
	}
	server.Close()
	if _, err := client.Get(context.Background()); err == nil || strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "/api/v1/") {
		t.Errorf("nobody there: got %v", err)
	}
}
