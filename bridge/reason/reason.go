// Package reason knows the reasons that the bridge gives people, such as why NATS refuses
// an event, by codes with parameters, and says them in other languages than English.
//
// Texts, and not codes, are what the journal keeps and what the layers say: a dead letter
// of an older version has no code, and Persat's words are not the core's. So a reason is
// recognised by its text.
//
// A parameter may be a reason itself, such as the detail that follows a colon. It has its
// English text under its name, its code under name.code, and its own parameters under
// name.x. Several reasons in one text, with semicolons in between, have the code list and
// the parameters 1, 2 and so on.
package reason

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Explanation is a reason as a code with its parameters, for those who say it in their
// own language. It is empty for a reason that is not known: then the English text is all
// there is.
type Explanation struct {
	Code   string            `json:"reason_code,omitempty"`
	Params map[string]string `json:"reason_params,omitempty"`
}

// table has the code of each reason, its text, and the same in Spanish. {x} stands for a
// parameter. What follows a text behind a colon is the detail, a parameter of that name.
var table = [][3]string{
	// Refusals of NATS.
	{"stream_limit", "the stream refuses it: it is at a limit and discards new messages, or cannot store: make room in it or raise its limits",
		"el stream lo rechaza: llegó a un límite y descarta los mensajes nuevos, o no puede guardar. Hay que hacer lugar en él o subir sus límites"},
	{"max_msg_size", "larger than the stream's max_msg_size: raise the limit, then replay",
		"supera el max_msg_size del stream: hay que subir el límite y después publicar"},
	{"max_payload", "larger than the NATS server's max_payload: raise the limit, then replay",
		"supera el max_payload del servidor NATS: hay que subir el límite y después publicar"},
	{"headers_too_large", "its headers are larger than JetStream's 64 KB, a limit that nothing raises: discard it",
		"sus encabezados superan los 64 KB de JetStream, un límite que nada sube: hay que descartarlo"},
	{"account_limit", "the NATS account is at its JetStream limit: raise it or make room",
		"la cuenta de NATS llegó a su límite de JetStream: hay que subirlo o hacer lugar"},
	{"server_resources", "the NATS server is out of resources: look at its disk and memory",
		"el servidor NATS no tiene recursos: conviene mirar su disco y su memoria"},
	{"server_memory", "the NATS server is out of memory for JetStream",
		"el servidor NATS no tiene memoria para JetStream"},
	{"server_storage", "the NATS server is out of storage for JetStream: make room on its disk or raise its limit",
		"el servidor NATS no tiene espacio para JetStream: hay que hacer lugar en su disco o subir su límite"},
	{"no_peers", "the NATS cluster has too few servers up",
		"el clúster de NATS tiene muy pocos servidores activos"},
	{"not_available", "JetStream is not available for the moment",
		"JetStream no está disponible por el momento"},
	{"not_enabled", "JetStream is not enabled on the NATS server: enable it",
		"JetStream no está habilitado en el servidor NATS: hay que habilitarlo"},
	{"not_enabled_account", "JetStream is not enabled for the NATS account: enable it",
		"JetStream no está habilitado para la cuenta de NATS: hay que habilitarlo"},
	{"stream_offline", "the stream is offline: look at its servers",
		"el stream está fuera de línea: conviene mirar sus servidores"},
	{"too_many_requests", "the stream has more requests than it can take: it will go on by itself",
		"el stream tiene más pedidos de los que puede atender: sigue solo"},
	{"stream_busy", "the stream is still busy with an earlier attempt",
		"el stream todavía está ocupado con un intento anterior"},
	{"other_stream_has_subject", "another stream has this subject: give it back to the configured one",
		"otro stream tiene este subject: hay que devolverlo al configurado"},
	{"stream_sealed", "the stream is sealed: configure another, or recreate this one",
		"el stream está sellado: hay que configurar otro o volver a crearlo"},
	{"no_stream", "no stream answers: it is missing, or its cluster has no leader",
		"ningún stream responde: falta, o su clúster no tiene líder"},
	{"not_jetstream", "something that is not JetStream answers on this subject: stop that responder",
		"en este subject responde algo que no es JetStream: hay que detenerlo"},
	{"no_answer", "no acknowledgement in time: the server is paused, its disk full, the link broken, the stream without acks, or the NATS user without permission",
		"sin confirmación a tiempo: el servidor está en pausa, su disco lleno, la conexión rota, el stream sin confirmaciones o el usuario de NATS sin permiso"},
	{"no_answer", "no acknowledgement in time",
		"sin confirmación a tiempo: el servidor está en pausa, su disco lleno, la conexión rota, el stream sin confirmaciones o el usuario de NATS sin permiso"},
	{"bad_headers", "its headers cannot be written",
		"sus encabezados no se pueden escribir"},
	{"bad_subject", "its subject is not valid",
		"su subject no es válido"},
	{"no_headers", "the NATS server has headers switched off: switch them on",
		"el servidor NATS tiene los encabezados desactivados: hay que activarlos"},
	{"source_unknown", `source "{source}" is not configured any more: put it back under sources until its events are published`,
		"la fuente «{source}» ya no está configurada: hay que reponerla en sources hasta que se publiquen sus eventos"},
	{"subject_missing", "stream {stream} does not have subject {subject}: add {prefix}.> to its subjects",
		"el stream {stream} no tiene el subject {subject}: hay que agregar {prefix}.> a sus subjects"},
	{"other_stream_took", "stream {other} took subject {subject} instead of {stream}: take the subject from one and give it to the other",
		"el stream {other} tomó el subject {subject} en lugar de {stream}: hay que quitárselo a uno y dárselo al otro"},
	{"message_id_taken", `its message id "{id}" was used before for another event (message {sequence} of the stream): a replay gives it a new one`,
		"su id de mensaje «{id}» se usó antes para otro evento (mensaje {sequence} del stream): al publicarlo recibe uno nuevo"},
	{"refused", "JetStream refuses it",
		"JetStream lo rechaza"},
	{"publish", "publish",
		"publicar"},
	{"connection_lost", "connection to NATS lost",
		"se perdió la conexión con NATS"},
	{"connection_lost", "connection to NATS is stale",
		"se perdió la conexión con NATS"},
	{"stopping", "the bridge is stopping",
		"el puente se está deteniendo"},
	{"rolled_back", "the stream was rolled back",
		"el stream volvió a un estado anterior"},
	{"rolled_back", "the stream was rolled back behind a connection that stayed up",
		"el stream volvió a un estado anterior"},
	// Bodies that cannot be published.
	{"not_object", "not a JSON object",
		"no es un objeto JSON"},
	{"batch", "not a JSON object but an array",
		"es una lista y no un evento: parece un lote de entregas"},
	{"batch", "no eventType, but a list",
		"es una lista y no un evento: parece un lote de entregas"},
	{"no_type", "no eventType",
		"sin eventType"},
	{"type_twice", "eventType appears twice",
		"eventType aparece dos veces"},
	{"payload_twice", "payload appears twice",
		"payload aparece dos veces"},
	{"type_not_text", "eventType is not a string",
		"eventType no es un texto"},
	{"type_empty", "eventType is empty",
		"eventType está vacío"},
	{"type_too_long", "eventType is longer than {bytes} bytes",
		"eventType supera los {bytes} bytes"},
	{"type_invalid", `eventType "{type}": only A-Z a-z 0-9 _ - between single dots`,
		"eventType «{type}»: solo A-Z a-z 0-9 _ - entre puntos simples"},
	{"not_json", "not JSON",
		"no es JSON"},
	{"compressed", "the body is compressed, and only JSON can be published: switch compression (Content-Encoding: gzip and the like) off at the sender, or at the proxy that adds it",
		"el contenido está comprimido, y solo se puede publicar JSON: hay que desactivar la compresión (Content-Encoding: gzip y similares) en el remitente o en el proxy que la agrega"},
	{"id_reused", `delivery id "{id}" was used before for other bytes (record {record})`,
		"el id de entrega «{id}» se usó antes para otro contenido (registro {record})"},
	{"damaged", "damaged on the disk of the bridge: ask the sender to send this delivery again, and discard this one",
		"dañado en el disco del puente: hay que pedir al remitente que lo envíe otra vez y descartar este"},
	{"unreadable", "the journal cannot read this record",
		"el almacenamiento no puede leer este registro"},
	// Why no events are taken.
	{"journal_full", "journal is full: {used} of journal.max_bytes {limit} used: repair what keeps events from being published, or raise journal.max_bytes and restart",
		"el almacenamiento está lleno: {used} de {limit} (journal.max_bytes). Hay que reparar lo que impide publicar, o subir journal.max_bytes y reiniciar"},
	{"journal_full", "journal is full: {used} of journal.max_bytes {limit} used, too near to it: repair what keeps events from being published, or raise journal.max_bytes and restart",
		"el almacenamiento está lleno: {used} de {limit} (journal.max_bytes). Hay que reparar lo que impide publicar, o subir journal.max_bytes y reiniciar"},
	{"journal_burst", "journal is full: what came in the last second has used the room there was",
		"el almacenamiento está lleno: lo que llegó en el último segundo ocupó el lugar que había"},
	{"disk_full", "journal is full: {free} of {total} of the disk under {dir} are free, {kept} are kept: make room",
		"el disco de {dir} está lleno: {free} de {total} libres, se reservan {kept}. Hay que hacer lugar"},
	{"disk_full", "journal is full: {free} of {total} of the disk under {dir} are free, hardly more than the {kept} that are kept: make room",
		"el disco de {dir} está lleno: {free} de {total} libres, se reservan {kept}. Hay que hacer lugar"},
	{"disk_stalled", "journal is stalled: its disk has not answered a write for {time}",
		"el disco no responde desde hace {time}"},
	{"stopping", "bridge is stopping",
		"el puente se está deteniendo"},
	{"wait_for_stream", "NATS is away, and with accept.wait_for: stream, a sender gets its 2xx only when NATS has the event; until then the event is only written to this disk",
		"no hay conexión con NATS, y con accept.wait_for: stream, el remitente recibe su 2xx solo cuando NATS tiene el evento; hasta entonces el evento queda solo en este disco"},
}

