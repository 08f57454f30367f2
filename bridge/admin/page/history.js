// The charts, and the counts by type.

import { api, seen } from './api.js';
import { chart, linear, log } from './chart.js';
import { $, el } from './dom.js';
import { clock, duration, number, short, w } from './format.js';
import { offer as offerToReplay } from './replay.js';
import { offer as offerToEvents } from './events.js';

export async function refresh() {
  const last = seen.samples.at(-1);
  let got = await api(last ? `history?after=${encodeURIComponent(last.at)}` : 'history');
  if (seen.history && got.started !== seen.history.started) got = await api('history'); // another process
  if (!seen.history || got.started !== seen.history.started) seen.samples = [];
  seen.history = got;
  seen.samples.push(...got.samples.filter((x) => !seen.samples.length || x.at > seen.samples.at(-1).at));
  const newest = seen.samples.length ? Date.parse(seen.samples.at(-1).at) : 0;
  seen.samples = seen.samples.filter((x) => Date.parse(x.at) > newest - 3600e3);
  show();
}

export function show() {
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
  const types = [...new Set(h.types.map((t) => t.type))].filter((t) => t !== 'other');
  offerToReplay(types);
  offerToEvents([...new Set(h.types.map((t) => t.source))], types);
  $('refused-none').hidden = h.refused.length > 0;
  $('refused-table').hidden = !h.refused.length;
  $('refused').replaceChildren(...h.refused.map((r) => el('tr', '', el('td', '', `${r.source} ${r.reason}`), cell(r.hour), cell(r.count))));
  $('version').textContent = h.version || '';
}
