// The drawer: one event with all that is known of it. It stays whatever the list does.

import { api, quietly, Refused, seen } from './api.js';
import { changeDead } from './dead.js';
import { $, ask, button, copy, el, rich, setText, visible } from './dom.js';
import { setFilter, writeURL } from './events.js';
import { clock, duration, exact, number, raised, reason, w } from './format.js';

// maxShown is how much of a body is shown: more makes the page slow. All of it can be
// downloaded.
const maxShown = 256 << 10;

const drawer = { record: 0, event: null, from: null };

export async function openDrawer(record, from) {
  drawer.record = record;
  drawer.event = null;
  drawer.from = from || null;
  $('drawer').hidden = false;
  document.body.classList.add('with-drawer');
  $('drawer-title').textContent = w.record(number(record));
  $('drawer-result').textContent = '';
  $('drawer-facts').replaceChildren();
  $('drawer-body').replaceChildren();
  $('drawer-actions').replaceChildren();
  $('drawer-why').hidden = true;
  markOpen();
  $('drawer-title').focus();
  await quietly(fetchEvent);
}

export function closeDrawer() {
  if ($('drawer').hidden) return;
  $('drawer').hidden = true;
  document.body.classList.remove('with-drawer');
  const back = drawer.from?.isConnected ? drawer.from : document.querySelector(`#events [data-record="${drawer.record}"]`) || $('q');
  drawer.record = 0;
  markOpen();
  writeURL({ event: '' });
  back.focus();
}

// markOpen marks the event that is in the drawer, in the lists.
export function markOpen() {
  for (const b of document.querySelectorAll('[data-record]')) {
    if (Number(b.dataset.record) === drawer.record) b.setAttribute('aria-current', 'true'); else b.removeAttribute('aria-current');
  }
}

async function fetchEvent() {
  const record = drawer.record;
  try {
    const event = await api(`events/${record}`);
    if (record !== drawer.record) return;
    drawer.event = event;
    showDrawer();
  } catch (e) {
    if (!(e instanceof Refused) || record !== drawer.record) throw e;
    $('drawer-result').textContent = w.failed(e.message);
  }
}

// refreshDrawer looks whether something has become of the event; its body does not change.
export async function refreshDrawer() {
  const { record, event } = drawer;
  if (!record || !event) return;
  const [now] = (await api(`events?record=${record}&limit=1`)).events;
  if (record !== drawer.record || !now) return;
  const changed = ['state', 'stream_sequence', 'replay', 'attempts', 'reason', 'at'].some((name) => now[name] !== event[name]);
  if (changed || now.state === 'pending') await fetchEvent();
}

export function showDrawer() {
  const e = drawer.event;
  if (!e) return;
  $('drawer-title').textContent = [e.type || w.without_type, e.entities?.join(', ') || (e.type ? '' : e.id)].filter(Boolean).join(' · ');
  const held = e.state === 'pending' && seen.status?.held.find((h) => h.source === e.source && h.type === e.type);
  const fact = (name, ...value) => (value[0] ? [el('dt', '', name), el('dd', '', ...value)] : []);
  const mono = (text) => (text ? el('code', '', ...visible(text)) : '');
  const latency = e.at && (Date.parse(e.at) - Date.parse(e.accepted)) / 1000;
  const entities = (e.entities || []).flatMap((id) => [button(id, 'link', () => { closeDrawer(); setFilter({ entity: id }); }), ' ']);
  $('drawer-facts').replaceChildren(
    ...fact(w.state, el('span', `badge ${e.state}`, w[`state_${e.state}`])),
    ...fact(w.reason_name, ...rich(raised(reason(e) || (held ? reason(held) : '')))),
    ...fact(w.subject, mono(e.subject)),
    ...fact(w.source, e.source, e.from ? ` · ${w.from(e.from)}` : e.pulled ? ` · ${w.pulled}` : ''),
    ...fact(w.delivery_id, mono(e.id)),
    ...fact(w.entities, ...entities),
    ...fact(w.record_name, number(e.record)),
    ...fact(w.stream_sequence, e.stream_sequence ? number(e.stream_sequence) : ''),
    ...fact(w.accepted_at, exact(e.accepted)),
    ...fact({ published: w.published_at, dead: w.died_at, discarded: w.discarded_at }[e.state], e.at ? exact(e.at) : '', e.state === 'published' && latency > 0 ? ` · ${w.after(duration(latency))}` : ''),
    ...fact(w.attempts_name, e.attempts ? number(e.attempts) : ''),
    ...fact(w.replay_name, e.replay ? w.replay_number(number(e.replay)) : ''),
    ...fact(w.size, w.bytes(number(e.size))),
  );
  const failures = e.failures || [];
  $('drawer-failures').hidden = !failures.length;
  $('drawer-failure-list').replaceChildren(...failures.map((f) => el('li', '', el('span', 'quiet', `${clock(f.at, true)} · ${w[`class_${f.class}`] || f.class} `), reason(f))));
  $('drawer-headers-part').hidden = !e.headers;
  $('drawer-headers').replaceChildren(...Object.entries(e.headers || {}).sort().map(([name, values]) => el('tr', '', el('th', '', name), el('td', '', ...visible(values.join(', '))))));
  $('drawer-headers').querySelectorAll('th').forEach((th) => { th.scope = 'row'; });
  showBody(e);
  showActions(e);
}

