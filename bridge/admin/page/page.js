// The status page. It asks the API each second and shows what it hears.

import { api, onToken, quietly, Refused, seen } from './api.js';
import * as dead from './dead.js';
import { $, el, rich } from './dom.js';
import * as drawer from './drawer.js';
import * as events from './events.js';
import { explained, lang, number, setLanguage, w } from './format.js';
import * as history from './history.js';
import * as intake from './intake.js';
import * as replay from './replay.js';
import * as state from './state.js';
import * as stream from './stream.js';

function translate() {
  document.documentElement.lang = lang;
  document.title = `persat-bridge · ${w.title}`;
  for (const e of document.querySelectorAll('[data-t]')) e.replaceChildren(...rich(w[e.dataset.t]));
  for (const e of document.querySelectorAll('[data-label]')) e.setAttribute('aria-label', w[e.dataset.label]);
  for (const e of document.querySelectorAll('[data-placeholder]')) { e.placeholder = w[e.dataset.placeholder]; e.setAttribute('aria-label', e.placeholder); e.title = e.placeholder; }
  for (const b of $('languages').children) b.setAttribute('aria-pressed', b.dataset.lang === lang);
  events.redraw();
  drawer.showDrawer();
  if (!seen.status) return void ($('sentence').textContent = w.looking);
  state.showStatus();
  replay.showReplay(seen.status.replay);
  history.show();
  intake.show();
  stream.show();
  dead.redraw();
  showLearned();
}

// What the catalogue does not know.

async function refreshLearned() {
  try {
    seen.learned = await api('learn?limit=5000');
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    return; // a bridge of another program has no catalogue
  }
  showLearned();
}

function showLearned() {
  const l = seen.learned;
  $('learned-panel').hidden = !l?.new;
  if (!l?.new) return;
  $('learned-head').textContent = w.learned(l.new, number(l.new));
  $('learned').replaceChildren(...l.types.flatMap((t) => t.new.map((text) => el('li', '', ...rich(`${t.type}: ${explained(text, l.new_reasons[text]?.reason_code, l.new_reasons[text]?.reason_params)}`)))));
}

async function refreshLog() { $('log-level').value = (await api('log')).level; }

// The rounds.

let turn = 0, going = false;
async function round() {
  if (going || !$('door').hidden) return;
  going = true;
  await quietly(async () => {
    seen.status = await api('status');
    $('main').hidden = false;
    state.showStatus();
    replay.showReplay(seen.status.replay);
    const first = turn === 0;
    turn++;
    if (first || turn % 2 === 0) {
      await events.refresh();
      await drawer.refreshDrawer();
      await dead.refresh();
    }
    if (first || turn % 5 === 0) { await history.refresh(); state.showStatus(); await intake.refresh(); }
    if (first || turn % 10 === 0) { await stream.refresh(); await refreshLog(); }
    if (first || turn % 60 === 0) await refreshLearned();
  });
  going = false;
}

for (const b of $('languages').children) {
  b.addEventListener('click', () => { setLanguage(b.dataset.lang); quietly(async () => translate()); });
}
$('log-level').addEventListener('change', () => quietly(async () => { await api('log', 'PUT', { level: $('log-level').value }); }));
let resizing;
addEventListener('resize', () => { clearTimeout(resizing); resizing = setTimeout(history.show, 150); });
onToken(round);
translate();
for (const part of [state, drawer, dead, replay, events, history]) part.start(quietly);
round();
setInterval(() => { if (!document.hidden || seen.lostSince) round(); }, 1000);
document.addEventListener('visibilitychange', () => { if (!document.hidden) round(); });
