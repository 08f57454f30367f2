package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestEveryKeyHasAVariable sets each key alone through the environment, over a
// file that has the defaults, and looks that it and no other changed.
func TestEveryKeyHasAVariable(t *testing.T) {
	path, err := filepath.Abs(reference)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	write(t, "file", "x\n")
	write(t, "services", "ntfy://ntfy.sh/topic\n")
	write(t, "secrets", oldSecret+"\n")
	cert, private := newPair(t, "certificate", 365*24*time.Hour)

	const poller = "https://poll.example.com/poller/poll_x"
	// What a value of the type alone would not do, and what else it then needs.
	values := map[string]string{
		"server.listen": ":9999", "admin.listen": "[::1]:9999", "nats.embedded.listen": "localhost:9999",
		"server.tls.cert_file": cert, "server.tls.key_file": private, "admin.token_file": "file",
		"sources.persat.auth": "none", "sources.persat.secrets": oldSecret + "," + secret, "sources.persat.secrets_file": "secrets",
		"sources.persat.pull.url": poller, "sources.persat.pull.token": "sk_poll_x", "sources.persat.pull.token_file": "file", "sources.persat.pull.start": "earliest",
		"nats.embedded.enabled": "false", "nats.url": "nats.example.com:4222", "nats.creds_file": "file", "nats.password_file": "file",
		"nats.token_file": "file", "nats.nkey_file": "file", "nats.stream.compression": "s2", "sources.persat.subject": "entity",
		"nats.tls.ca_file": cert, "nats.tls.cert_file": cert, "nats.tls.key_file": private,
		"publish.backoff.initial": "1s", "publish.backoff.jitter": "0.25", "publish.batch": "off", "accept.wait_for": "stream", "log.level": "warn", "log.format": "json",
		"admin.url": "https://ops.example.com", "alerts.urls": "ntfy://ntfy.sh/topic", "alerts.urls_file": "services", "alerts.language": "es",
	}
	companions := map[string]map[string]string{
		"sources.persat.pull.url":        {"sources.persat.pull.token": "sk_poll_x"},
		"sources.persat.pull.token":      {"sources.persat.pull.url": poller},
		"sources.persat.pull.token_file": {"sources.persat.pull.url": poller},
		"server.tls.cert_file":           {"server.tls.key_file": private},
		"server.tls.key_file":            {"server.tls.cert_file": cert},
		"nats.tls.cert_file":             {"nats.tls.key_file": private},
		"nats.tls.key_file":              {"nats.tls.cert_file": cert},
		"nats.password":                  {"nats.user": "user"},
		"nats.password_file":             {"nats.user": "user"},
		"nats.embedded.enabled":          {"nats.url": "nats.example.com:4222"},
		"nats.stream.replicas":           {"nats.url": "nats.example.com:4222"},
		"nats.api_prefix":                {"nats.url": "nats.example.com:4222"},
	}
	follows := map[string][]string{ // what has to change with it
		"sources.persat.pull.token_file": {"sources.persat.pull.token"},
		"admin.token_file":               {"admin.token"}, "nats.password_file": {"nats.password"}, "nats.token_file": {"nats.token"},
		"nats.url": {"nats.embedded.enabled"}, "nats.stream.replicas": {"nats.embedded.enabled"}, "nats.api_prefix": {"nats.embedded.enabled"}, "nats.embedded.enabled": {},
		"sources.persat.auth": {"sources.persat.secrets"}, "sources.persat.secrets_file": {"sources.persat.secrets"}, "alerts.urls_file": {"alerts.urls"},
	}
	before := flat(defaults())
	eachKey(reflect.ValueOf(Default()).Elem(), "", func(key string, v reflect.Value) {
		t.Run(key, func(t *testing.T) {
			value, ok := values[key]
			if !ok {
				value = another(t, v)
			}
			environ := []string{variable(key) + "=" + value}
			if key != "sources.persat.auth" {
				environ = append(environ, "PERSAT_WEBHOOK_SECRET="+secret)
			}
			want := append([]string{key}, follows[key]...)
			for other, value := range companions[key] {
				environ = append(environ, variable(other)+"="+value)
				want = append(want, other)
			}
			cfg, _, err := Load(path, environ)
			if err != nil {
				t.Fatalf("Load: %v", err)
			}
			var got []string
			for k, after := range flat(cfg) {
				if after != before[k] {
					got = append(got, k)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("changed keys (-want +got):\n%s", diff)
			}
		})
	})
}

// another returns a text for v's type that is not v's default.
func another(t *testing.T, v reflect.Value) string {
	switch d := v.Interface().(type) {
	case bool:
		return fmt.Sprint(!d)
	case int:
		return fmt.Sprint(d + 1)
	case float64:
		return fmt.Sprint(d + 1)
	case time.Duration:
		return (d + 3*time.Hour).String()
	case Size:
		return (d + MiB).String()
	case []netip.Prefix:
		return "192.0.2.1, 2001:db8::/32"
	case string, Secret, Servers:
		return "changed"
	}
	t.Fatalf("no value for the type %v", v.Type())
	return ""
}
