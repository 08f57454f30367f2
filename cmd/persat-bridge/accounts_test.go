package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persat-bridge/persat-bridge/internal/testwait"
)

// Two accounts of Persat in one bridge: each has its own path, secret and
// subjects, and neither can be mistaken for the other.
func TestTwoAccounts(t *testing.T) {
	t.Parallel()
	secrets := map[string]string{"north": newSecret(), "south": newSecret()}
	prefixes := map[string]string{"north": "acme.norte", "south": "acme.sur"}
	b := newBridgeProcess(t, "NORTH_SECRET="+secrets["north"], "SOUTH_SECRET="+secrets["south"])
	file := filepath.Join(b.dir, "config.yaml")
	text := `
sources:
  north:
    secrets: ["${NORTH_SECRET}"]
    subject_prefix: acme.norte
  south:
    secrets: ["${SOUTH_SECRET}"]
    subject_prefix: acme.sur
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Args = []string{"serve", "-c", file}
	b.Start()

	urlOf := func(source string) string { return strings.TrimSuffix(b.url, "persat") + source }
	post := func(source, secret, id, body string) answer {
		t.Helper()
		s := newSender(urlOf(source), secret, 1)
		defer s.close()
		a, err := s.post(t.Context(), id, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	const body = `{"eventType":"workorder.closed","payload":{"_id":"48","account":%q}}`
	for source, secret := range secrets {
		// The same delivery id and the same entity in both: two events.
		own := fmt.Sprintf(body, source)
		if a := post(source, secret, "msg_1", own); a.code != http.StatusAccepted {
			t.Errorf("%s: got %d %s, want 202", source, a.code, a.Error)
		}
		if a := post(source, secret, "msg_1", own); a.code != http.StatusOK || a.Status != "duplicate" {
			t.Errorf("%s again: got %d %s, want 200 duplicate", source, a.code, a.Status)
		}
	}
	if a := post("north", secrets["south"], "msg_2", fmt.Sprintf(body, "south")); a.code != http.StatusUnauthorized {
		t.Errorf("the one's secret at the other's door: got %d, want 401", a.code)
	}
	if a := post("persat", secrets["north"], "msg_3", fmt.Sprintf(body, "north")); a.code != http.StatusNotFound {
		t.Errorf("the default source, which is not configured: got %d, want 404", a.code)
	}
	testwait.Eventually(t, "both events published", func() bool { return b.metric("persat_bridge_pending_events") == 0 })

	messages := readMessages(t, b.nats)
	var got []string
	for _, m := range messages {
		source := strings.TrimPrefix(m.Headers().Get("ce-source"), "/persat/")
		got = append(got, m.Subject()+" "+m.Headers().Get("Nats-Msg-Id"))
		if want := fmt.Appendf(nil, body, source); !bytes.Equal(m.Data(), want) {
			t.Errorf("%s: got %s, want %s", m.Subject(), m.Data(), want)
		}
	}
	want := []string{prefixes["north"] + ".workorder.closed north:msg_1", prefixes["south"] + ".workorder.closed south:msg_1"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got messages %q, want %q", got, want)
	}
	if code := b.Stop(); code != exitDone {
		t.Errorf("exit code %d, want 0", code)
	}
}
