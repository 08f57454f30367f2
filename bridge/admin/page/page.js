// The status page. It asks the API each second and shows what it hears. Texts of
// events and of the bridge become text nodes, never markup.

import { chart, linear, log } from './chart.js';
import { words } from './words.js';

const $ = (id) => document.getElementById(id);
const seen = { status: null, samples: [], history: null, stream: null, lostSince: null, lastAnswer: null };
const firstPage = innerWidth < 720 ? 10 : 25;
const events = { limit: firstPage, rows: new Map(), open: new Set() };
const dead = { rows: new Map(), total: 0, now: '' };

// Language and the forms of numbers and times.

const chosen = () => { try { return localStorage.getItem('language'); } catch { return null; } };
let lang = chosen() || (navigator.languages || [navigator.language]).map((l) => l.slice(0, 2)).find((l) => l in words) || 'en';
let w = words[lang];
const number = (n) => new Intl.NumberFormat(lang, { useGrouping: 'always' }).format(n);
const short = (n) => new Intl.NumberFormat(lang, { notation: 'compact', maximumFractionDigits: 1 }).format(n);

function clock(t, seconds) {
  const d = new Date(t);
  const time = d.toLocaleTimeString(lang, { hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined, hourCycle: 'h23' });
  return d.toDateString() === new Date().toDateString() ? time : `${d.toLocaleDateString(lang, { day: 'numeric', month: 'short' })} ${time}`;
}

function duration(seconds) {
  const few = (n) => new Intl.NumberFormat(lang, { maximumFractionDigits: n < 9.95 ? 1 : 0 }).format(n);
  if (seconds > 0 && seconds < 1) return `${few(seconds * 1000)} ms`;
  if (seconds < 60) return `${few(seconds)} ${w.seconds}`;
  const units = [['days', 86400], ['hours', 3600], ['minutes', 60], ['seconds', 1]];
  const i = units.findIndex(([, size]) => seconds >= size);
  const big = Math.floor(seconds / units[i][1]);
  const rest = i + 1 < units.length ? Math.floor((seconds % units[i][1]) / units[i + 1][1]) : 0;
  return `${big} ${w[units[i][0]]}${rest ? ` ${rest} ${w[units[i + 1][0]]}` : ''}`;
}

function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; bytes >= 1024 && i < units.length - 1; i++) bytes /= 1024;
  return `${new Intl.NumberFormat(lang, { maximumFractionDigits: bytes < 10 && i ? 1 : 0 }).format(bytes)} ${units[i]}`;
}

function translate() {
  w = words[lang];
  document.documentElement.lang = lang;
  document.title = `persat-bridge · ${w.title}`;
  for (const e of document.querySelectorAll('[data-t]')) e.textContent = w[e.dataset.t];
  for (const e of document.querySelectorAll('[data-placeholder]')) { e.placeholder = w[e.dataset.placeholder]; e.setAttribute('aria-label', e.placeholder); e.title = e.placeholder; }
  for (const b of $('languages').children) b.setAttribute('aria-pressed', b.dataset.lang === lang);
  events.rows.clear();
  dead.rows.clear();
  if (seen.status) { showHistory(); showStream(); showLearned(); refreshEvents(); refreshDead(); } else { $('sentence').textContent = w.looking; }
}

// Elements.

function el(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ''));
  return e;
}

function button(text, className, click) {
  const b = el('button', className, text);
  b.type = 'button';
  b.addEventListener('click', click);
  return b;
}

// arrange makes list hold exactly these rows, and leaves them alone when it does:
// a row that is moved loses the focus and the selection in it.
function arrange(list, rows) {
  if (rows.length !== list.children.length || rows.some((r, i) => r !== list.children[i])) list.replaceChildren(...rows);
}

// The API.

let token = sessionStorage.getItem('token') || '';
class Refused extends Error {}

async function api(path, method = 'GET', body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`api/${path}`, { method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(method === 'GET' ? 8000 : 300000) });
  if (answer.status === 401) {
    askToken();
    throw new Refused('401');
  }
  heard();
  if (answer.status === 204) return null;
  const got = await answer.json();
  if (!answer.ok) throw new Refused(got.error || answer.status);
  return got;
}

