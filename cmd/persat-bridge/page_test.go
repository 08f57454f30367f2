package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/persat-bridge/persat-bridge/bridge/persat"
	"github.com/persat-bridge/persat-bridge/internal/testwait"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// TestPage is a night of an operator: the status page of a running bridge, in a
// real browser, over an outage and a dead letter. Each state is left as a
// picture in artefacts/.
func TestPage(t *testing.T) {
	n := natstest.StartChild(t, "")
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL)
	b.Start()
	p := newBrowser(t)
	p.open(b.admin)
	s := newSender(b.url, testSecret, 4)
	defer s.close()
	post := func(body []byte) string {
		t.Helper()
		id := newDeliveryID()
		if a, err := s.post(t.Context(), id, body); err != nil || !a.ok() {
			t.Fatalf("post: %d %s %v", a.code, a.Error, err)
		}
		return id
	}
	sample := func(eventType, entity string) []byte {
		t.Helper()
		body, err := persat.Sample(eventType, entity)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}

	// Quiet.
	p.waitFor("the sentence", `$('#sentence') === 'Ready; no event has arrived yet'`)
	p.waitFor("no events yet", `$('#events-none').includes('No events yet')`)
	p.waitFor("what to register", `$('#first-panel').includes('https://<your-host>/webhooks/persat') && $('#first-panel').includes('persat-bridge send')`)
	p.shoot("first day")
	if response, err := http.Post(b.url, "application/json", strings.NewReader("{}")); err != nil || response.Body.Close() != nil {
		t.Fatal(err)
	}
	p.waitFor("what was refused", `/persat · missing_signature: without any signature header · once, at \d\d:\d\d:\d\d from 127\.0\.0\.1\n/.test($('#refused')) && document.querySelector('#refused code').innerText === 'persat-bridge capture'`)
	p.waitFor("it is told beside the address", `$('#first-panel').includes('1 request arrived and was refused: see Refused requests') && document.querySelector(document.querySelector('#first-refused-link').getAttribute('href'))`)

	// What the catalogue does not know is shown, and no value of it.
	post([]byte(`{"eventType":"workorder.closed","payload":{"_id":"48","state":"CERRADA_OK","priority":"sEcReT"}}`))
	p.open(b.admin)
	p.waitFor("what was learned", `$('#learned').includes('workorder.closed: a member that the catalogue lacks: payload.priority (string)') && !$('#learned').includes('sEcReT')`)
	p.waitFor("how much", `$('#learned-head').includes('1 finding for the catalogue')`)

	// Events arrive without a reload.
	for _, eventType := range persat.Types() {
		for i := range 4 {
			post(sample(eventType, fmt.Sprint(4000+i)))
		}
	}
	last := post(sample("workorder.closed", "<img src=x onerror=alert(1)>"))
	p.waitFor("the newest event", `$('#events').includes('`+last+`')`)
	p.waitFor("it is published", `document.querySelector('#events li .badge').textContent === 'published'`)
	p.waitFor("the counts by type", `$('#types').includes('workorder.closed')`)
	p.waitFor("the stream", `$('#stream').includes('persat.>') && $('#stream').includes('2 h')`)
	p.waitFor("an entity is text", `$('#events').includes('<img src=x') && !document.querySelector('#events img')`)
	p.run(chromedp.SendKeys(chromedp.CSS("#q"), last))
	p.waitFor("the search", `document.querySelectorAll('#events > li').length === 1`)
	p.click("#events button")
	p.waitFor("the body", `$('#drawer pre').includes('"eventType": "workorder.closed"')`)
	p.shoot("events")
	p.click("#drawer-close")
	p.run(script(`(() => { const q = document.querySelector('#q'); q.value = 'entity:4001 type:workorder.closed'; q.dispatchEvent(new Event('input', { bubbles: true })) })()`))
	p.waitFor("an exact search", `document.querySelectorAll('#events > li').length === 1 && $('#events').includes('workorder.closed · 4001')`)
	p.run(script(`(() => { const q = document.querySelector('#q'); q.value = ''; q.dispatchEvent(new Event('input', { bubbles: true })) })()`))

	// Too large for this NATS: a dead letter, with what to change.
	large := sample("workorder.finished", "")
	large = append(large[:len(large)-1:len(large)-1], []byte(`,"padding":"`+strings.Repeat("x", 2<<20)+`"}`)...)
	dead := post(large)
	p.waitFor("the dead letter", `$('#dead').includes('max_payload') && $('#sentence').includes('1 dead letter to decide on')`)
	p.shoot("dead letter")

	// NATS goes away, and the sentence follows.
	n.Stop()
	p.waitFor("NATS away", `$('#sentence').includes('NATS away since')`)
	for range 7 {
		post(sample("delivery.created", ""))
	}
	p.waitFor("what waits", `/^Accepting; NATS away since \d\d:\d\d, 7 events waiting, .*nothing lost$/.test($('#sentence'))`)
	p.shoot("nats away")
	p.click(`#languages [data-lang="es"]`)
	p.waitFor("Spanish", `/^Aceptando; sin conexión con NATS desde (las \d\d|la 1):\d\d, 7 eventos en espera, .*nada perdido$/.test($('#sentence')) && document.documentElement.lang === 'es'`)
	p.shoot("nats away in Spanish")

	// It comes back, with the limit raised as the dead letter's reason asks.
	n.Configure("max_payload: 4MB")
	n.Run()
	p.waitFor("it has recovered", `$('#sentence').includes('Aceptando y publicando; nada en espera')`)
	p.click(`#languages [data-lang="en"]`)

	// A discard that is not confirmed twice changes nothing.
	p.click("#dead .discard-one")
	p.click("#ask-yes")
	p.waitFor("it asks again", `$('#ask-text').startsWith('Really?')`)
	// Faster than a hand: the next question stands before the browser has told that the last one is closed.
	p.run(script(`(() => { document.querySelector('#ask-no').click(); document.querySelector('#dead .replay-one').click() })()`), chromedp.WaitVisible(chromedp.CSS("#ask-yes")))
	if got := b.metric("persat_bridge_dead_events"); got != 1 {
		t.Errorf("dead letters after a discard that was cancelled: got %v, want 1", got)
	}
	p.shoot("asked")
	p.click("#ask-yes")
	p.waitFor("it is on its way", `$('#dead-result').includes('1 dead letter is on the way again')`)
	p.waitFor("all is well", `$('#sentence') === 'Accepting and publishing; nothing waiting'`)
	findInStream(t, n.URL, dead)

	// What can never be published can only be discarded.
	post([]byte("hola"))
	p.waitFor("a dead letter without a type", `$('#dead').includes('it can never be published') && $('#dead-panel').includes('None of these can be published as it is') && $('#dead').includes('no valid type') && $('#events').includes('no valid type · not JSON') && !document.querySelector('#dead .replay-one') && document.querySelector('#dead-replay-all').hidden`)
	p.click("#dead .discard-one")
	p.click("#ask-yes")
	p.waitFor("it asks again", `$('#ask-text').startsWith('Really?')`)
	p.click("#ask-yes")
	p.waitFor("all is well", `$('#sentence') === 'Accepting and publishing; nothing waiting'`)

	// Replay by time, with its progress.
	p.click("#replay button.main")
	p.click("#ask-yes")
	p.waitFor("the replay has ended", `/Last replay: (\d+) of \1 published/.test($('#replay-text'))`)
	p.shoot("after the replay")
	p.run(script(`(() => { const l = document.querySelector('#log-level'); l.value = 'debug'; l.dispatchEvent(new Event('change')) })()`))
	testwait.Eventually(t, "the log says who changed its level", func() bool { return strings.Contains(b.Output.String(), "admin: log level changed") })

	// A reload keeps the charts; the browser's language, a phone and a dark room.
	p.run(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		_, language := cdp.Call(ctx, tab, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: "Mozilla/5.0", AcceptLanguage: "es-AR"})
		dark := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}
		_, media := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: dark})
		return chromedp.Void{}, errors.Join(language, media)
	}, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), script(`localStorage.clear()`))
	p.open(b.admin)
	p.waitFor("the browser's language", `$('#sentence') === 'Aceptando y publicando; nada en espera'`)
	p.waitFor("the charts are there at once", `document.querySelectorAll('#chart-flow path.curve').length === 2`)
	wide, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](`document.scrollingElement.scrollWidth - window.innerWidth`))
	if err != nil || wide > 0 {
		t.Errorf("on a phone the page is %d px wider than the screen (%v)", wide, err)
	}
	p.shoot("phone, Spanish, dark")
	p.checkConsole()

	// The bridge itself goes away. From here on the console says so too.
	if code := b.Stop(); code != 0 {
		t.Errorf("persat-bridge ended with %d", code)
	}
	p.waitFor("the bridge is lost", `!document.querySelector('#lost').hidden && /El puente no responde desde las? /.test($('#lost'))`)
	p.shoot("bridge lost")
	p.waitFor("nothing can be done meanwhile", `document.querySelector('#main').inert`)
	b.Start()
	p.waitFor("the bridge is back", `document.querySelector('#lost').hidden && !document.querySelector('#main').inert`)

	// What was before the restart is there.
	p.waitFor("the history by type", `$('#types').includes('workorder.closed')`)
	p.waitFor("the charts", `document.querySelectorAll('#chart-flow path.curve').length === 2 && !$('#history-note')`)
	p.click(`#ranges [data-range="24h"]`)
	p.waitFor("a day", `$('#chart-flow').includes('−24 h') && $('#types').includes('client.updated')`)
	p.click("#chart-flow summary")
	p.waitFor("the same as a table", `document.querySelectorAll('#chart-flow tbody tr').length > 10`)
	p.shoot("history after a restart")
}

