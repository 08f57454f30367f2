package alert

import (
	"fmt"
	"strings"
	"time"

	"github.com/persat-bridge/persat-bridge/bridge/reason"
)

// words are what is told of a condition in one language: what holds, what to do, and that
// it has ended.
type words struct{ begins, todo, ended string }

// texts are the words of each condition, in English and in Spanish. {n} is the count, {at}
// the time, {source} the source and {reason} the reason.
var texts = map[string]map[string]words{
	"not_ready": {
		"en": {"no events are taken: {reason}", "Senders get a 503 and repeat for more than a day. Make room, or repair the disk: /readyz says why.", "events are taken again"},
		"es": {"no se aceptan eventos: {reason}", "Los remitentes reciben 503 y repiten durante más de un día. Hay que hacer lugar o reparar el disco: /readyz dice por qué.", "se aceptan eventos otra vez"},
	},
	"nats_away": {
		"en": {"no connection to NATS since {at}; {n} events wait on disk, nothing is lost ({reason})", "Bring NATS back, or the way to it: persat-bridge check --connect.", "connected to NATS again"},
		"es": {"sin conexión con NATS desde {at}; {n} eventos esperan en disco, nada se perdió ({reason})", "Hay que levantar NATS, o el camino hasta él: persat-bridge check --connect.", "otra vez conectado con NATS"},
	},
	"events_held": {
		"en": {"NATS refuses {n} events of {source} since {at}: {reason}", "Repair that; the events go by themselves afterwards.", "NATS takes the events of {source} again"},
		"es": {"NATS rechaza {n} eventos de {source} desde {at}: {reason}", "Hay que repararlo; después los eventos salen solos.", "NATS acepta otra vez los eventos de {source}"},
	},
	"events_waiting": {
		"en": {"{n} events of {source} wait, the oldest since {at}", "NATS is away, refuses them or is slow: persat-bridge status says which.", "no event of {source} has waited for long any more"},
		"es": {"{n} eventos de {source} esperan, el más antiguo desde {at}", "NATS no está, los rechaza o es lento: persat-bridge status dice cuál.", "ya no hay eventos de {source} que esperen mucho"},
	},
	"journal_nearly_full": {
		"en": {"the journal is {n} % full", "At 100 % senders get a 503. Repair what keeps events from being published, decide on the dead letters, or raise journal.max_bytes and restart.", "the journal has room again"},
		"es": {"el almacenamiento está al {n} %", "Al 100 % los remitentes reciben 503. Hay que reparar lo que impide publicar, decidir sobre los no publicados, o subir journal.max_bytes y reiniciar.", "el almacenamiento tiene lugar otra vez"},
	},
	"journal_filling": {
		"en": {"events wait, and at the present rate the journal is full at {at} ({n} % now)", "Repair what keeps events from being published, or raise journal.max_bytes and restart.", "the journal does not fill up any more"},
		"es": {"hay eventos en espera, y a este ritmo el almacenamiento se llena a las {at} (ahora {n} %)", "Hay que reparar lo que impide publicar, o subir journal.max_bytes y reiniciar.", "el almacenamiento ya no se llena"},
	},
	"dead_letters": {
		"en": {"{n} dead letters of {source} to decide on", "Read the reasons, then replay or discard: persat-bridge dead list.", "no dead letters of {source} any more"},
		"es": {"{n} eventos no publicados de {source} por decidir", "Hay que leer los motivos y publicar o descartar: persat-bridge dead list.", "ya no hay eventos no publicados de {source}"},
	},
	"only_refusals": {
		"en": {"every request for {source} is refused, {n} in a quarter of an hour: none is authentic", "Compare the secret with the sender's portal; persat-bridge capture shows what is sent. The sender repeats for 27 hours.", "requests for {source} are not all refused any more"},
		"es": {"se rechazan todos los pedidos para {source}, {n} en un cuarto de hora: ninguno es auténtico", "Hay que comparar el secreto con el portal del remitente; persat-bridge capture muestra qué se envía. El remitente repite durante 27 horas.", "los pedidos para {source} ya no se rechazan todos"},
	},
	"no_events": {
		"en": {"no event of {source} since {at} (the last one: {reason})", "Look at the endpoint in the sender's portal: after 27 hours of refusals it gives up for good.", "events of {source} arrive again"},
		"es": {"ningún evento de {source} desde {at} (el último: {reason})", "Hay que mirar el endpoint en el portal del remitente: después de 27 horas de rechazos abandona definitivamente.", "llegan otra vez eventos de {source}"},
	},
	"pull_failing": {
		"en": {"source {source} cannot be pulled since {at}: {reason}", "Compare the polling endpoint's URL and token with the sender's portal. The endpoint keeps the events meanwhile.", "source {source} is pulled again"},
		"es": {"la fuente {source} no se puede traer desde {at}: {reason}", "Hay que comparar la URL y el token del polling endpoint con el portal del remitente. El endpoint guarda los eventos mientras tanto.", "la fuente {source} se trae otra vez"},
	},
	"accept_slow": {
		"en": {"it takes over {n} s to accept an event", "Look at the disk under journal.dir: senders give up at 15 s.", "events are accepted quickly again"},
		"es": {"aceptar un evento tarda más de {n} s", "Conviene mirar el disco de journal.dir: los remitentes abandonan a los 15 s.", "los eventos se aceptan rápido otra vez"},
	},
	"overloaded": {
		"en": {"{n} requests were refused in five minutes, there were too many at once", "A slow disk, or somebody holds requests open: the log names the limit and the network.", "requests are not too many any more"},
		"es": {"se rechazaron {n} pedidos en cinco minutos, había demasiados a la vez", "Un disco lento, o alguien mantiene pedidos abiertos: el log nombra el límite y la red.", "los pedidos ya no son demasiados"},
	},
	"certificate": {
		"en": {"the certificate of server.tls expires at {at}", "Renew its files; they are read again by themselves. Once it has expired, every sender gives up before it sends.", "the certificate of server.tls has been renewed"},
		"es": {"el certificado de server.tls vence el {at}", "Hay que renovar sus archivos; se vuelven a leer solos. Una vez vencido, los remitentes abandonan antes de enviar.", "el certificado de server.tls se renovó"},
	},
	"consumer_behind": {
		"en": {"consumer {source} is {n} messages behind, and for 45 minutes they have not become fewer", "Look at the service that reads it: it does not run, is too slow, or fails on a message. The bridge and the stream are well.", "consumer {source} catches up"},
		"es": {"al consumidor {source} le faltan {n} mensajes, y hace 45 minutos que no son menos", "Hay que mirar el servicio que lo lee: no está en marcha, es lento o falla con un mensaje. El puente y el stream están bien.", "el consumidor {source} se pone al día"},
	},
	"stream_filling": {
		"en": {"at the present rate the stream reaches its max_bytes at {at} ({n} % now)", "It takes no new messages then, and events wait on disk. Raise max_bytes of the stream, or give it a max_age.", "the stream does not fill up any more"},
		"es": {"a este ritmo el stream llega a su max_bytes el {at} (ahora {n} %)", "Entonces no acepta mensajes nuevos, y los eventos esperan en disco. Hay que subir max_bytes del stream, o darle un max_age.", "el stream ya no se llena"},
	},
	"stream_lost_events": {
		"en": {"the stream had lost {n} events that it had acknowledged; they were published again", "A NATS host lost power, or its disk lies about syncs: sync_interval: always, or three replicas.", "the stream has lost nothing more for an hour"},
		"es": {"el stream había perdido {n} eventos que había confirmado; se publicaron otra vez", "Un servidor de NATS perdió la energía, o su disco miente: sync_interval: always, o tres réplicas.", "hace una hora que el stream no pierde nada"},
	},
}