function heard() {
  seen.lastAnswer = Date.now();
  seen.lostSince = null;
  $('lost').hidden = true;
  document.body.classList.remove('lost');
}

function lose() {
  seen.lostSince ??= seen.lastAnswer || Date.now();
  $('main').hidden = !$('door').hidden;
  $('lost').textContent = w.lost(clock(seen.lostSince, true));
  $('lost').hidden = false;
  document.body.classList.add('lost');
}

function askToken() {
  if ($('door').hidden) {
    $('door-error').textContent = token ? w.token_wrong : '';
    $('door').hidden = false;
    $('main').hidden = true;
    $('token').focus();
  }
  token = '';
  sessionStorage.removeItem('token');
}

$('door').addEventListener('submit', (e) => {
  e.preventDefault();
  token = $('token').value;
  sessionStorage.setItem('token', token);
  $('token').value = '';
  $('door').hidden = true;
  round();
});

// ask puts one question and answers whether it was answered yes.
function ask(text, yes, danger) {
  $('ask-text').textContent = text;
  $('ask-yes').textContent = yes;
  $('ask-yes').className = danger ? 'main danger' : 'main';
  const dialog = $('ask');
  return new Promise((resolve) => {
    let answer = false;
    $('ask-yes').onclick = () => { answer = true; dialog.close(); };
    $('ask-no').onclick = () => dialog.close();
    // It tells of a close some time later: of the one before, when it is open again.
    dialog.onclose = () => { if (!dialog.open) resolve(answer); };
    dialog.showModal();
    (danger ? $('ask-no') : $('ask-yes')).focus();
  });
}

// The state, in one sentence: the bridge derives it, as codes with a parameter each.

function say(phrase) {
  const word = w[phrase.code];
  if (typeof word !== 'function') return word;
  if (phrase.at) return word(clock(phrase.at));
  if (phrase.reason) return word(phrase.reason);
  return word(phrase.count ?? 0, number(phrase.count ?? 0));
}

function sentence(s) {
  const oldest = Math.min(...s.sources.map((x) => (x.oldest_pending ? Date.parse(x.oldest_pending) : Infinity)));
  return {
    level: s.sentence.level,
    text: `${say(s.sentence.head)}; ${s.sentence.facts.map(say).join(', ')}`,
    advice: s.sentence.remedies.map(say).join(' '),
    held: s.held.reduce((n, h) => n + h.waiting, 0),
    oldest: oldest === Infinity ? null : (Date.parse(s.time) - oldest) / 1000,
  };
}

function tile(label, value, note, level, extra) {
  const t = el('div', 'tile', el('span', 'quiet', label), el('b', '', value), note ? el('span', 'quiet', note) : null, extra);
  if (level) t.dataset.level = level;
  return t;
}

function showStatus() {
  const s = seen.status, now = sentence(s);
  $('state').dataset.level = now.level;
  // Written only when it changes: a screen reader says it again each time.
  if ($('sentence').textContent !== now.text) $('sentence').textContent = now.text;
  $('advice').textContent = now.advice;
  $('clock').textContent = clock(s.time, true);

  const several = s.sources.length > 1;
  const sources = (f) => (several ? s.sources.filter((x) => f(x) > 0).map((x) => w.per_source(x.name, number(f(x)))).join(' · ') : '');
  const minute = seen.samples.slice(-12).reduce((n, x) => n + x.accepted, 0);
  const share = s.journal_limit_bytes > 0 ? s.journal_bytes / s.journal_limit_bytes : 0;
  const bar = el('progress');
  bar.max = 1;
  bar.value = share;
  $('tiles').replaceChildren(
    tile(w.waiting_tile, number(s.pending), sources((x) => x.pending), s.pending && now.level !== 'good' ? 'warn' : ''),
    tile(w.oldest_tile, now.oldest === null ? '–' : duration(Math.max(now.oldest, 0)), '', now.oldest > 300 ? 'warn' : ''),
    tile(w.rate_tile, number(minute), w.accepted_ever(number(s.accepted))),
    tile(w.held_tile, number(now.held), '', now.held ? 'warn' : ''),
    tile(w.dead_tile, number(s.dead), sources((x) => x.dead), s.dead ? 'warn' : ''),
    tile(w.journal_tile, s.journal_limit_bytes > 0 ? `${number(Math.round(share * 100))} %` : size(s.journal_bytes),
      s.journal_limit_bytes > 0 ? w.of_limit(size(s.journal_bytes), size(s.journal_limit_bytes)) : w.no_limit, share >= 0.95 ? 'bad' : '', s.journal_limit_bytes > 0 ? bar : null),
  );

  const notices = [...s.notices, ...(seen.stream?.stream?.differences || []).map((d) => `${w.differences}: ${d}`)];
  $('notices-panel').hidden = !notices.length;
  $('notices').replaceChildren(...notices.map((n) => el('li', '', n)));
  $('stream-recreate').hidden = !s.stream_missing;
  if (!s.stream_missing) $('stream-result').textContent = '';
  $('held-panel').hidden = !s.held.length;
  const reasons = [...Map.groupBy(s.held, (h) => h.reason)];
  $('held').replaceChildren(...reasons.map(([reason, types]) => el('li', '', ...types.map((h) => el('div', '', el('b', '', `${h.source} ${h.type}`), ` · ${w.held_line(number(h.waiting), h.waiting, clock(h.since))}`)), el('div', '', reason))));
  showReplay(s.replay);
}