const bytesOf = (e) => Uint8Array.from(atob(e.body), (c) => c.charCodeAt(0));

function showBody(e) {
  if (!e.body) return $('drawer-body').replaceChildren(el('p', 'quiet', w.no_body));
  const bytes = bytesOf(e);
  const whole = pretty(new TextDecoder().decode(bytes));
  const text = whole.slice(0, maxShown);
  const pre = el('pre', '', ...visible(text));
  pre.tabIndex = 0; // it scrolls
  pre.setAttribute('aria-label', w.body);
  const parts = [pre];
  if (text.length < whole.length) parts.push(el('p', 'quiet', w.body_cut(number(maxShown >> 10))));
  if (pre.querySelector('.unseen')) parts.unshift(el('p', 'warn-text', w.unseen));
  $('drawer-body').replaceChildren(...parts);
}

// pretty indents a JSON text and leaves all else of it as it is: numbers that JavaScript
// has no room for, members that are there twice, escapes. What is not JSON stays.
export function pretty(text) {
  try { JSON.parse(text); } catch { return text; }
  let out = '', depth = 0;
  const line = () => `\n${'  '.repeat(depth)}`;
  for (const token of text.match(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s"{}[\]:,]+/gs) || []) {
    if (token === '{' || token === '[') { depth++; out += token + line(); }
    else if (token === '}' || token === ']') { depth--; out = /[{[]\s*$/.test(out.slice(-200)) ? out.trimEnd() + token : out + line() + token; }
    else if (token === ',') out += token + line();
    else if (token === ':') out += ': ';
    else out += token;
  }
  return out;
}

function showActions(e) {
  const result = (text) => { $('drawer-result').textContent = text; };
  const doing = (f, done) => async () => {
    try { await f(); if (done) result(done); } catch (error) { result(w.failed(error.message)); }
  };
  const actions = [];
  const add = (name, text, click, className = '') => { const b = button(text, className, click); b.dataset.action = name; actions.push(b); };
  if (e.state === 'published' && e.body) add('replay', w.replay_again, doing(() => replayOne(e, result)));
  if (e.state === 'dead' && e.type) add('replay', w.replay_this, doing(async () => { result(await changeDead('replay', { n: 1, of: 1 }, `record=${e.record}`)); await fetchEvent(); }), 'main');
  if (e.state === 'dead') add('discard', w.discard_one, doing(async () => { result(await changeDead('discard', { n: 1, of: 1 }, `record=${e.record}`)); await fetchEvent(); }), 'danger');
  if (e.body) {
    add('copy-body', w.copy_body, doing(() => copy(new TextDecoder().decode(bytesOf(e))), w.copied));
    if (e.headers) add('copy-curl', w.copy_curl, doing(() => copy(curl(e)), w.copied));
  }
  add('copy-link', w.copy_link, doing(() => copy(`${location.origin}${location.pathname}?event=${e.record}`), w.copied));
  if (e.body) add('download', w.download, () => download(e));
  const why = e.state === 'dead' && !e.type ? w.no_replay_type : e.state === 'published' && !e.body ? w.no_replay_body : '';
  setText($('drawer-why'), why);
  $('drawer-why').hidden = !why;
  // A button that has the focus keeps it.
  const focused = $('drawer-actions').contains(document.activeElement) && document.activeElement.dataset.action;
  $('drawer-actions').replaceChildren(...actions);
  if (focused) (actions.find((b) => b.dataset.action === focused) || $('drawer-title')).focus();
}

async function replayOne(e, result) {
  if (!await ask(w.ask_replay_this, w.yes_replay)) return;
  let { replay } = await api(`replay?record=${e.record}`, 'POST');
  result(w.replay_begun);
  const number_ = replay.number;
  while (replay.running && replay.number === number_) {
    await new Promise((resolve) => { setTimeout(resolve, 300); });
    replay = await api('replay');
  }
  if (drawer.record !== e.record) return;
  result(replay.number !== number_ ? w.replay_begun : replay.published ? w.replayed_this(number(number_)) : w.failed(reason(replay) || w.replay_skipped(1, '1')));
  await fetchEvent();
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// curl is the event as a CloudEvent over HTTP, for a service that is being written: its
// headers are those of the message in the stream.
function curl(e) {
  const headers = Object.entries(e.headers).filter(([name]) => !name.startsWith('Nats-')).sort().flatMap(([name, values]) => values.map((v) => ` \\\n  -H ${quoted(`${name}: ${v}`)}`));
  return `curl http://127.0.0.1:3000/${headers.join('')} \\\n  --data-binary ${quoted(new TextDecoder().decode(bytesOf(e)))}`;
}

function download(e) {
  const a = el('a');
  a.href = URL.createObjectURL(new Blob([bytesOf(e)], { type: 'application/octet-stream' }));
  a.download = `${e.source}-${e.record}.json`;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 60e3);
}

export function start() {
  $('drawer-close').addEventListener('click', closeDrawer);
  document.addEventListener('keydown', (e) => { if (e.key === 'Escape' && !$('ask').open) closeDrawer(); });
}
