package reason

import (
	"maps"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		text, code string
		params     map[string]string
	}{
		{"larger than the NATS server's max_payload: raise the limit, then replay: nats: maximum payload exceeded", "max_payload", map[string]string{"detail": "nats: maximum payload exceeded"}},
		{`delivery id "msg_1" was used before for other bytes (record 12)`, "id_reused", map[string]string{"id": "msg_1", "record": "12"}},
		{"no acknowledgement in time", "no_answer", nil},
		{"no acknowledgement in time: the server is paused, its disk full, the link broken, the stream without acks, or the NATS user without permission: context deadline exceeded", "no_answer", map[string]string{"detail": "context deadline exceeded", "detail.code": "timed_out"}},
		{"stream PERSAT does not have subject persat.a.b: add persat.> to its subjects", "subject_missing", map[string]string{"stream": "PERSAT", "subject": "persat.a.b", "prefix": "persat"}},
		{"not JSON: invalid character 'h' looking for beginning of value at byte 1", "not_json", map[string]string{"detail": "invalid character 'h' looking for beginning of value at byte 1"}},
		{"not JSON", "not_json", nil},
		{"not JSON at all", "", nil},
		{"no eventType", "no_type", nil},
		{"no eventType, but a list: it looks like a batch", "batch", map[string]string{"detail": "it looks like a batch"}},
		{"something new", "", nil},
		// A detail that is a reason too has its code beside it.
		{"connect to NATS at nats://h:4222: no answer within 2s", "nats_connect_to", map[string]string{
			"where": "nats://h:4222", "detail": "no answer within 2s", "detail.code": "no_answer_within", "detail.time": "2s"}},
		{"look it up: the NATS user may not ask for that: give it permission to publish to $JS.API.STREAM.INFO.PERSAT", "look_up", map[string]string{
			"detail": "the NATS user may not ask for that: give it permission to publish to $JS.API.STREAM.INFO.PERSAT", "detail.code": "not_permitted",
			"detail.permission": "publish to $JS.API.STREAM.INFO.PERSAT", "detail.permission.code": "permission_publish", "detail.permission.subject": "$JS.API.STREAM.INFO.PERSAT"}},
		{"no such host; something new", "list", map[string]string{"1": "no such host", "1.code": "no_host", "2": "something new"}},
		{"something new; another", "", nil},
		{"without svix-id, svix-timestamp", "without_headers", map[string]string{"headers": "svix-id, svix-timestamp"}},
		{"without a domain", "no_domain", nil},
	} {
		if got := Explain(c.text); got.Code != c.code || !maps.Equal(got.Params, c.params) {
			t.Errorf("%q: got %s %v, want %s %v", c.text, got.Code, got.Params, c.code, c.params)
		}
	}
}

func TestGroups(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"not JSON: at byte 1", "not JSON: at byte 200", true},
		{"odd thing 17", "odd thing 4", true},
		{"odd thing 17", "other thing 17", false},
		{"no eventType", "not JSON", false},
	} {
		if got := Group(c.a) == Group(c.b); got != c.same {
			t.Errorf("%q and %q: got the same group %v, want %v", c.a, c.b, got, c.same)
		}
	}
}

// The Spanish texts say the same parameters, or fewer.
func TestSpanish(t *testing.T) {
	codes := make(map[string]string)
	for _, row := range rows {
		if other, known := codes[row[0]]; known && other != row[2] {
			t.Errorf("%s: two Spanish texts for one code: %q and %q", row[0], other, row[2])
		}
		codes[row[0]] = row[2]
		if row[2] == "" {
			t.Errorf("%s: no Spanish", row[0])
		}
		for _, name := range placeholder.FindAllString(row[2], -1) {
			if !strings.Contains(row[1], name) {
				t.Errorf("%s: the Spanish has %s, which the English has not", row[0], name)
			}
		}
	}
	for text, want := range map[string]string{
		`delivery id "msg_1" was used before for other bytes (record 12)`: "el id de entrega «msg_1» se usó antes para otro contenido (registro 12)",
		"not JSON: at byte 3": "no es JSON: at byte 3",
		"the stream has lost 1 event whose content the journal no longer keeps (journal.retention, journal.max_bytes), the last on 2026-11-26T10:00:00Z: only the sender still has it; ask for it again": "el stream perdió 1 evento y el almacenamiento ya no guarda el contenido (journal.retention, journal.max_bytes); la última pérdida, el 2026-11-26T10:00:00Z: solo el remitente lo tiene todavía; hay que pedirle que lo envíe otra vez",
		"journal is full: 9.9 GiB of journal.max_bytes 10 GiB used: repair what keeps events from being published, or raise journal.max_bytes and restart":                                               "el almacenamiento está lleno: 9.9 GiB de 10 GiB (journal.max_bytes). Hay que reparar lo que impide publicar, o subir journal.max_bytes y reiniciar",
		"something new": "something new",
		"connect to NATS at a:1,b:2: a:1: connection refused; b:2: no answer within 2s":                             "al conectar con NATS en a:1,b:2: a:1: conexión rechazada (nada escucha ahí); b:2: sin respuesta en 2s",
		"source p has not been pulled since 2026-11-26T10:00:00Z: the polling endpoint is not reached: i/o timeout": "la fuente p no se puede traer desde el 2026-11-26T10:00:00Z: no se llega al polling endpoint: sin respuesta a tiempo",
		"the NATS user may not subscribe to _INBOX.x.>: give it that permission":                                    "el usuario de NATS no puede suscribirse a _INBOX.x.>: hay que darle ese permiso",
	} {
		if got := In("es", text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if got := In("en", text); got != text {
			t.Errorf("%q in English: got %q", text, got)
		}
	}
}