$('stream-recreate').addEventListener('click', async () => {
  if (!await ask(w.ask_recreate, w.yes_recreate, true)) return;
  try {
    await api('stream/recreate', 'POST');
    $('stream-result').textContent = w.recreating;
  } catch (e) {
    $('stream-result').textContent = w.failed(e.message);
  }
});

// History: charts and counts.

async function refreshHistory() {
  const last = seen.samples.at(-1);
  let got = await api(last ? `history?after=${encodeURIComponent(last.at)}` : 'history');
  if (seen.history && got.started !== seen.history.started) got = await api('history'); // another process
  if (!seen.history || got.started !== seen.history.started) seen.samples = [];
  seen.history = got;
  seen.samples.push(...got.samples.filter((x) => !seen.samples.length || x.at > seen.samples.at(-1).at));
  const newest = seen.samples.length ? Date.parse(seen.samples.at(-1).at) : 0;
  seen.samples = seen.samples.filter((x) => Date.parse(x.at) > newest - 3600e3);
  showHistory();
}

function showHistory() {
  if (!seen.history) return;
  const samples = seen.samples, h = seen.history;
  const times = samples.map((x) => Date.parse(x.at));
  const now = times.at(-1) || Date.now();
  // What happened in the minute before each sample.
  const perMinute = (key) => {
    const n = Math.round(60 / h.interval_seconds);
    let sum = 0;
    return samples.map((x, i) => { sum += x[key] - (i >= n ? samples[i - n][key] : 0); return sum; });
  };
  const values = (key) => samples.map((x) => x[key] ?? null);
  const base = { times, now, clock };
  chart($('chart-flow'), { ...base, title: w.flow, note: w.per_minute, format: short, scale: linear, series: [{ label: w.accepted, values: perMinute('accepted'), area: true }, { label: w.published, values: perMinute('published') }] });
  chart($('chart-pending'), { ...base, title: w.pending_chart, format: short, scale: linear, series: [{ label: w.pending, values: values('pending'), area: true }] });
  chart($('chart-accept'), { ...base, title: w.accept_latency, note: w.accept_latency_note, format: duration, scale: log, latest: true, series: [{ label: w.median, values: values('accept_p50') }, { label: w.p99, values: values('accept_p99') }] });
  chart($('chart-publish'), { ...base, title: w.publish_latency, note: w.publish_latency_note, format: duration, scale: log, latest: true, series: [{ label: w.median, values: values('publish_p50') }, { label: w.p99, values: values('publish_p99') }] });

  const several = new Set(h.types.map((t) => t.source)).size > 1;
  const cell = (n) => el('td', n ? 'n' : 'n zero', number(n));
  $('types').replaceChildren(...h.types.map((t) => el('tr', '', el('td', '', several ? `${t.source} ${t.type}` : t.type), cell(t.accepted_hour), cell(t.accepted), cell(t.published))));
  $('types-since').textContent = w.counted_since(clock(h.started));
  const chosenType = $('replay-type').value;
  $('replay-type').replaceChildren($('replay-type').options[0], ...[...new Set(h.types.map((t) => t.type))].filter((t) => t !== 'other').map((t) => { const o = el('option', '', t); o.value = t; return o; }));
  $('replay-type').value = chosenType;
  $('refused-none').hidden = h.refused.length > 0;
  $('refused-table').hidden = !h.refused.length;
  $('refused').replaceChildren(...h.refused.map((r) => el('tr', '', el('td', '', `${r.source} ${r.reason}`), cell(r.hour), cell(r.count))));
  $('version').textContent = h.version || '';
  showStatus(); // it shows the last minute
}