// singular are the plural words behind a count, and what becomes of them behind 1.
var singular = strings.NewReplacer(
	"1 events wait,", "1 event waits,", "1 events wait ", "1 event waits ", "1 events of", "1 event of", "1 events that", "1 event that", "1 dead letters", "1 dead letter", "1 requests were", "1 request was", "1 messages behind, and for 45 minutes they have not become fewer", "1 message behind, and has been for 45 minutes",
	"1 eventos esperan", "1 evento espera", "1 eventos no publicados", "1 evento no publicado", "1 eventos", "1 evento", "se rechazaron 1 pedidos", "se rechazó 1 pedido",
	"le faltan 1 mensajes, y hace 45 minutos que no son menos", "le falta 1 mensaje, desde hace 45 minutos",
)

func (a *Alerter) language() string {
	if a.o.Language == "es" {
		return "es"
	}
	return "en"
}

// clock is a time as a message has it: it may be read a day later and elsewhere.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04 MST") }

func (a *Alerter) fill(text string, f *finding) string {
	at := "?"
	if !f.at.IsZero() {
		at = clock(f.at)
	}
	said := reason.In(a.language(), f.reason)
	text = strings.NewReplacer("{n}", fmt.Sprint(f.count), "{at}", at, "{source}", f.source, "{reason}", said).Replace(text)
	text = strings.TrimSuffix(text, " ()")
	if f.count == 1 {
		text = singular.Replace(text)
	}
	return text
}

func (a *Alerter) begin(c condition, e *episode) Message {
	w := texts[c.code][a.language()]
	what := a.fill(w.begins, &e.finding)
	return a.message(what, what+". "+a.fill(w.todo, &e.finding))
}

func (a *Alerter) still(c condition, e *episode) Message {
	w := texts[c.code][a.language()]
	what := map[string]string{"en": "still: ", "es": "sigue: "}[a.language()] + a.fill(w.begins, &e.finding)
	return a.message(what, what+". "+a.fill(w.todo, &e.finding))
}

func (a *Alerter) end(c condition, e *episode) Message {
	w := texts[c.code][a.language()]
	what := map[string]string{"en": "over: ", "es": "terminó: "}[a.language()] + a.fill(w.ended, &e.finding)
	from, to := clock(e.since), clock(e.over)
	return a.message(what, what+map[string]string{"en": " (from " + from + " to " + to + ")", "es": " (de " + from + " a " + to + ")"}[a.language()]+".")
}

func (a *Alerter) message(subject, text string) Message {
	name := strings.TrimSpace("persat-bridge " + a.o.Bridge)
	text = name + ": " + text
	if a.o.Link != "" {
		text += " " + a.o.Link
	}
	return Message{Subject: name + ": " + subject, Text: text}
}

// Test is a message that says that messages arrive.
func Test(language, name, link string) Message {
	a := &Alerter{o: Options{Language: language, Bridge: name, Link: link}}
	what := map[string]string{"en": "this is a test: alerts arrive here", "es": "esta es una prueba: los avisos llegan acá"}[a.language()]
	return a.message(what, what+".")
}