// Spanish returns the Spanish texts by their codes, with {x} for their parameters.
func Spanish() map[string]string {
	texts := make(map[string]string, len(rows))
	for _, row := range rows {
		texts[row[0]] = row[2]
	}
	for code, text := range requests {
		texts["request_"+code] = text
	}
	return texts
}

// requests are the reasons of refused requests in Spanish, by the codes of package
// webhook. Their English is that package's own, as the log has it.
var requests = map[string]string{
	"missing_signature":   "los pedidos llegan sin todos los encabezados de firma svix-* o webhook-*: si este remitente no firma, hay que proteger el endpoint con auth: basic o auth: header; `persat-bridge capture` muestra qué envía",
	"malformed_signature": "los pedidos llegan con encabezados de firma que no se pueden leer: puede que algo en el medio los haya cambiado, o que el remitente firme de otra manera; `persat-bridge capture` muestra qué envía",
	"wrong_signature":     "los pedidos están firmados con un secreto que esta fuente no tiene: hay que copiar el secreto del endpoint (de este y no de otro) del portal del remitente; si es el mismo, algo en el medio cambia el contenido",
	"timestamp":           "los pedidos están bien firmados, pero a una hora fuera de la tolerancia de la fuente: hay que poner en hora este host (NTP); si está bien, algo en el medio demora los pedidos",
	"compressed":          "los pedidos tienen el contenido comprimido, y la firma no es de eso: hay que desactivar la compresión en el remitente o en el proxy que la agrega",
	"missing_credentials": "los pedidos llegan sin las credenciales de esta fuente: hay que ponerlas en el endpoint del portal del remitente; `persat-bridge capture` muestra qué envía",
	"credentials":         "los pedidos llegan con credenciales que esta fuente no tiene: hay que comparar el endpoint del portal del remitente con los secretos de la fuente",
	"address":             "los pedidos llegan de una dirección fuera de allow_cidrs: si es la de un proxy delante, va en server.trusted_proxies; si es la del remitente, en allow_cidrs de la fuente",
	"rate_limit":          "los pedidos superan el rate_limit de la fuente: hay que subirlo si las ráfagas del remitente son legítimas; lo rechazado se repite durante 27 horas",
	"in_flight":           "se escriben a la vez tantos eventos como permite server.max_in_flight: el disco es lento, o hay que subirlo",
	"reading":             "se envían más pedidos a la vez de los que el puente lee: alguien los mantiene abiertos; el log nombra la red",
	"body_memory":         "los contenidos grandes ocupan toda la memoria que pueden: el remitente los repite",
	"too_large":           "los pedidos superan server.max_body_bytes: hay que subirlo si son eventos del remitente, que los repite en vano",
	"incomplete_body":     "los contenidos terminan antes de estar completos: algo en el medio los corta o es demasiado lento, tiene 15 s",
	"journal_full":        "el almacenamiento está lleno: el remitente repite",
	"journal_failed":      "el disco falló al escribir: el proceso termina y vuelve a empezar",
	"journal_stalled":     "el disco no responde: el remitente repite",
	"not_in_stream":       "el evento está en el disco, pero JetStream no lo confirmó a tiempo (accept.wait_for: stream): el remitente repite",
	"stopping":            "el puente se estaba deteniendo: el remitente repite",
	"not_accepted":        "el evento no se aceptó a tiempo: el remitente repite",
	"panic":               "un error del puente: el log tiene los detalles",
	"not_found":           "los pedidos van a una ruta que no es de ninguna fuente: la URL del endpoint en el portal del remitente termina en /webhooks/ y el nombre de una fuente, y un proxy delante tiene que pasar la ruta como es",
	"method":              "los pedidos llegan con otro método que POST: una redirección en el camino convierte un POST en GET; el chequeo de un balanceador va a GET /readyz",
}