async function refreshStream() {
  seen.stream = await api('stream');
  showStream();
}

// setting is a setting of the stream in the page's language.
function setting(name) { return w.settings[name] || name; }

function showStream() {
  const s = seen.stream?.stream;
  $('stream-error').hidden = !seen.stream?.error;
  $('stream-error').textContent = seen.stream?.error || '';
  if (!s) return $('stream').replaceChildren();
  const limits = [s.max_age_ns && w.max_age(duration(s.max_age_ns / 1e9)), s.max_bytes && size(s.max_bytes), s.max_messages && number(s.max_messages)].filter(Boolean).join(', ') || w.unlimited;
  const rows = [
    [w.server, `${s.server.length > 40 ? `${s.server.slice(0, 12)}…` : s.server}, nats-server ${s.server_version}`], // one without a name has its key
    [w.address, s.address === 'the embedded server' ? w.embedded : s.address],
    [w.connected, seen.status?.nats.up ? clock(seen.status.nats.since) : '–'],
    s.cluster && [w.cluster, `${s.cluster}${s.leader ? `, ${w.leader} ${s.leader}` : ''}`],
    [w.name, s.name],
    [w.subjects, s.subjects.join(', ')],
    [w.messages, `${number(s.messages)}, ${size(s.bytes)}`],
    [w.sequences, `${number(s.first_sequence)} – ${number(s.last_sequence)}`],
    [w.storage, `${setting(s.storage)}, ${w.replicas(s.replicas)}, ${setting(s.retention)}`],
    [w.limits, `${limits}; ${w.full_discards(setting(s.discard))}`],
    [w.duplicates, duration(s.duplicate_window_ns / 1e9)],
    [w.consumers, number(s.consumers)],
    [w.created, clock(s.created)],
  ].filter(Boolean);
  $('stream').replaceChildren(...rows.flatMap(([k, v]) => [el('dt', '', k), el('dd', '', v)]));
}

// Events.

function badge(state) { return el('span', `badge ${state}`, w[`state_${state}`]); }

// toggleBody loads the body of a record and shows it under its row.
async function toggleBody(row, record, open) {
  const shown = row.querySelector('.body');
  if (shown) {
    shown.remove();
    open.delete(record);
    return false;
  }
  open.add(record);
  const box = el('div', 'body');
  row.append(box);
  try {
    const r = await api(`events/${record}`);
    const facts = [w.record(r.record), w.bytes(number(r.size)), r.stream_sequence && w.sequence(r.stream_sequence), r.at && clock(r.at, true), r.reason].filter(Boolean);
    box.append(el('div', 'quiet', facts.join(' · ')));
    box.append(r.body ? el('pre', '', pretty(r.body)) : el('p', 'quiet', w.no_body));
  } catch (e) {
    box.append(el('p', 'bad-text', w.failed(e.message)));
  }
  return true;
}

