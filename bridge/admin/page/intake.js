// What comes in by: the addresses to register before the first event, and what was refused.

import { api, seen } from './api.js';
import { $, el, rich, setText } from './dom.js';
import { clock, explained, lang, number, raised, w } from './format.js';
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
    e.path ? el('code', '', `https:${'//'}${w.your_host}${e.path}`) : '',
    el('div', 'quiet', [e.path && w.endpoint_local(e.url), e.path && w.auth(e.auth), e.pulled && w.endpoint_pulled].filter(Boolean).join(' · ')))));
  $('first-commands').textContent = 'persat-bridge send workorder.closed\npersat-bridge tail --since 10m';
  const all = refused.reduce((n, r) => n + r.count, 0);
  $('first-refused').hidden = !all;
  setText($('first-refused-text'), w.first_refused(all, number(all)));
  setText($('first-refused-link'), w.see(w.refused));
  $('refused-none').hidden = refused.length > 0;
  $('refused').replaceChildren(...refused.map((r) => el('li', '', el('b', '', `${r.source} · ${r.reason}`), r.detail ? `: ${explained(r.detail, r.detail_code, r.detail_params)}` : '', ` · ${w.refused_times(r.count, number(r.count), clock(r.last, true), r.address)}`,
    el('div', 'quiet', ...rich(raised((lang === 'es' && reasons[`request_${r.reason}`]) || r.text))))));
}
