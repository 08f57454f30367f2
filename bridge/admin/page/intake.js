// What comes in by: the addresses to register before the first event, and what was refused.

import { api, seen } from './api.js';
import { $, el } from './dom.js';
import { clock, explained, lang, number, w } from './format.js';
import { reasons } from './reasons.js';

export async function refresh() {
  seen.intake = await api('intake');
  show();
}

export function show() {
  if (!seen.intake || !seen.status) return;
  const { endpoints, refused } = seen.intake;
  $('first-panel').hidden = seen.status.accepted > 0;
  $('endpoints').replaceChildren(...endpoints.map((e) => el('li', '', el('b', '', e.source), ' ',
    e.path ? el('code', '', `https:${'//'}…${e.path}`) : '', e.path ? el('span', 'quiet', ` · ${w.endpoint_local(e.url)} · ${w.auth(e.auth)}`) : '', e.pulled ? el('span', 'quiet', ` · ${w.endpoint_pulled}`) : '')));
  $('first-commands').textContent = 'persat-bridge send workorder.closed\npersat-bridge tail --since 10m';
  $('refused-none').hidden = refused.length > 0;
  $('refused').replaceChildren(...refused.map((r) => el('li', '', el('b', '', `${r.source} ${r.reason}`), ` · ${w.refused_times(r.count, number(r.count))}, ${w.refused_last(clock(r.last, true), r.address)}`,
    el('div', 'quiet', (lang === 'es' && reasons[`request_${r.reason}`]) || r.text, r.detail ? ` (${explained(r.detail, r.detail_code, r.detail_params)})` : ''))));
}