function pretty(base64) {
  const text = new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function eventRow(r) {
  const row = el('li');
  const show = button(w.body, '', async () => { show.textContent = (await toggleBody(row, r.record, events.open)) ? w.close : w.body; });
  row.append(el('div', 'record', el('span', '', clock(r.accepted, true)), el('span', 'state', badge(r.state)),
    el('span', 'what', el('b', '', r.type || '?'), r.entities?.length ? ` · ${r.entities.join(', ')}` : ''), el('span', 'id', r.id), el('span', 'buttons', show)));
  if (events.open.has(r.record)) { events.open.delete(r.record); show.click(); }
  return row;
}

async function refreshEvents() {
  const query = new URLSearchParams({ limit: events.limit });
  const q = $('q').value.trim();
  if (q) query.set('q', q);
  if ($('q-state').value) query.set('state', $('q-state').value);
  const page = await api(`events?${query}`);
  const rows = page.events.map((r) => {
    let kept = events.rows.get(r.record);
    if (!kept) events.rows.set(r.record, kept = { row: eventRow(r), state: r.state });
    if (kept.state !== r.state) {
      kept.row.querySelector('.state').replaceChildren(badge(r.state));
      kept.state = r.state;
    }
    return kept.row;
  });
  arrange($('events'), rows);
  const here = new Set(page.events.map((r) => r.record));
  for (const record of events.rows.keys()) if (!here.has(record)) { events.rows.delete(record); events.open.delete(record); }
  $('events-none').hidden = rows.length > 0;
  $('events-none').textContent = q || $('q-state').value ? w.no_match : w.no_events;
  $('older').hidden = !page.before || events.limit >= 1000;
}

$('search').addEventListener('submit', (e) => e.preventDefault());
let typing;
for (const name of ['input', 'change']) {
  $('search').addEventListener(name, () => { clearTimeout(typing); typing = setTimeout(() => { events.limit = firstPage; quietly(refreshEvents); }, 250); });
}
$('older').addEventListener('click', () => { events.limit = Math.min(events.limit * 2, 1000); quietly(refreshEvents); });

// Dead letters.

const deadOpen = new Set();

function deadRow(r) {
  const row = el('li');
  const show = button(w.body, '', async () => { show.textContent = (await toggleBody(row, r.record, deadOpen)) ? w.close : w.body; });
  const one = new URLSearchParams({ record: r.record }).toString();
  row.append(el('div', 'record dead-record', el('span', '', clock(r.accepted, true)), el('span', '', badge('dead')),
    el('span', 'what', el('b', '', r.type || '?'), r.entities?.length ? ` · ${r.entities.join(', ')}` : ''), el('span', 'id', r.id),
    el('span', 'buttons', show, r.type ? button(w.replay_one, 'replay-one', () => changeDead('replay', 1, one)) : null, button(w.discard_one, 'discard-one danger', () => changeDead('discard', 1, one))),
    el('span', 'reason', r.reason, r.type ? '' : el('span', 'quiet', ` · ${w.never}`), r.attempts ? el('span', 'quiet', ` · ${w.attempts(r.attempts, number(r.attempts))}`) : '')));
  return row;
}

async function refreshDead() {
  if (!seen.status.dead && !dead.total) return;
  const page = await api('dead?limit=50');
  dead.total = page.total;
  dead.now = page.now;
  const rows = page.dead.map((r) => {
    if (!dead.rows.has(r.record)) dead.rows.set(r.record, deadRow(r));
    return dead.rows.get(r.record);
  });
  arrange($('dead'), rows);
  const here = new Set(page.dead.map((r) => r.record));
  for (const record of dead.rows.keys()) if (!here.has(record)) dead.rows.delete(record);
  $('dead-total').textContent = w.dead_total(page.total, number(page.total), page.dead.length);
  // It stays a while when the last one has gone, to say what became of it.
  $('dead-panel').hidden = !page.total && !$('dead-result').textContent;
  $('dead-discard-all').hidden = page.total < 2;
  // What has no type can never be published; of those that are not shown it is not known.
  $('dead-replay-all').hidden = page.total < 2 || (page.total === page.dead.length && page.dead.every((r) => !r.type));
}

let forget;
async function changeDead(what, n, query) {
  const t = number(n);
  if (what === 'replay' && !(await ask(w.ask_replay(n, t), w.yes_replay))) return;
  if (what === 'discard' && !((await ask(w.ask_discard(n, t), w.yes_discard, true)) && (await ask(w.ask_discard_again(n, t), w.yes_discard_again, true)))) return;
  try {
    const done = await api(`dead/${what}?${query}`, 'POST');
    const said = what === 'replay' ? w.replayed(done.changed, number(done.changed)) : w.discarded(done.changed, number(done.changed));
    $('dead-result').textContent = done.refused ? `${done.changed ? `${said} ` : ''}${w.refused_some(done.refused, number(done.refused))}` : said;
  } catch (e) {
    $('dead-result').textContent = w.failed(e.message);
  }
  clearTimeout(forget);
  forget = setTimeout(() => { $('dead-result').textContent = ''; quietly(refreshDead); }, 15e3);
  quietly(refreshDead);
  quietly(refreshEvents);
}
// All that the number on the page is of, and nothing that has died since.
const seenDead = () => new URLSearchParams({ all: true, until: dead.now }).toString();
$('dead-replay-all').addEventListener('click', () => changeDead('replay', dead.total, seenDead()));
$('dead-discard-all').addEventListener('click', () => changeDead('discard', dead.total, seenDead()));

// Replay by time.

$('replay').addEventListener('submit', async (e) => {
  e.preventDefault();
  const query = new URLSearchParams({ since: new Date($('replay-since').value).toISOString() });
  if ($('replay-until').value) query.set('until', new Date($('replay-until').value).toISOString());
  if ($('replay-type').value) query.set('type', $('replay-type').value);
  const say = (text) => { $('replay-result').textContent = text; };
  say('');
  try {
    const { matched } = await api(`replay?${query}&dry_run=true`, 'POST');
    if (!matched) return say(w.replay_nothing);
    if (await ask(w.ask_replay_time(matched, number(matched)), w.yes_replay)) await api(`replay?${query}`, 'POST');
  } catch (error) {
    say(w.failed(error.message));
  }
});
$('replay-cancel').addEventListener('click', async () => {
  try { await api('replay', 'DELETE'); $('replay-result').textContent = w.replay_cancelled; } catch (e) { $('replay-result').textContent = w.failed(e.message); }
});

function showReplay(r) {
  $('replay-progress').hidden = !r;
  if (!r) return;
  const done = r.published + r.failed + r.skipped;
  const text = r.running ? w.replay_running(number(done), number(r.matched)) : w.replay_done(number(r.published), number(r.matched), clock(r.ended));
  $('replay-text').textContent = [text, r.failed && w.replay_failed(number(r.failed), r.reason), r.skipped && w.replay_skipped(number(r.skipped))].filter(Boolean).join(' · ');
  $('replay-bar').max = Math.max(r.matched, 1);
  $('replay-bar').value = done;
  $('replay-cancel').hidden = !r.running;
  $('replay').querySelector('button').disabled = r.running;
}

$('log-level').addEventListener('change', () => quietly(async () => { await api('log', 'PUT', { level: $('log-level').value }); }));
async function refreshLog() { $('log-level').value = (await api('log')).level; }

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
  $('learned-head').textContent = w.learned(l.new);
  $('learned').replaceChildren(...l.types.flatMap((t) => t.new.map((text) => el('li', '', `${t.type}: ${text}`))));
}

