// NATS and the stream. The last that is known stays when NATS is away.

import { api, seen } from './api.js';
import { $, el } from './dom.js';
import { clock, duration, explained, number, raised, size, w } from './format.js';

export async function refresh() {
  const got = await api('stream');
  seen.stream = got;
  show();
}

// setting is a setting of the stream in the page's language.
function setting(name) { return w.settings[name] || name; }

// sending says how events are published, and why.
function sending(p) {
  const word = w[`sending_${p.reason}`];
  if (p.reason === 'refused') return word(explained(p.detail, p.detail_code, p.detail_params));
  return typeof word === 'function' ? word(number(p.single_per_second), number(p.batch_per_second)) : word;
}

export function show() {
  const got = seen.stream;
  if (!got) return;
  const s = got.stream;
  $('stream-error').hidden = !got.error;
  const error = explained(got.error, got.reason_code, got.reason_params);
  $('stream-error').textContent = error && (s ? w.stream_as_of(clock(got.as_of, true), error) : raised(w.stream_unknown(error)));
  $('stream').classList.toggle('old', !!got.error);
  if (!s) return $('stream').replaceChildren();
  const limits = [s.max_age_ns && w.max_age(duration(s.max_age_ns / 1e9)), s.max_bytes && size(s.max_bytes), s.max_messages && number(s.max_messages)].filter(Boolean).join(' · ');
  const rows = [
    [w.server, `${s.server.length > 40 ? `${s.server.slice(0, 12)}…` : s.server}, nats-server ${s.server_version}`], // one without a name has its key
    [w.address, s.address === 'the embedded server' ? w.embedded : s.address],
    [w.connected, seen.status?.nats.up ? clock(seen.status.nats.since) : w.not_connected],
    s.cluster && [w.cluster, `${s.cluster}${s.leader ? `, ${w.leader} ${s.leader}` : ''}`],
    [w.name, s.name],
    [w.subjects, s.subjects.join(', ')],
    [w.messages, s.messages ? `${number(s.messages)} · ${size(s.bytes)}` : w.empty],
    s.growth_bytes_per_day && [w.growth, w.growth_day(size(s.growth_bytes_per_day))],
    [w.sequences, s.messages ? `${number(s.first_sequence)} – ${number(s.last_sequence)}` : '–'],
    [w.storage, `${setting(s.storage)}, ${w.replicas(s.replicas)}, ${setting(s.retention)}`],
    [w.limits, limits ? `${limits}; ${w.full_discards(setting(s.discard))}` : w.unlimited],
    [w.duplicates, duration(s.duplicate_window_ns / 1e9)],
    seen.status && [w.sending, sending(seen.status.publishing)],
    [w.created, clock(s.created)],
  ].filter(Boolean);
  $('stream').replaceChildren(...rows.flatMap(([k, v]) => [el('dt', '', k), el('dd', '', v)]));
  showConsumers(s);
}

function showConsumers(s) {
  const list = s.consumer_list || [];
  $('consumers-part').hidden = !s.consumers && !list.length;
  $('consumers-note').textContent = s.consumers_error ? w.consumers_error(explained(s.consumers_error, seen.stream.consumers_reason?.reason_code, seen.stream.consumers_reason?.reason_params)) : s.consumers > list.length ? w.consumers_some(number(list.length), number(s.consumers)) : '';
  $('consumers-note').hidden = !$('consumers-note').textContent;
  $('consumers-table').hidden = !list.length;
  const cell = (n) => el('td', n ? 'n' : 'n zero', number(n));
  $('consumers').replaceChildren(...list.map((c) => {
    const name = el('th', '', c.name);
    name.scope = 'row';
    return el('tr', '', name, cell(c.pending), cell(c.ack_pending), cell(c.redelivered));
  }));
}
