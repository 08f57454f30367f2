// The state: the sentence, the numbers, the notices, and what NATS refuses.

import { api, seen } from './api.js';
import { $, ask, el, rich, setText } from './dom.js';
import { about, clock, duration, explained, number, percent, raised, reason, say, size, w } from './format.js';

// little is what a journal's log may take beside its tables, which alone are counted. Of a
// limit that is not much larger it is not little, and the log is small, too.
const little = 100 << 20;

function tile(label, value, note, level, extra) {
  const t = el('div', 'tile', el('span', 'quiet', label), el('b', '', value), ...[note].flat().filter(Boolean).map((line) => el('div', 'quiet', line)), extra);
  if (level) t.dataset.level = level;
  return t;
}

export function showStatus() {
  const s = seen.status;
  if (!s) return;
  const level = s.sentence.level;
  $('state').dataset.level = level;
  setText($('sentence'), `${say(s.sentence.head)}; ${s.sentence.facts.map(say).join(', ')}`);
  showTexts($('advice'), 'p', s.sentence.remedies.map(say));
  $('clock').textContent = clock(s.time, true);
  showNext(s);
  showTiles(s, level);
  showNotices(s);
  showHeld(s);
}

// showTexts writes texts that have changed, each into an element of its own.
function showTexts(box, tag, texts) {
  const all = texts.join('\n');
  if (box.dataset.shown !== all) box.replaceChildren(...texts.map((text) => el(tag, '', ...rich(raised(text)))));
  box.dataset.shown = all;
}

// showNext says when the next attempt is made, where one is waited for.
function showNext(s) {
  const times = [!s.nats.up && s.nats.next_attempt, ...s.held.map((h) => h.next_attempt)].filter(Boolean).map((t) => Date.parse(t));
  const waits = !s.nats.up || s.held.length > 0;
  $('next').hidden = !waits || (!s.nats.up && !s.nats.attempts && !times.length);
  const seconds = Math.ceil((Math.min(...times) - Date.parse(s.time)) / 1000);
  setText($('next-text'), times.length && seconds > 0 ? w.next_attempt(about(seconds)) : w.trying);
}

function showTiles(s, level) {
  const several = s.sources.length > 1;
  const sources = (f) => (several ? s.sources.filter((x) => f(x) > 0).map((x) => w.per_source(x.name, number(f(x)))).join(' · ') : '');
  const oldest = Math.min(...s.sources.map((x) => (x.oldest_pending ? Date.parse(x.oldest_pending) : Infinity)));
  const age = oldest === Infinity ? null : Math.max((Date.parse(s.time) - oldest) / 1000, 0);
  const now = Date.parse(s.time);
  const newest = seen.samples.length ? Date.parse(seen.samples.at(-1).at) : now; // as in the chart
  const minute = seen.samples.filter((x) => Date.parse(x.at) > newest - 60e3).reduce((n, x) => n + x.accepted, 0);
  const limit = s.journal_limit_bytes, share = limit > 0 ? s.journal_bytes / limit : 0;
  const bar = el('progress');
  bar.max = 1;
  bar.value = share;
  bar.setAttribute('aria-label', w.journal_tile);
  // While no event waits for long, the oldest published ones make room: as in the sentence.
  const waits = age > 15;
  const room = waits && limit > 0 && s.journal_room_seconds && s.journal_room_seconds < 365 * 86400 ? w.room(about(s.journal_room_seconds)) : '';
  const used = s.journal_bytes < little && limit > 10 * little ? w.under(size(little)) : size(s.journal_bytes);
  const last = s.sources.filter((x) => x.last_event).sort((a, b) => Date.parse(b.last_event.at) - Date.parse(a.last_event.at));
  const ago = (x) => w.ago(about(Math.max((now - Date.parse(x.last_event.at)) / 1000, 0)));
  $('tiles').replaceChildren(
    tile(w.last_tile, last.length ? ago(last[0]) : w.no_event, last.map((x) => `${several ? `${x.name}: ` : ''}${x.last_event.type || w.without_type}${several && x !== last[0] ? ` ${ago(x)}` : ''}`).join(' · ')),
    tile(w.rate_tile, number(minute), w.accepted_ever(number(s.accepted))),
    tile(w.waiting_tile, number(s.pending), [s.refused && w.of_them(number(s.refused), number(s.queued)), sources((x) => x.pending)].filter(Boolean).join(' · '), s.pending && level !== 'good' ? 'warn' : ''),
    tile(w.oldest_tile, age === null ? '–' : duration(age), '', age !== null && level !== 'good' ? 'warn' : ''),
    tile(w.dead_tile, number(s.dead), sources((x) => x.dead), s.dead ? 'warn' : ''),
    tile(w.journal_tile, limit > 0 ? percent(Math.floor(share * 100)) : s.journal_bytes < little ? `< ${size(little)}` : size(s.journal_bytes),
      limit > 0 ? [w.of_limit(used, size(limit)), room] : w.no_limit, share >= 0.95 ? 'bad' : waits && share >= 0.8 ? 'warn' : '', limit > 0 ? bar : null),
  );
}

function showNotices(s) {
  const said = (texts, reasons) => (texts || []).map((text, i) => explained(text, reasons?.[i]?.reason_code, reasons?.[i]?.reason_params));
  const notices = [...said(s.notices, s.notice_reasons), ...said(seen.stream?.stream?.differences, seen.stream?.difference_reasons).map((d) => `${w.differences}: ${d}`)];
  $('notices-panel').hidden = !notices.length;
  showTexts($('notices'), 'li', notices);
  $('stream-recreate').hidden = !s.stream_missing;
  if (!s.stream_missing) $('stream-result').textContent = '';
}

function showHeld(s) {
  $('held-panel').hidden = !s.held.length;
  const reasons = [...Map.groupBy(s.held, (h) => reason(h))];
  $('held').replaceChildren(...reasons.map(([text, types]) => el('li', '', el('div', '', ...rich(raised(text))),
    ...types.map((h) => el('div', 'quiet', el('b', '', `${h.source} ${h.type}`), ` · ${w.held_line(number(h.waiting), h.waiting, clock(h.since))}`)))));
}

export function start() {
  $('try-now').addEventListener('click', async () => {
    try { await api('retry', 'POST'); $('try-result').textContent = w.tried; } catch (e) { $('try-result').textContent = w.failed(e.message); }
    setTimeout(() => { $('try-result').textContent = ''; }, 5000);
  });
  $('stream-recreate').addEventListener('click', async () => {
    if (!await ask(w.ask_recreate, w.yes_recreate, true)) return;
    try {
      await api('stream/recreate', 'POST');
      $('stream-result').textContent = w.recreating;
    } catch (e) {
      $('stream-result').textContent = w.failed(e.message);
    }
  });
}
