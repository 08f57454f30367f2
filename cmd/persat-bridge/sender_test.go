package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// http was redirected to https, or a slash was added: send followed, and reported 202 of
// a page elsewhere, or 405 of a GET, where the real sender fails every delivery.
func TestSendFollowsNoRedirect(t *testing.T) {
	followed := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer elsewhere.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		redirecting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/webhooks/persat", code)
		}))
		var output bytes.Buffer
		exit := run(t.Context(), []string{"send", "client.deleted", "--url", redirecting.URL, "--secret", testSecret}, nil, strings.NewReader(""), &output, &output)
		redirecting.Close()
		got := strings.Join(strings.Fields(output.String()), " ")
		if want := fmt.Sprintf("%d refused", code); exit != exitFailed || followed || !strings.Contains(got, want) || !strings.Contains(got, "redirected to "+elsewhere.URL+"/webhooks/persat") {
			t.Errorf("%d: exit code %d, followed %v, %q", code, exit, followed, got)
		}
	}
}
