package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Where something else has the bridge's port, it is named by its first line, and its
// page is not printed.
func TestSomethingElseAnswers(t *testing.T) {
	const page = "<!doctype html>\n<html><title>Another program</title>\n<p>Hello.\n"
	for _, code := range []int{200, 404, 401, 503} {
		another := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, page)
		}))
		defer another.Close()
		environ := []string{"PERSAT_BRIDGE_ADMIN_LISTEN=" + strings.TrimPrefix(another.URL, "http://"), "PERSAT_WEBHOOK_SECRET=" + testSecret}
		for _, args := range []string{"dead list", "dead replay --all --yes", "replay --all --yes", "healthcheck", "send client.deleted --url " + another.URL} {
			var output bytes.Buffer
			exit := run(t.Context(), strings.Fields(args), environ, strings.NewReader(""), &output, &output)
			want := "not an answer of persat-bridge"
			if code == 503 && args == "healthcheck" { // a bridge that is not ready has words of its own
				want = "not ready: <!doctype html>\n"
			}
			if code == 200 && strings.HasPrefix(args, "send") { // a 2xx is one, whatever it says
				continue
			}
			got := output.String()
			if exit != exitFailed || !strings.Contains(got, want) || !strings.Contains(got, "<!doctype html>") || strings.Contains(got, "Another program") {
				t.Errorf("%s, answered %d: got exit code %d, %q", args, code, exit, got)
			}
		}
	}
}
