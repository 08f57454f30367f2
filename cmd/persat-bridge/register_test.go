package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// portal is the sender's API for one endpoint, as far as AutoConfig uses it.
type portal struct {
	mu       sync.Mutex
	settings map[string]any
	sets     int
}

const portalKey = "appsk_0123456789"

func newPortal(t *testing.T, url string) (*portal, string) {
	p := &portal{settings: map[string]any{"url": url, "filterTypes": nil, "disabled": false, "description": "kept"}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	text := fmt.Sprintf(`{"aid":"app_1","eid":"ep_1","surl":%q,"esec":%q,"tok":%q}`, server.URL, testSecret, portalKey)
	return p, "auto_v1_" + base64.StdEncoding.EncodeToString([]byte(text))
}

func (p *portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const endpoint = "/api/v1/app/app_1/endpoint/ep_1"
	switch {
	case r.Header.Get("Authorization") != "Bearer "+portalKey:
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodGet && r.URL.Path == endpoint:
		_ = json.NewEncoder(w).Encode(p.settings)
	case r.Method == http.MethodPut && r.URL.Path == endpoint+"/auto-config":
		var body struct{ Endpoint map[string]any }
		if json.NewDecoder(r.Body).Decode(&body) != nil || body.Endpoint["url"] == nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		for name, value := range body.Endpoint {
			p.settings[name] = value
		}
		p.sets++
		_ = json.NewEncoder(w).Encode(p.settings)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestRegister(t *testing.T) {
	const ours, theirs = "https://bridge.example.com/webhooks/persat", "https://other.example.com/hook"
	tests := []struct {
		name, before string
		args         []string
		code, sets   int
		want         string // in the output
	}{
		{"an endpoint without a URL", "", nil, 0, 1, "now     " + ours},
		{"as it should be", ours, nil, 0, 0, "nothing to change"},
		{"another's, unasked", theirs, nil, 1, 0, "add --yes"},
		{"another's, asked", theirs, []string{"--yes"}, 0, 1, "before  " + theirs},
		{"compare only", theirs, []string{"--check"}, 1, 0, "wanted  " + ours},
		{"compare only, as it should be", ours, []string{"--check"}, 0, 0, "nothing to change"},
		{"chosen types", ours, []string{"--type", "workorder.closed,client.updated"}, 0, 1, "workorder.closed, client.updated"},
		{"as JSON", theirs, []string{"--yes", "--json"}, 0, 1, `"url":"` + ours + `"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			portal, token := newPortal(t, tt.before)
			var out bytes.Buffer
			args := append([]string{"register", "--url", ours}, tt.args...)
			environ := []string{"PERSAT_WEBHOOK_SECRET=" + testSecret + "," + token}
			code := run(t.Context(), args, environ, strings.NewReader(""), &out, &out)
			if code != tt.code || portal.sets != tt.sets || !strings.Contains(out.String(), tt.want) {
				t.Errorf("exit code %d, %d sets, output:\n%s\nwant %d, %d, %q", code, portal.sets, &out, tt.code, tt.sets, tt.want)
			}
			if strings.Contains(out.String(), portalKey) || strings.Contains(out.String(), testSecret) {
				t.Error("the output shows a secret")
			}
			if portal.settings["description"] != "kept" {
				t.Error("another setting of the endpoint was touched")
			}
		})
	}
}
