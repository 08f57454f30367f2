package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persat-bridge/persat-bridge/bridge/admin"
	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// flood posts n events of a type, each about an entity of its own.
func flood(t *testing.T, url, prefix string, n int) {
	t.Helper()
	const workers = 32
	s := newSender(url, testSecret, workers)
	defer s.close()
	var group sync.WaitGroup
	failures := make(chan error, workers)
	for w := range workers {
		group.Go(func() {
			for i := w; i < n; i += workers {
				body := fmt.Sprintf(`{"eventType":"delivery.created","payload":{"_id":"%s-%d"}}`, prefix, i)
				if a, err := s.post(t.Context(), fmt.Sprintf("msg_%s_%d", prefix, i), []byte(body)); err != nil || !a.ok() {
					failures <- fmt.Errorf("post %d: %d %s %w", i, a.code, a.Error, err)
					return
				}
			}
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		t.Fatal(err)
	}
}

// TestPageEvents looks closer at events while thousands go by.
func TestPageEvents(t *testing.T) {
	n := natstest.Start(t, "")
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL)
	b.Start()
	p := newBrowser(t)
	b.post("msg_first", `{"eventType":"workorder.closed","payload":{"_id":"48","note":"a\u202eb","n":12345678901234567890,"text":"`+"x\u202ey"+`"}}`)
	b.post("msg_other", `{"eventType":"client.updated","payload":{"uid_client":"C-1"}}`)
	p.open(b.admin)
	p.waitFor("both events", `document.querySelectorAll('#events > li').length === 2`)
	p.waitFor("their types to choose from", `document.querySelector('#q-type option[value="workorder.closed"]')`)

	// The filter is in the URL, and so is the event.
	p.click("#more-filters")
	p.run(script(`(() => { const f = document.querySelector('#q-type'); f.value = 'workorder.closed'; f.dispatchEvent(new Event('change', { bubbles: true })) })()`))
	p.waitFor("the filtered list", `document.querySelectorAll('#events > li').length === 1 && location.search === '?type=workorder.closed' && $('#chips').includes('type: workorder.closed')`)
	p.click("#events button")
	p.waitFor("the drawer", `$('#drawer-facts').includes('persat.workorder.closed') && $('#drawer-facts').includes('msg_first') && /Stream sequence\s+1\b/.test($('#drawer-facts')) && location.search.includes('event=1')`)
	p.waitFor("the sender", `/from 127\.0\.0\.1/.test($('#drawer-facts')) && !$('#drawer-facts').includes('after 0')`)
	p.waitFor("it is marked in the list", `document.querySelector('#events [aria-current]')?.dataset.record === '1'`)
	p.waitFor("the body as it came", `$('#drawer pre').includes('12345678901234567890') && $('#drawer pre').includes('"a\\u202eb"') && document.querySelector('#drawer .unseen').textContent === 'U+202E'`)
	p.click("#drawer summary")
	p.waitFor("the headers", `$('#drawer-headers').includes('Nats-Msg-Id') && $('#drawer-headers').includes('persat:msg_first') && $('#drawer-headers').includes('ce-type')`)

	flood(t, b.url, "flood", 10_000)
	b.drained()
	p.waitFor("what was accepted", `$('#tiles').includes('10,002 in all')`)
	p.waitFor("the drawer is as it was", `!document.querySelector('#drawer').hidden && $('#drawer-facts').includes('msg_first') && $('#drawer pre').includes('12345678901234567890')`)
	p.shoot("drawer after 10000 events")

	// A reload has the same filter and the same event.
	p.run(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		return chromedp.Void{}, chromedp.Do(ctx, script(`location.reload()`))
	})
	// A search ends after a while; on a busy machine it has not got that far back then.
	p.waitFor("filter and event after a reload", `document.querySelectorAll('#events > li').length === 1 || (b => b && !b.hidden && !b.disabled && b.click())(document.querySelector('#older'))`)
	p.waitFor("filter and event after a reload", `document.querySelectorAll('#events > li').length === 1 && $('#chips').includes('workorder.closed') && $('#drawer-facts').includes('msg_first')`)

	// Replay from the drawer reaches the stream.
	p.click(`#drawer [data-action="replay"]`)
	p.click("#ask-yes")
	p.waitFor("it was published again", `/Published again, as replay \d+/.test($('#drawer-result'))`)
	js := natstest.JetStream(t, n.URL)
	defer js.Conn().Close()
	stream, err := js.Stream(t.Context(), "PERSAT")
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), "persat.workorder.closed")
	if err != nil || !strings.HasPrefix(m.Header.Get("Nats-Msg-Id"), "persat:msg_first:r") {
		t.Errorf("the stream has %v (%v), want the replayed event", m, err)
	}
	p.run(chromedp.KeyEvent(kb.Escape)) // Escape
	p.waitFor("the drawer is closed, and the focus is where it was opened", `document.querySelector('#drawer').hidden && !location.search.includes('event') && document.activeElement.dataset.record === '1'`)

	// Paused, the list stays, and what comes in is counted, also behind a filter.
	p.click("#chips button")
	p.click("#live")
	p.waitFor("it is paused", `$('#live').includes('Paused') && $('#events').includes('msg_flood_')`)
	first, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.querySelector('#events button').dataset.record`))
	if err != nil {
		t.Fatal(err)
	}
	flood(t, b.url, "more", 37)
	p.waitFor("37 new", `$('#fresh') === '37 new' && document.querySelector('#events button').dataset.record === '`+first+`'`)
	p.click("#fresh")
	p.waitFor("they are shown", `$('#live').includes('Live') && $('#events').includes('msg_more_')`)

	// All of the journal can be reached, far behind the newest.
	p.run(script(`(() => { const q = document.querySelector('#q'); q.value = 'msg_first'; q.dispatchEvent(new Event('input', { bubbles: true })) })()`))
	// On a slow machine the search stops before, and offers to go on.
	p.waitFor("the oldest of 10,039", `document.querySelectorAll('#events > li').length === 1 && $('#looked').includes('10,039') || ((o) => { if (!o.hidden && !o.disabled && o.innerText === 'Search on') o.click() })(document.querySelector('#older'))`)
	// A click that comes before the button shows that a search goes on ended that search.
	p.run(script(`document.querySelector('#chips button').click(); document.querySelector('#older').click()`))
	p.waitFor("all of them", `document.querySelectorAll('#events > li').length === 25`)
	p.click("#older")
	p.waitFor("the next page", `document.querySelectorAll('#events > li').length === 50 && $('#live').includes('Paused')`)
	p.checkConsole()
}

// TestPageRefusal: a stream that is full is on the page at once, and can be tried again.
// The log and the alert wait until it has lasted.
func TestPageRefusal(t *testing.T) {
	n := natstest.Start(t, "")
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL)
	b.Start()
	p := newBrowser(t)
	p.open(b.admin)
	for i := range 12 {
		b.post(fmt.Sprintf("msg_%d", i), fmt.Sprintf(`{"eventType":"workorder.created","payload":{"_id":"%d"}}`, i))
	}
	b.drained()
	limit := func(messages int64) {
		js := natstest.JetStream(t, n.URL)
		defer js.Conn().Close()
		stream, err := js.Stream(t.Context(), "PERSAT")
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		c.Discard, c.MaxMsgs = jetstream.DiscardNew, messages
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	limit(12)
	for i := range 5 { // of the same work orders: they wait behind
		for _, eventType := range []string{"workorder.updated", "workorder.closed"} {
			b.post(fmt.Sprintf("msg_%s_%d", eventType, i), fmt.Sprintf(`{"eventType":"%s","payload":{"_id":"%d"}}`, eventType, i))
		}
	}
	p.waitFor("the refusal, with what waits", `$('#sentence').includes('Accepting; 10 events waiting: 5 refused, 5 queued behind them') && !$('#sentence').includes('publishing')`)
	p.waitFor("the server's reason", `$('#advice').includes('Reason: the stream refuses it') && $('#held').includes('at a limit')`)
	p.waitFor("the next attempt", `/Next attempt in \d+ s|Trying now/.test($('#next'))`)
	if strings.Contains(b.Output.String(), "events are held") {
		t.Error("the page shows a refusal only when the log does")
	}
	p.shoot("refused")
	if code, out, _ := b.tool("status"); code != 1 || !strings.Contains(out, "10 events waiting: 5 refused, 5 queued behind them") {
		t.Errorf("status: got %d %q, want what the page says", code, out)
	}
	sameLevel(t, b, p)
	limit(-1)
	// Watched by a screen reader before it has a text, and no part of the row.
	p.waitFor("where the result is told", `(e => e.checkVisibility() && getComputedStyle(e).position === 'absolute' && !$('#try-result'))(document.querySelector('#try-result'))`)
	p.click("#try-now")
	p.waitFor("it is told", `$('#try-result') === 'Being tried.'`)
	p.waitFor("all is well", `$('#sentence') === 'Accepting and publishing; nothing waiting'`)
	sameLevel(t, b, p)
	n.Stop()
	p.waitFor("NATS away", `$('#sentence').includes('NATS away since')`)
	sameLevel(t, b, p)
	p.checkConsole()
}

// sameLevel compares the level on the page with that of 'status --json', and its exit code.
func sameLevel(t *testing.T, b *bridgeProcess, p *browser) {
	t.Helper()
	code, out, stderr := b.tool("status", "--json")
	var s admin.StatusAnswer
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("status --json: %q %q (%v)", out, stderr, err)
	}
	level, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.querySelector('#state').dataset.level`))
	if err != nil || level != string(s.Sentence.Level) || code != map[string]int{"good": 0, "warn": 1, "bad": 2}[level] {
		t.Errorf("the page says %q, status --json %q with exit code %d (%v)", level, s.Sentence.Level, code, err)
	}
}