// The rounds.

// quietly runs f; that the bridge does not answer is shown, not thrown.
async function quietly(f) {
  try {
    await f();
  } catch (e) {
    if (!(e instanceof Refused)) lose();
  }
}

let turn = 0, going = false;
async function round() {
  if (going || !$('door').hidden) return;
  going = true;
  await quietly(async () => {
    seen.status = await api('status');
    $('main').hidden = false;
    showStatus();
    const first = turn === 0;
    turn++;
    if (first || turn % 2 === 0) {
      // A search goes through much of the journal when little fits.
      if (!$('q').value.trim() || turn % 10 === 0) await refreshEvents();
      await refreshDead();
    }
    if (first || turn % 5 === 0) await refreshHistory();
    if (first || turn % 10 === 0) { await refreshStream(); await refreshLog(); }
    if (first || turn % 60 === 0) await refreshLearned();
  });
  going = false;
}

for (const b of $('languages').children) {
  b.addEventListener('click', () => { lang = b.dataset.lang; try { localStorage.setItem('language', lang); } catch { /* it is asked again next time */ } quietly(async () => translate()); });
}
let resizing;
addEventListener('resize', () => { clearTimeout(resizing); resizing = setTimeout(showHistory, 150); });
const pad = (n) => String(n).padStart(2, '0');
const hourAgo = new Date(Date.now() - 3600e3);
$('replay-since').value = `${hourAgo.getFullYear()}-${pad(hourAgo.getMonth() + 1)}-${pad(hourAgo.getDate())}T${pad(hourAgo.getHours())}:${pad(hourAgo.getMinutes())}:00`;
translate();
round();
setInterval(() => { if (!document.hidden || seen.lostSince) round(); }, 1000);
document.addEventListener('visibilitychange', () => { if (!document.hidden) round(); });
