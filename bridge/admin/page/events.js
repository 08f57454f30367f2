// The list of events: live or paused, filtered, page by page through the whole journal.
// The filter and the event that is looked at are in the URL.

import { api, quietly, seen } from './api.js';
import { $, arrange, button, el, setText, typeName } from './dom.js';
import { markOpen, openDrawer } from './drawer.js';
import { clock, number, reason, w } from './format.js';

const filters = ['q', 'state', 'source', 'type', 'entity', 'since', 'until'];
const pageSize = innerWidth < 720 ? 10 : 25;
// searchFor is how long a page goes on by itself with a search that finds little.
const searchFor = 4000;

const list = {
  filter: {}, records: [], rows: new Map(), live: true,
  head: 0, // the newest record that was looked at
  fresh: 0, freshMore: false, // what has come since, while it is paused
  before: 0, // where the next page begins; 0 at the end
  turn: 0, // grows with each search: what an older one finds is not shown
  searching: false, reached: null, looked: 0,
};

function query(more) {
  const q = new URLSearchParams(list.filter);
  for (const name of ['since', 'until']) if (q.has(name)) q.set(name, new Date(q.get(name)).toISOString());
  for (const [name, value] of Object.entries(more)) q.set(name, value);
  return q;
}

// The URL.

export function readURL() {
  const q = new URLSearchParams(location.search);
  list.filter = {};
  for (const name of filters) if (q.get(name) && (!['since', 'until'].includes(name) || !isNaN(Date.parse(q.get(name))))) list.filter[name] = q.get(name);
  showFilter();
  if (q.get('event')) openDrawer(Number(q.get('event')));
}

export function writeURL(change = {}) {
  const q = new URLSearchParams(location.search);
  for (const name of filters) { q.delete(name); if (list.filter[name]) q.set(name, list.filter[name]); }
  for (const [name, value] of Object.entries(change)) if (value) q.set(name, value); else q.delete(name);
  history.replaceState(null, '', `${location.pathname}${q.size ? `?${q}` : ''}`);
}

// setFilter changes the filter, in the fields too, and searches.
export function setFilter(change) {
  Object.assign(list.filter, change);
  for (const name of filters) if (!list.filter[name]) delete list.filter[name];
  writeURL();
  showFilter();
  list.live = true;
  quietly(load);
}

// showFilter puts the filter into its fields, and makes a chip of each part of it.
export function showFilter() {
  for (const name of filters) {
    const field = $(name === 'q' ? 'q' : `q-${name}`);
    const value = list.filter[name] || '';
    if (field.tagName === 'SELECT' && value && ![...field.options].some((o) => o.value === value)) field.append(option(value, value));
    if (document.activeElement !== field && field.value !== value) field.value = value;
  }
  const said = (name, value) => (name === 'state' ? w[`state_${value}`] || value : ['since', 'until'].includes(name) ? clock(value) : value);
  arrange($('chips'), filters.filter((name) => list.filter[name]).map((name) => {
    const chip = button(`${w[`chip_${name}`]}: ${said(name, list.filter[name])} ✕`, 'chip', () => { setFilter({ [name]: '' }); $('q').focus(); });
    chip.setAttribute('aria-label', w.chip_remove(w[`chip_${name}`], said(name, list.filter[name])));
    return el('li', '', chip);
  }));
  $('chips').hidden = !$('chips').children.length;
}

function option(value, text) {
  const o = el('option', '', text);
  o.value = value;
  return o;
}

// offer puts the sources and types that there are into the fields.
export function offer(sources, types) {
  $('q-source-label').hidden = sources.length < 2 && !list.filter.source;
  for (const [id, values] of [['q-source', sources], ['q-type', types]]) {
    const field = $(id);
    const missing = values.filter((v) => ![...field.options].some((o) => o.value === v));
    field.append(...missing.map((v) => option(v, v)));
  }
}

// The list.

export async function load() {
  const turn = ++list.turn;
  Object.assign(list, { records: [], fresh: 0, freshMore: false, before: 0, looked: 0, reached: null, searching: true });
  const page = await api(`events?${query({ limit: pageSize })}`);
  if (turn !== list.turn) return;
  list.head = page.newest;
  take(page);
  await goOn(turn, pageSize, page);
}

// goOn continues a search until it has found a page, has come to the end, or has taken
// its time.
async function goOn(turn, wanted, page) {
  const until = Date.now() + searchFor;
  while (list.before && list.records.length < wanted && Date.now() < until) {
    page = await api(`events?${query({ limit: wanted - list.records.length, before: list.before })}`);
    if (turn !== list.turn) return;
    take(page);
  }
  list.searching = false;
  show();
}

function take(page) {
  list.records.push(...page.events);
  list.before = page.before || 0;
  list.looked += page.looked;
  list.reached = page.reached || list.reached;
  show();
}

export async function older() {
  if (list.searching) return; // the button may not show it yet
  const turn = ++list.turn;
  list.live = false; // what comes in must not push away what was asked for
  list.searching = true;
  show();
  await goOn(turn, list.records.length + pageSize);
}

