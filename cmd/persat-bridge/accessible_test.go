package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/persat-bridge/persat-bridge/publisher/natstest"
)

// audit finds what the rules of WCAG that can be checked by program forbid: controls
// without a name, folds without aria-expanded, ids that are there twice, headings that
// leave out a level, tables without a header, a picture without a name, text with a
// contrast below 4.5 (3 for large text), controls whose border has one below 3.
const audit = `(() => {
  const wrong = [], seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const name = (e) => (e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id)?.textContent || '').join('') || [...(e.labels || [])].map((l) => l.textContent).join('') || e.textContent || e.title || '').trim();
  const what = (e) => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + (e.className && e.className.baseVal === undefined ? '.' + e.className.replaceAll(' ', '.') : '');
  for (const e of document.querySelectorAll('button, input:not([type=hidden]), select, textarea, a[href], summary, progress, [role=dialog], [role=img], dialog[open]')) if (seen(e) && !name(e)) wrong.push(what(e) + ' has no name');
  for (const e of document.querySelectorAll('[aria-controls]')) if (!e.hasAttribute('aria-expanded')) wrong.push(what(e) + ' folds something and does not say whether');
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) wrong.push('id ' + id + ' is there twice');
  let level = 0;
  for (const h of document.querySelectorAll('h1, h2, h3, h4')) { if (!seen(h)) continue; const n = Number(h.tagName[1]); if (n > level + 1) wrong.push(what(h) + ' leaves out a level'); level = n; }
  for (const t of document.querySelectorAll('table')) if (seen(t) && !t.querySelector('th[scope]')) wrong.push(what(t) + ' has no header');
  if (!document.documentElement.lang) wrong.push('no language');
  const rgb = (text) => { const c = document.createElement('canvas').getContext('2d', { willReadFrequently: true }); c.fillStyle = text; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
  const cache = new Map(), colour = (text) => { if (!cache.has(text)) cache.set(text, rgb(text)); return cache.get(text); };
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (colour(c)[3] === 255 && c !== 'rgba(0, 0, 0, 0)') return colour(c); } return [255, 255, 255]; };
  const said = new Set();
  for (const e of document.querySelectorAll('button, input, select')) {
    const style = getComputedStyle(e), a = light(colour(style.borderTopColor)), b = light(ground(e.parentElement));
    if (seen(e) && !e.disabled && parseFloat(style.borderTopWidth) && (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 3) wrong.push(what(e) + ' has a border that is hardly seen');
  }
  for (const e of document.querySelectorAll('body *')) {
    if (!seen(e) || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || e.closest(':disabled, script, style, option')) continue;
    const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg');
    const a = light(colour(svg ? style.fill : style.color)), b = light(ground(svg ? e.closest('section') : e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5) && !said.has(what(e))) { said.add(what(e)); wrong.push(what(e) + ' has a contrast of ' + ratio.toFixed(2) + ': ' + e.textContent.trim().slice(0, 30)); }
  }
  return wrong.join('\n');
})()`

// TestPageAccessible audits the page with all its parts open, in both languages and themes.
func TestPageAccessible(t *testing.T) {
	n := natstest.Start(t, "max_payload: 4096")
	b := newBridgeProcess(t, "PERSAT_BRIDGE_NATS_URL="+n.URL)
	b.Start()
	b.post("msg_first", `{"eventType":"workorder.closed","payload":{"_id":"48","note":"`+"x\u202ey"+`"}}`)
	b.post("msg_large", eventBody("workorder.closed", "49", strings.Repeat("x", 5000)))
	p := newBrowser(t)
	for _, theme := range []string{"light", "dark"} {
		p.run(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
			media := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}
			_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: media})
			return chromedp.Void{}, err
		})
		p.run(chromedp.Navigate(b.admin + "/?event=1&type=workorder.closed"))
		p.waitFor("the drawer and the dead letters", `$('#drawer pre') && document.querySelectorAll('#dead .letters li').length === 1 && document.querySelector('#chart-flow svg')`)
		p.run(script(`document.querySelectorAll('details').forEach((d) => { d.open = true; })`))
		for _, language := range []string{"en", "es"} {
			p.run(script(fmt.Sprintf(`document.querySelector('#languages [data-lang="%s"]').click()`, language)))
			p.waitFor("the language", fmt.Sprintf(`document.documentElement.lang === '%s' && document.querySelectorAll('#dead .letters li').length === 1`, language))
			wrong, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](audit))
			if err != nil {
				t.Fatal(err)
			}
			if wrong != "" {
				t.Errorf("%s, %s:\n%s", theme, language, wrong)
			}
			p.shoot(theme + " " + language)
		}
	}
	p.checkConsole()
}