// TestPageToken is the page of a bridge with a token.
func TestPageToken(t *testing.T) {
	b := newBridgeProcess(t, "PERSAT_BRIDGE_ADMIN_TOKEN=correct-horse-battery")
	b.Start()
	p := newBrowser(t)
	p.open(b.admin)
	p.run(chromedp.WaitVisible(chromedp.CSS("#token")), chromedp.SendKeys(chromedp.CSS("#token"), "wrong\r"))
	p.waitFor("the wrong token", `$('#door-error').includes('not the token')`)
	p.shoot("token")
	p.run(chromedp.SendKeys(chromedp.CSS("#token"), "correct-horse-battery\r"))
	p.waitFor("the page", `$('#sentence').includes('Ready')`)
	p.open(b.admin)
	p.waitFor("the page after a reload", `$('#sentence').includes('Ready')`)
}

// A proxy has the page below a path; its scripts and its API were looked for at the root.
func TestPageBelowAPath(t *testing.T) {
	b := newBridgeProcess(t)
	b.Start()
	target, err := url.Parse(b.admin)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.StripPrefix("/persat", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}))
	defer proxy.Close()
	p := newBrowser(t)
	p.open(proxy.URL + "/persat")
	p.waitFor("the page", `$('#sentence').includes('Ready')`)
}