// TestPageDeadLetters are 200 dead letters of four reasons: four groups, on one screen.
func TestPageDeadLetters(t *testing.T) {
	n := natstest.Start(t, "max_payload: 4096")
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL)
	b.Start()
	p := newBrowser(t)
	s := newSender(b.url, testSecret, 4)
	defer s.close()
	post := func(id, body string) {
		t.Helper()
		if a, err := s.post(t.Context(), id, []byte(body)); err != nil || !a.ok() {
			t.Fatalf("post %s: %d %s %v", id, a.code, a.Error, err)
		}
	}
	for i := range 50 {
		post(fmt.Sprintf("msg_a%d", i), strings.Repeat("x", i+1))
		post(fmt.Sprintf("msg_b%d", i), fmt.Sprintf(`{"payload":{"_id":"%d"}}`, i))
		post(fmt.Sprintf("msg_c%d", i), fmt.Sprintf(`{"eventType":"work order %d","payload":{}}`, i))
		post(fmt.Sprintf("msg_d%d", i), fmt.Sprintf(`{"eventType":"workorder.closed","payload":{"_id":"%d","x":"%s"}}`, i, strings.Repeat("x", 5000)))
	}
	p.open(b.admin)
	p.waitFor("four groups", `document.querySelectorAll('#dead > li').length === 4 && $('#dead-total').startsWith('200, ') && $('#dead-total').includes('50 can be published')`)
	for _, screen := range [][2]int64{{1280, 900}, {390, 844}} {
		p.run(chromedp.EmulateViewport(screen[0], screen[1]))
		p.open(b.admin)
		p.waitFor("the first is folded out", `document.querySelectorAll('#dead > li').length === 4 && document.querySelector('#dead .letters li') && document.querySelectorAll('#dead [aria-expanded="true"]').length === 1`)
		high, err := chromedp.Run(p.ctx, chromedp.Evaluate[float64](`document.querySelector('#dead-panel').getBoundingClientRect().height`))
		if err != nil || high > float64(screen[1]) {
			t.Errorf("at %d×%d the dead letters are %v px high (%v)", screen[0], screen[1], high, err)
		}
		p.shoot(fmt.Sprintf("at %d", screen[0]))
	}
	p.run(chromedp.EmulateViewport(1280, 900))

	// The question says what can be done.
	p.click("#dead-replay-all")
	p.run(chromedp.WaitVisible(chromedp.CSS("#ask-yes")))
	p.waitFor("the truth", `$('#ask-text') === '50 of 200 can be published. Replay those 50? The other 150 stay.'`)
	p.click("#ask-no")

	// A group is discarded as a whole, and nothing else.
	p.run(script(`[...document.querySelectorAll('#dead > li')].find((g) => g.innerText.includes('Not JSON')).querySelector('.discard-group').click()`), chromedp.WaitVisible(chromedp.CSS("#ask-yes")))
	p.waitFor("how many", `$('#ask-text') === 'Discard 50 dead letters? They will never be published.'`)
	p.click("#ask-yes")
	p.waitFor("it asks again", `$('#ask-text').startsWith('Really?')`)
	p.click("#ask-yes")
	p.waitFor("three groups are left", `document.querySelectorAll('#dead > li').length === 3 && $('#dead-result').includes('50 dead letters discarded')`)
	if got := b.metric("persat_bridge_dead_events"); got != 150 {
		t.Errorf("dead letters afterwards: got %v, want 150", got)
	}
	p.click(`#languages [data-lang="es"]`)
	p.waitFor("the reasons in Spanish", `$('#dead').includes('in eventType') && $('#dead').includes('upera el max_payload') && $('#dead-panel h2') === 'No publicados'`)
	p.shoot("in Spanish")
	p.checkConsole()
}

