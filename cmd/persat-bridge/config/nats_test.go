package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where JetStream takes requests, and what of it cannot be.
func TestJetStreamAPI(t *testing.T) {
	const url = "PERSAT_BRIDGE_NATS_URL=nats.example.com:4222"
	for name, test := range map[string]struct {
		environ []string
		context string // of the nats command, as JSON
		want    string // in the mistake; empty when there is none
	}{
		"a domain":                    {environ: []string{url, "PERSAT_BRIDGE_NATS_DOMAIN=hub"}},
		"the embedded server's":       {environ: []string{"PERSAT_BRIDGE_NATS_DOMAIN=edge"}},
		"a prefix":                    {environ: []string{url, "PERSAT_BRIDGE_NATS_API_PREFIX=JS.acme.API."}},
		"a domain with a dot":         {environ: []string{url, "PERSAT_BRIDGE_NATS_DOMAIN=hub.eu"}, want: "nats.domain"},
		"a domain with a wildcard":    {environ: []string{url, "PERSAT_BRIDGE_NATS_DOMAIN=*"}, want: "nats.domain"},
		"a prefix with an empty part": {environ: []string{url, "PERSAT_BRIDGE_NATS_API_PREFIX=JS..API"}, want: "nats.api_prefix"},
		"both":                        {environ: []string{url, "PERSAT_BRIDGE_NATS_DOMAIN=hub", "PERSAT_BRIDGE_NATS_API_PREFIX=JS.hub.API"}, want: "only one of them"},
		"a prefix of the embedded":    {environ: []string{"PERSAT_BRIDGE_NATS_API_PREFIX=JS.acme.API"}, want: "nats.api_prefix"},
		"a context":                   {context: `{"url":"nats.example.com","jetstream_domain":"hub"}`},
		"a context with both":         {context: `{"url":"nats.example.com","jetstream_domain":"hub","jetstream_api_prefix":"JS.hub.API"}`, want: "jetstream_domain and jetstream_api_prefix"},
		"a context of the future":     {context: `{"url":"nats.example.com","quantum":"on"}`, want: `sets "quantum"`},
	} {
		t.Run(name, func(t *testing.T) {
			environ := append(test.environ, "PERSAT_WEBHOOK_SECRET="+secret)
			if test.context != "" {
				dir := t.TempDir()
				t.Setenv("XDG_CONFIG_HOME", dir)
				dir = filepath.Join(dir, "nats", "context")
				if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "prod.json"), []byte(test.context), 0o600)); err != nil {
					t.Fatal(err)
				}
				environ = append(environ, "NATS_CONTEXT=prod")
			}
			_, _, err := Load("", environ)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
