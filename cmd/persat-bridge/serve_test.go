package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	svix "github.com/svix/svix-webhooks/go"
)

// sent is a request as a stranger may make it: the test signs, not our code.
type sent struct {
	id, timestamp, signature string
	body                     []byte
	header                   http.Header
}

// signed is a request by the svix library.
func signed(t testing.TB, secret, id string, at time.Time, body string) sent {
	t.Helper()
	wh, err := svix.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := wh.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return sent{id: id, timestamp: strconv.FormatInt(at.Unix(), 10), signature: signature, body: []byte(body), header: http.Header{}}
}

func (s sent) post(t testing.TB, url string) (int, answer) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(s.body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = s.header.Clone()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("svix-id", s.id)
	request.Header.Set("svix-timestamp", s.timestamp)
	request.Header.Set("svix-signature", s.signature)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		t.Errorf("answer %q: %v", text, err)
	}
	return response.StatusCode, a
}

func flip(s string, i int) string {
	b := []byte(s)
	b[i] ^= 1
	return string(b)
}

// secondSecret is the one that a rotation brings.
const secondSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

func TestServeTakesWhatTheSvixLibrarySigned(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t, "PERSAT_BRIDGE_SOURCES_PERSAT_SECRETS="+testSecret+","+secondSecret)
	b.Start()
	const body = `{"eventType":"workorder.created","payload":{"_id":"48","note":"Revisar la caldera, ñandú"}}`
	now := time.Now()
	good := signed(t, testSecret, "msg_first", now, body)

	// Forgeries come first: none of them may take the id.
	forged := map[string]sent{
		"one bit of the body":        {id: good.id, timestamp: good.timestamp, signature: good.signature, body: []byte(flip(body, 40))},
		"one bit of the id":          {id: flip(good.id, 5), timestamp: good.timestamp, signature: good.signature, body: good.body},
		"one bit of the time":        {id: good.id, timestamp: flip(good.timestamp, 9), signature: good.signature, body: good.body},
		"one bit of the signature":   {id: good.id, timestamp: good.timestamp, signature: "v1," + flipBase64(t, strings.TrimPrefix(good.signature, "v1,")), body: good.body},
		"another secret":             signed(t, "whsec_"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 24)), "msg_first", now, body),
		"signed six minutes ago":     signed(t, testSecret, "msg_first", now.Add(-6*time.Minute), body),
		"signed six minutes ahead":   signed(t, testSecret, "msg_first", now.Add(6*time.Minute), body),
		"the signature of no secret": {id: good.id, timestamp: good.timestamp, signature: "v1," + base64.StdEncoding.EncodeToString(make([]byte, 32)), body: good.body},
	}
	for name, s := range forged {
		if s.header == nil {
			s.header = http.Header{}
		}
		if code, a := s.post(t, b.url); code != 401 {
			t.Errorf("%s: got %d %+v, want 401", name, code, a)
		}
	}
	if code, a := good.post(t, b.url); code != 202 || a.Status != "accepted" || a.ID != "msg_first" {
		t.Errorf("signed well: got %d %+v, want 202 accepted", code, a)
	}
	if code, a := good.post(t, b.url); code != 200 || a.Status != "duplicate" || a.ID != "msg_first" {
		t.Errorf("the same again: got %d %+v, want 200 duplicate", code, a)
	}
	// A retry is signed anew.
	if code, a := signed(t, testSecret, "msg_first", now.Add(2*time.Second), body).post(t, b.url); code != 200 || a.Status != "duplicate" {
		t.Errorf("a retry: got %d %+v, want 200 duplicate", code, a)
	}
	if code, a := signed(t, secondSecret, "msg_second", now, body).post(t, b.url); code != 202 {
		t.Errorf("the second secret: got %d %+v, want 202", code, a)
	}
	b.drained()
	messages := readStream(t, b.nats)
	if len(messages) != 2 {
		t.Fatalf("got %d messages in stream PERSAT, want 2", len(messages))
	}
	if m := messages[0]; m.id != "persat:msg_first" || string(m.data) != body || m.entity != "48" {
		t.Errorf("got %s %q about %s, want persat:msg_first with the body about 48", m.id, m.data, m.entity)
	}
	if got := b.Stop(); got != exitDone {
		t.Errorf("exit code %d, want 0", got)
	}
}

