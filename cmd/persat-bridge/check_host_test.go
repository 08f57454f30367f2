package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check said ok, and serve then did not start for a reason of this host.
func TestCheckOfTheHost(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	base := []string{"PERSAT_WEBHOOK_SECRET=" + testSecret, "PERSAT_BRIDGE_SERVER_LISTEN=127.0.0.1:0", "PERSAT_BRIDGE_ADMIN_LISTEN=127.0.0.1:0", "PERSAT_BRIDGE_NATS_EMBEDDED_LISTEN=127.0.0.1:0",
		"PERSAT_BRIDGE_JOURNAL_DIR=" + filepath.Join(dir, "new", "journal"), "PERSAT_BRIDGE_NATS_EMBEDDED_STORE_DIR=" + filepath.Join(dir, "new", "nats")}
	t.Setenv("OTEL_TRACES_EXPORTER", "zipkin") // looked at with tracing alone
	for _, c := range []struct{ name, variable, want string }{
		{"all is well", "", ""},
		{"an address of another host", "PERSAT_BRIDGE_SERVER_LISTEN=192.0.2.1:8080", "warning: server.listen: on this host 'serve' would not start: listen tcp 192.0.2.1:8080"},
		{"a file where a directory is wanted", "PERSAT_BRIDGE_JOURNAL_DIR=" + filepath.Join(file, "journal"), "warning: journal.dir: on this host"},
		{"a store that is a file", "PERSAT_BRIDGE_NATS_EMBEDDED_STORE_DIR=" + file, "warning: nats.embedded.store_dir: on this host 'serve' would not start: " + file + " is a file"},
		{"another exporter of traces", "PERSAT_BRIDGE_TRACING_ENABLED=true", "warning: tracing: on this host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"check"}, append(base, c.variable), strings.NewReader(""), &out, &errs)
			warned := strings.Contains(out.String(), "warning: ")
			if code != exitDone || warned != (c.want != "") || !strings.Contains(out.String(), c.want) {
				t.Errorf("got exit code %d, %q, %q; want %q", code, out.String(), errs.String(), c.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("check has made a directory")
	}
}