// refresh takes what is new, or counts it while the list is paused, and what has become of
// the events that are shown.
export async function refresh() {
  if (!list.head && !list.records.length && !list.searching) return load();
  const turn = list.turn;
  const filtered = Object.keys(list.filter).length > 0;
  if (list.live || filtered) {
    const page = await api(`events?${query({ limit: list.live ? pageSize : 200, after: list.head })}`);
    if (turn !== list.turn) return;
    if (list.live && page.before) return load(); // more than a page of it
    list.head = page.newest;
    if (list.live) {
      const known = new Set(list.records.map((r) => r.record));
      list.records = [...page.events.filter((r) => !known.has(r.record)), ...list.records];
      if (list.records.length > pageSize) {
        list.before = list.records[pageSize - 1].record;
        list.records.length = pageSize;
      }
    } else {
      list.fresh += page.events.length;
      list.freshMore ||= !!page.before;
    }
  } else {
    const page = await api('events?limit=1');
    if (turn !== list.turn) return;
    list.fresh += Math.max(page.newest - list.head, 0);
    list.head = page.newest;
  }
  if (list.records.length) {
    const shown = list.records.slice(0, 100);
    const q = new URLSearchParams(shown.map((r) => ['record', r.record]));
    q.set('limit', shown.length);
    const now = new Map((await api(`events?${q}`)).events.map((r) => [r.record, r]));
    if (turn !== list.turn) return;
    list.records = list.records.map((r) => now.get(r.record) || r);
  }
  show();
}

function badge(state) { return el('span', `badge ${state}`, w[`state_${state}`]); }

// why is the short reason of an event that has no type.
const why = (r) => (!r.type && r.reason ? ` · ${reason(r).split(/[:,] /)[0]}` : '');

function row(r, several) {
  const b = button('', 'record', () => { openDrawer(r.record, b); writeURL({ event: r.record }); });
  b.dataset.record = r.record;
  b.setAttribute('aria-haspopup', 'dialog');
  b.append(el('span', '', clock(r.accepted, true)), el('span', 'state', badge(r.state)),
    el('span', 'what', typeName(r.type, w.without_type), el('span', 'quiet why'), r.entities?.length ? ` · ${r.entities.join(', ')}` : '', several ? el('span', 'quiet', ` · ${r.source}`) : ''),
    el('span', 'id', r.id));
  return el('li', '', b);
}

function show() {
  const several = (seen.status?.sources.length || 0) > 1;
  const here = new Set();
  arrange($('events'), list.records.map((r) => {
    here.add(r.record);
    let kept = list.rows.get(r.record);
    if (!kept || kept.several !== several) list.rows.set(r.record, kept = { row: row(r, several), state: r.state, several });
    if (kept.state !== r.state) {
      kept.row.querySelector('.state').replaceChildren(badge(r.state));
      kept.state = r.state;
    }
    setText(kept.row.querySelector('.why'), why(r));
    return kept.row;
  }));
  for (const record of list.rows.keys()) if (!here.has(record)) list.rows.delete(record);
  markOpen();
  $('events-none').hidden = list.records.length > 0 || list.searching;
  setText($('events-none'), Object.keys(list.filter).length ? (list.before ? w.no_match_yet : w.no_match) : w.no_events);
  $('older').hidden = !list.before;
  $('older').disabled = list.searching;
  setText($('older'), list.searching ? w.searching : Object.keys(list.filter).length ? w.search_on : w.older);
  setText($('looked'), list.looked > list.records.length && list.reached ? w.looked(number(list.looked), clock(list.reached)) : '');
  $('live').setAttribute('aria-pressed', list.live);
  setText($('live'), list.live ? w.live : w.paused);
  $('live').title = list.live ? w.pause : w.go_on;
  $('fresh').hidden = list.live || !list.fresh;
  setText($('fresh'), w.fresh(list.fresh, `${number(list.fresh)}${list.freshMore ? '+' : ''}`));
}

// redraw is for another language.
export function redraw() {
  list.rows.clear();
  showFilter();
  showFields(!$('filters').hidden);
  show();
}

function showFields(open) {
  $('filters').hidden = !open;
  $('more-filters').setAttribute('aria-expanded', open);
  setText($('more-filters'), open ? w.fewer_filters : w.more_filters);
}

function unpause() {
  list.live = true;
  quietly(load);
}

export function start() {
  $('live').addEventListener('click', () => {
    if (!list.live) return unpause();
    list.live = false;
    show();
  });
  $('fresh').addEventListener('click', () => { unpause(); $('live').focus(); });
  $('older').addEventListener('click', () => quietly(older));
  $('search').addEventListener('submit', (e) => e.preventDefault());
  let typing;
  const read = () => {
    const now = Object.fromEntries(filters.map((name) => [name, $(name === 'q' ? 'q' : `q-${name}`).value.trim()]));
    if (filters.some((name) => now[name] !== (list.filter[name] || ''))) setFilter(now);
  };
  for (const name of ['input', 'change']) $('search').addEventListener(name, () => { clearTimeout(typing); typing = setTimeout(read, 250); });
  $('more-filters').addEventListener('click', () => {
    const open = $('filters').hidden;
    showFields(open);
  });
  readURL();
  const wants = ['source', 'type', 'entity', 'since', 'until'].some((name) => list.filter[name]);
  showFields(wants);
}
