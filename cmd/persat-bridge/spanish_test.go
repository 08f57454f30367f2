package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/reason"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// englishTexts are the fixed parts of every reason in English, but for those that the
// Spanish texts have too, such as names of settings.
func englishTexts(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../bridge/reason/*.go")
	if err != nil {
		t.Fatal(err)
	}
	spanish := ""
	for _, text := range reason.Spanish() {
		spanish += text + "\n"
	}
	row := regexp.MustCompile("(?m)^\t\\{\"\\w+\", (\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`),")
	var parts []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range row.FindAllSubmatch(source, -1) {
			text, err := strconv.Unquote(string(m[1]))
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range regexp.MustCompile(`\{\w+\}`).Split(text, -1) {
				if part = strings.Trim(part, " .,:;()\""); strings.Contains(part, " ") && !strings.Contains(spanish, part) {
					parts = append(parts, part)
				}
			}
		}
	}
	if len(parts) < 150 {
		t.Fatalf("found %d English texts, which is not all of them", len(parts))
	}
	return parts
}

// TestPageSpanish looks at the Spanish page in several states: no sentence on it is English.
// What a server says itself, such as "nats: …", stays as a quotation.
func TestPageSpanish(t *testing.T) {
	n := natstest.StartChild(t, "max_payload: 4096")
	js := natstest.JetStream(t, n.URL)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "PERSAT", Subjects: []string{"persat.client.>"}, MaxAge: time.Hour, Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Fatal(err)
	}
	js.Conn().Close()
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL, "PERSAT_BRIDGE_NATS_STREAM_MANAGE=false")
	b.Start()
	p := newBrowser(t)
	p.open(b.admin)
	p.click(`#languages [data-lang="es"]`)
	english := englishTexts(t)
	p.run(script(`import('./page/words.js').then((m) => { window.pageWords = m.words; })`))
	p.waitFor("the page's words", `!!window.pageWords`)
	noEnglish := func(state string) {
		t.Helper()
		got, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`(() => {
			const labels = [...document.querySelectorAll('[aria-label], [title], [placeholder]')].flatMap((e) => [e.ariaLabel, e.title, e.placeholder]);
			const text = [document.body.innerText, ...labels].join('\n'), { en, es } = window.pageWords;
			return [text, ...Object.keys(en).filter((k) => typeof en[k] === 'string' && en[k].includes(' ') && en[k] !== es[k] && text.includes(en[k])).map((k) => en[k])].join('\u0000');
		})()`))
		if err != nil {
			t.Fatal(err)
		}
		text, words, _ := strings.Cut(got, "\x00")
		for _, part := range english {
			if strings.Contains(strings.ToLower(text), strings.ToLower(part)) { // the page may begin a sentence with it
				t.Errorf("%s: the Spanish page says %q", state, part)
			}
		}
		if words != "" {
			t.Errorf("%s: the Spanish page says %q", state, strings.Split(words, "\x00"))
		}
	}

	p.waitFor("the differences", `$('#notices').includes('no tiene los subjects persat.>') && $('#notices').includes('guarda en memory')`)
	if response, err := http.Post(b.url, "application/json", strings.NewReader("{}")); err != nil || response.Body.Close() != nil {
		t.Fatal(err)
	}
	p.waitFor("what was refused", `$('#refused').includes('sin ningún encabezado de firma')`)
	noEnglish("the first day")

	b.post("msg_first", `{"eventType":"workorder.closed","payload":{"_id":"48","color":"x"}}`)
	b.post("msg_large", `{"eventType":"client.updated","payload":{"uid_client":"1","x":"`+strings.Repeat("x", 5000)+`"}}`)
	b.quarantine("msg_text", "hola")
	b.quarantine("msg_list", "[]")
	b.quarantine("msg_type", `{"eventType":"a b","payload":{}}`)
	p.waitFor("the refusal", `$('#held').includes('no tiene el subject persat.workorder.closed') && $('#dead-total').startsWith('4, ')`)
	p.run(script(`for (const b of document.querySelectorAll('#dead .fold[aria-expanded="false"]')) b.click()`))
	p.waitFor("the letters", `document.querySelectorAll('#dead .letters li').length === 4`)
	noEnglish("refused and dead")
	p.run(script(`[...document.querySelectorAll('#events button')].find((b) => b.innerText.includes('msg_first')).click()`))
	p.waitFor("the drawer", `$('#drawer-facts').includes('no tiene el subject')`)
	noEnglish("the drawer")
	p.click("#drawer-close")

	n.Stop()
	p.waitFor("NATS away", `$('#advice').includes('al conectar con NATS en') && $('#advice').includes('conexión rechazada')`)
	p.waitFor("the stream as it was", `$('#stream-error').includes('sin conexión con NATS')`)
	noEnglish("NATS away")
	p.checkConsole()
}