// TestPageByKeyboard opens, filters and replays an event without a mouse.
func TestPageByKeyboard(t *testing.T) {
	n := natstest.Start(t, "")
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL)
	b.Start()
	b.post("msg_first", `{"eventType":"workorder.closed","payload":{"_id":"48"}}`)
	b.drained()
	p := newBrowser(t)
	p.open(b.admin)
	p.waitFor("the event", `$('#events').includes('msg_first')`)
	// to tabs on until an element has the focus, as somebody does who sees the ring.
	to := func(selector string) {
		t.Helper()
		for range 60 {
			p.run(chromedp.KeyEvent(kb.Tab))
			is, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](`!!document.activeElement?.matches(`+fmt.Sprintf("%q", selector)+`)`))
			if err != nil {
				t.Fatal(err)
			}
			if is {
				return
			}
		}
		t.Fatalf("no way by Tab to %s", selector)
	}
	to("#skip")
	p.run(chromedp.KeyEvent(kb.Enter))
	p.waitFor("the content", `document.activeElement.id === 'main'`)
	to("#q")
	p.run(chromedp.SendKeys(chromedp.CSS("#q"), "msg_first"))
	p.waitFor("the filter", `new URLSearchParams(location.search).get('q') === 'msg_first' && $('#looked') === ''`)
	to("#events button")
	p.run(chromedp.KeyEvent(kb.Enter))
	p.waitFor("the drawer", `document.activeElement.id === 'drawer-title' && $('#drawer-facts').includes('msg_first')`)
	to(`#drawer [data-action="replay"]`)
	p.run(chromedp.KeyEvent(kb.Enter))
	p.waitFor("the question, on yes", `document.activeElement.id === 'ask-yes'`)
	p.run(chromedp.KeyEvent(kb.Enter))
	p.waitFor("it was published again", `/Published again, as replay \d+/.test($('#drawer-result'))`)
	p.run(chromedp.KeyEvent(kb.Escape))
	p.waitFor("back where it began", `document.querySelector('#drawer').hidden && document.activeElement.dataset.record === '1'`)
	p.checkConsole()
}