type reason struct {
	code, spanish string
	text          *regexp.Regexp
	prefix        string // of all that fit
	length        int
}

// rows are all reasons that are recognised by their texts.
var rows = slices.Concat(table, link, notices, learned)

var (
	parameter = regexp.MustCompile(`\\\{(\w+)\\\}`) // in a quoted pattern
	// The first reason that is looked for compiles them: most commands look for none.
	reasons = sync.OnceValue(compile)
)

// patterns are what parameters are that cannot be anything; the rest are.
var patterns = map[string]string{
	"number":  `[0-9]+`,
	"server":  `(?:[^\s/]+:[0-9]+|an address that cannot be read)`,
	"family":  `(?:svix|webhook)`,
	"family2": `(?:svix|webhook)`,
	"headers": `[a-z-]+(?:, [a-z-]+)*`,
}

func compile() (compiled []reason) {
	for _, row := range rows {
		pattern := parameter.ReplaceAllStringFunc(regexp.QuoteMeta(row[1]), func(quoted string) string {
			name := quoted[len(`\{`) : len(quoted)-len(`\}`)]
			return `(?P<` + name + `>` + cmp.Or(patterns[name], `.+?`) + `)`
		})
		prefix, _, _ := strings.Cut(row[1], "{")
		compiled = append(compiled, reason{
			code: row[0], spanish: row[2], prefix: prefix, length: len(parameter.ReplaceAllString(regexp.QuoteMeta(row[1]), "")),
			text: regexp.MustCompile(`(?s)^` + pattern + `(?:: (?P<detail>.*))?$`),
		})
	}
	return compiled
}

