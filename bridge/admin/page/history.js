// The charts, and the events by type, over a range that can be chosen. What was before the
// bridge started is from its journal.

import { api, seen } from './api.js';
import { chart, linear, log, spark } from './chart.js';
import { $, breakable, el, setText } from './dom.js';
import { offer as offerToEvents } from './events.js';
import { clock, duration, number, short, w } from './format.js';
import { offer as offerToReplay } from './replay.js';

const spans = { '15m': 15 * 60e3, '1h': 3600e3, '24h': 24 * 3600e3, '72h': 72 * 3600e3 };
const kept = () => { try { return localStorage.getItem('range'); } catch { return null; } };
let range = kept() in spans ? kept() : '1h';

export async function refresh() {
  const last = seen.samples.at(-1);
  let got = await api(last ? `history?after=${encodeURIComponent(last.at)}` : 'history');
  if (seen.history && got.started !== seen.history.started) got = await api('history'); // another process
  if (!seen.history || got.started !== seen.history.started) seen.samples = [];
  seen.history = got;
  seen.samples.push(...got.samples.filter((x) => !seen.samples.length || x.at > seen.samples.at(-1).at));
  const newest = seen.samples.length ? Date.parse(seen.samples.at(-1).at) : 0;
  seen.samples = seen.samples.filter((x) => Date.parse(x.at) > newest - 3600e3);
  seen.past = await api(`history?range=${range}`);
  show();
}

// points are the samples of the range, each with the time it is of. Of the last hour they
// are those of every few seconds as far back as they go, and those of the minutes before.
function points() {
  const past = seen.past.samples.map((s) => ({ ...s, seconds: seen.past.interval_seconds }));
  if (spans[range] > 3600e3 || seen.samples.length < 2) return past;
  const from = Date.parse(seen.samples[0].at);
  const live = seen.samples.filter((s) => Date.parse(s.at) > Date.now() - spans[range]).map((s) => ({ ...s, seconds: seen.history.interval_seconds }));
  return [...past.filter((s) => Date.parse(s.at) < from), ...live];
}

// perMinute is what happened in the minute before each sample, or at its rate.
function perMinute(samples, key) {
  const times = samples.map((s) => Date.parse(s.at));
  let first = 0, sum = 0;
  return samples.map((s, i) => {
    sum += s[key];
    while (times[i] - times[first] >= 60e3 && first < i) sum -= samples[first++][key];
    return s.seconds >= 60 ? (s[key] * 60) / s.seconds : sum;
  });
}

// named are the events by type. Those that are counted as "other" are of all types without
// a count of their own, and of none: with them go those that have no type.
function named(types) {
  const known = types.filter((t) => t.type && t.type !== 'other').map((t) => ({ ...t }));
  for (const of of Map.groupBy(types.filter((t) => !t.type || t.type === 'other'), (t) => t.source).values()) {
    const word = of.some((t) => t.type) ? 'other_type' : 'without_type';
    const accepted = of[0].accepted.map((_, i) => of.reduce((n, t) => n + t.accepted[i], 0));
    known.push({ source: of[0].source, type: '', word, accepted, total: of.reduce((n, t) => n + t.total, 0) });
  }
  return known.sort((a, b) => b.total - a.total);
}

export function show() {
  if (!seen.history || !seen.past) return;
  for (const b of $('ranges').children) b.setAttribute('aria-pressed', b.dataset.range === range);
  const samples = points(), h = seen.history;
  const times = samples.map((x) => Date.parse(x.at));
  const now = Math.max(times.at(-1) || 0, Date.parse(seen.status?.time || 0)) || Date.now();
  const values = (key) => samples.map((x) => x[key] ?? null);
  const base = { times, now, clock, span: spans[range], number, words: w };
  const count = (v) => (v < 10 ? number(Math.round(v * 10) / 10) : short(Math.round(v)));
  chart($('chart-flow'), { ...base, title: w.flow, note: w.per_minute, format: count, scale: linear, series: [{ label: w.accepted, values: perMinute(samples, 'accepted'), area: true }, { label: w.published, values: perMinute(samples, 'published') }] });
  chart($('chart-pending'), { ...base, title: w.pending_chart, format: short, scale: linear, series: [{ label: w.pending, values: values('pending'), area: true }] });
  chart($('chart-accept'), { ...base, title: w.accept_latency, note: w.accept_latency_note, format: duration, scale: log, latest: true, series: [{ label: w.median, values: values('accept_p50') }, { label: w.p99, values: values('accept_p99') }] });
  chart($('chart-publish'), { ...base, title: w.publish_latency, note: w.publish_latency_note, format: duration, scale: log, latest: true, series: [{ label: w.median, values: values('publish_p50') }, { label: w.p99, values: values('publish_p99') }] });
  setText($('history-note'), seen.past.complete ? '' : w.history_reading);

  const list = named(seen.past.types);
  const several = new Set(list.map((t) => t.source)).size > 1;
  $('types-none').hidden = list.length > 0;
  $('types-table').hidden = !list.length;
  $('types').replaceChildren(...list.map((t) => {
    const name = el('th', '', ...breakable(t.type || w[t.word]), several ? el('span', 'quiet', ` ${t.source}`) : '');
    name.scope = 'row';
    return el('tr', '', name, el('td', 'spark', spark(t.accepted)), el('td', 'n', number(t.total)));
  }));
  const types = [...new Set([...h.types.map((t) => t.type), ...list.map((t) => t.type)])].filter((t) => t && t !== 'other').sort();
  offerToReplay(types);
  offerToEvents([...new Set([...h.types, ...list].map((t) => t.source))], types);
  setText($('version'), h.version || '');
}

export function start(quietly) {
  for (const b of $('ranges').children) {
    b.addEventListener('click', () => {
      range = b.dataset.range;
      try { localStorage.setItem('range', range); } catch { /* it is an hour again next time */ }
      quietly(refresh);
    });
  }
}