func flipBase64(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	b[7] ^= 1
	return base64.StdEncoding.EncodeToString(b)
}

// TestServeHostileBodies posts what must neither get to a subject or header it
// should not, nor be lost, nor end the connection to NATS.
func TestServeHostileBodies(t *testing.T) {
	t.Parallel()
	b := newBridgeProcess(t)
	b.Start()
	event := func(eventType string) string { return fmt.Sprintf(`{"eventType":%q,"payload":{"_id":"1"}}`, eventType) }
	for i, test := range []struct {
		name, body string
		status     string
	}{
		{"not JSON", "hola", "quarantined"},
		{"empty", "", "quarantined"},
		{"no eventType", `{"payload":{}}`, "quarantined"},
		{"eventType >", event(">"), "quarantined"},
		{"eventType a b", event("a b"), "quarantined"},
		{"eventType *", event("*"), "quarantined"},
		{"eventType with an empty token", event("workorder..x"), "quarantined"},
		{"eventType of 5000 characters", event(strings.Repeat("a", 5000)), "quarantined"},
		{"eventType of the JetStream API", event("$JS.API.STREAM.DELETE.PERSAT"), "quarantined"},
		{"eventType with NUL", `{"eventType":"a\u0000b","payload":{}}`, "quarantined"},
		{"eventType twice", `{"eventType":"workorder.created","eventType":"client.created","payload":{}}`, "quarantined"},
		{"invalid UTF-8", "{\"eventType\":\"workorder.created\",\"payload\":\"\xff\"}", "quarantined"},
		{"nested too deep", `{"eventType":"workorder.created","payload":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "quarantined"},
		{"nested deep", `{"eventType":"workorder.created","payload":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "accepted"},
		{"keys of the payload twice", `{"eventType":"workorder.created","payload":{"_id":"1","_id":"2"}}`, "accepted"},
		{"payload an array", `{"eventType":"delivery.deleted","payload":[{"_id":"1"},{"_id":"2"}]}`, "accepted"},
		{"payload a number", `{"eventType":"workorder.created","payload":7}`, "accepted"},
		{"payload null", `{"eventType":"workorder.created","payload":null}`, "accepted"},
		{"a type nobody knows", event("invoice.paid"), "accepted"},
		{"an entity with line breaks", `{"eventType":"workorder.created","payload":{"_id":"1\r\nNats-Rollup: all"}}`, "accepted"},
		{"an entity of 300 kB", `{"eventType":"workorder.created","payload":{"_id":"` + strings.Repeat("ñ", 150_000) + `"}}`, "accepted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := signed(t, testSecret, fmt.Sprintf("msg_%d", i), time.Now(), test.body)
			for name, value := range map[string]string{"Nats-Rollup": "all", "Nats-Msg-Id": "stolen", "Status": "404", "Nats-TTL": "1s", "Ce-Id": "stolen"} {
				s.header.Set(name, value)
			}
			if code, a := s.post(t, b.url); code != 202 || a.Status != test.status {
				t.Fatalf("got %d %+v, want 202 %s", code, a, test.status)
			}
			if code, a := s.post(t, b.url); code != 200 {
				t.Errorf("again: got %d %+v, want 200: it is kept", code, a)
			}
		})
	}
	b.drained()
	if got := b.metric("persat_bridge_dead_events"); got != 13 {
		t.Errorf("got %v dead letters, want 13", got)
	}
	messages := readStream(t, b.nats)
	if len(messages) != 8 {
		t.Errorf("got %d messages, want 8", len(messages))
	}
	for _, m := range messages {
		if !strings.HasPrefix(m.id, "persat:msg_") {
			t.Errorf("got Nats-Msg-Id %q, want our own", m.id)
		}
	}
	if b.metric("persat_bridge_nats_connected") != 1 || strings.Contains(b.Output.String(), "connection to NATS lost") {
		t.Error("the connection to NATS was lost")
	}
}