// find returns the reason that a text is: of those that fit the longest, which leaves the
// least to the detail. It is nil for none.
func find(text string) (best *reason) {
	all := reasons()
	for i := range all {
		r := &all[i]
		if strings.HasPrefix(text, r.prefix) && (best == nil || r.length > best.length) && r.text.MatchString(text) {
			best = r
		}
	}
	return best
}

func (r *reason) params(text string) map[string]string {
	var params map[string]string
	for i, value := range r.text.FindStringSubmatch(text) {
		if name := r.text.SubexpNames()[i]; name != "" && value != "" {
			if params == nil {
				params = make(map[string]string)
			}
			params[name] = value
		}
	}
	return params
}

// list is the code of several reasons in one text.
const list = "list"

// split returns the reasons in a text that is several; nil when it is none that are known.
func split(text string) map[string]string {
	parts := strings.Split(text, "; ")
	if len(parts) < 2 || !slices.ContainsFunc(parts, func(part string) bool { return find(part) != nil }) {
		return nil
	}
	params := make(map[string]string, len(parts))
	for i, part := range parts {
		params[strconv.Itoa(i+1)] = part
	}
	return params
}

// Explain finds the code of a reason, and those of the reasons in it.
func Explain(text string) Explanation {
	params := make(map[string]string)
	code := explain(text, "", params)
	if len(params) == 0 {
		params = nil
	}
	return Explanation{Code: code, Params: params}
}

// explain returns the code of a reason, and puts its parameters into a map, with prefix
// before their names.
func explain(text, prefix string, into map[string]string) (code string) {
	var params map[string]string
	if r := find(text); r != nil {
		code, params = r.code, r.params(text)
	} else if params = split(text); params != nil {
		code = list
	}
	for name, value := range params {
		into[prefix+name] = value
		if value == text {
			continue
		}
		if inner := explain(value, prefix+name+".", into); inner != "" {
			into[prefix+name+".code"] = inner
		}
	}
	return code
}

// In says a reason in a language, en or es. One that is not known stays English.
func In(language, text string) string {
	if language != "es" {
		return text
	}
	r := find(text)
	if r == nil {
		if split(text) == nil {
			return text
		}
		parts := strings.Split(text, "; ")
		for i, part := range parts {
			parts[i] = In(language, part)
		}
		return strings.Join(parts, "; ")
	}
	said, params := r.spanish, r.params(text)
	for name, value := range params {
		if value != text {
			params[name] = In(language, value)
		}
	}
	said = placeholder.ReplaceAllStringFunc(said, func(p string) string { return params[strings.Trim(p, "{}")] })
	if detail := params["detail"]; detail != "" {
		said += ": " + detail
	}
	return said
}

var placeholder = regexp.MustCompile(`\{\w+\}`)

var digits = regexp.MustCompile(`[0-9]+`)

// Group is what a reason has in common with others of its kind: its code, or, without one,
// its text without its numbers.
func Group(text string) string {
	if r := find(text); r != nil {
		return r.code
	}
	return digits.ReplaceAllString(text, "#")
}