// findInStream looks for a delivery under its id of a replay.
func findInStream(t *testing.T, url, delivery string) {
	t.Helper()
	js := natstest.JetStream(t, url)
	defer js.Conn().Close()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	testwait.Eventually(t, "the replayed dead letter in the stream", func() bool {
		m, err := stream.GetLastMsgForSubject(t.Context(), "persat.workorder.finished")
		return err == nil && m.Header["ce-id"][0] == delivery && strings.HasPrefix(m.Header.Get("Nats-Msg-Id"), "persat:"+delivery+":r")
	})
}

// browser is a page in a headless Chromium.
type browser struct {
	t   testing.TB
	ctx context.Context

	mu     sync.Mutex
	errors []string
}

// needTool finds a program, or ends the test: skipped on a developer's machine,
// failed in CI, where nobody would read that it was skipped.
func needTool(t testing.TB, what string, names ...string) string {
	t.Helper()
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.Abs(path) // it may be run in another directory
		}
		if err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed, and this is CI", what)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s is not installed", what)
	return ""
}

func newBrowser(t testing.TB) *browser {
	t.Helper()
	path := needTool(t, "Chromium", "chromium", "chromium-browser", "google-chrome")
	limit := 3 * time.Minute
	if _, long := t.(*testing.B); long || *screens != "" {
		limit = 30 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithAllocatorOptions(
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("accept-lang", "en-US")))
	t.Cleanup(cancel)
	p := &browser{t: t, ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.complain("exception %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
		case *runtime.EventConsoleAPICalled:
			p.complain("%s %v", e.Type, e.Args)
		case *cdplog.EventEntryAdded:
			p.complain("%s %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	})
	if err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return p
}

// complain notes what the page wrote to its console, which should be nothing.
func (p *browser) complain(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, fmt.Sprintf(format, args...))
}

func script(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](expression)
}

func (p *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.shoot("failure")
		p.t.Fatal(err)
	}
}

// click clicks on an element as soon as it can be seen, wherever that is: what stands above
// it comes and goes.
func (p *browser) click(selector string) {
	p.t.Helper()
	p.waitFor("a click on "+selector, fmt.Sprintf(`((e) => e?.checkVisibility() && (e.focus(), e.click(), true))(document.querySelector(%q))`, selector))
}

func (p *browser) open(url string) {
	p.t.Helper()
	p.run(chromedp.Navigate(url + "/"))
}

// waitFor waits until an expression is true; $(selector) in it is the text that is
// to be read there, with plain spaces.
func (p *browser) waitFor(what, expression string) {
	p.t.Helper()
	script := `(() => { const $ = (s) => (document.querySelector(s)?.innerText ?? '').replaceAll('\u00a0', ' '); return !!(` + expression + `) })()`
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		yes, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](script))
		if err != nil {
			p.t.Fatalf("%s: %v", what, err)
		}
		if yes {
			return
		}
		if time.Now().After(deadline) {
			text, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body.innerText`))
			p.shoot("failure")
			p.t.Fatalf("waited in vain for %s; console %q; the page says:\n%.3000s", what, p.errors, text)
		}
	}
}

// shoot leaves a picture of the whole page in artefacts/.
func (p *browser) shoot(name string) {
	p.t.Helper()
	picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Errorf("picture %s: %v", name, err)
		return
	}
	dir := filepath.Join("..", "..", "artefacts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	file := strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(p.t.Name() + " " + name + ".png"))
	if err := os.WriteFile(filepath.Join(dir, file), picture, 0o644); err != nil {
		p.t.Error(err)
	}
}

// checkConsole fails for whatever the browser complained of.
func (p *browser) checkConsole() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.errors {
		p.t.Errorf("the browser's console: %s", text)
	}
}
