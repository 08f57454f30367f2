// Replay by time.

import { api } from './api.js';
import { $, ask, el, rich } from './dom.js';
import { clock, number, raised, reason, w } from './format.js';

export function showReplay(r) {
  $('replay-progress').hidden = !r;
  if (!r) return;
  const done = r.published + r.failed + r.skipped;
  const text = r.running ? w.replay_running(number(done), number(r.matched)) : w.replay_done(number(r.published), number(r.matched), clock(r.ended));
  const lines = [['', text], r.failed && ['bad-text', w.replay_failed(number(r.failed))], r.failed && r.reason && ['quiet', raised(reason(r))], r.skipped && ['', w.replay_skipped(r.skipped, number(r.skipped))]].filter(Boolean);
  const all = lines.flat().join('\n');
  if ($('replay-text').dataset.shown !== all) $('replay-text').replaceChildren(...lines.map(([name, line]) => el('div', name, ...rich(line))));
  $('replay-text').dataset.shown = all;
  $('replay-bar').hidden = !r.running;
  $('replay-bar').max = Math.max(r.matched, 1);
  $('replay-bar').value = done;
  $('replay-cancel').hidden = !r.running;
  $('replay').querySelector('button').disabled = r.running;
}

// offer puts the event types that there are into the field.
export function offer(types) {
  const chosen = $('replay-type').value;
  $('replay-type').replaceChildren($('replay-type').options[0], ...types.map((t) => { const o = el('option', '', t); o.value = t; return o; }));
  $('replay-type').value = chosen;
}

export function start() {
  const pad = (n) => String(n).padStart(2, '0');
  const hourAgo = new Date(Date.now() - 3600e3);
  $('replay-since').value = `${hourAgo.getFullYear()}-${pad(hourAgo.getMonth() + 1)}-${pad(hourAgo.getDate())}T${pad(hourAgo.getHours())}:${pad(hourAgo.getMinutes())}:00`;
  const result = (text) => { $('replay-result').textContent = text; };
  $('replay').addEventListener('submit', async (e) => {
    e.preventDefault();
    const query = new URLSearchParams({ since: new Date($('replay-since').value).toISOString() });
    if ($('replay-until').value) query.set('until', new Date($('replay-until').value).toISOString());
    if ($('replay-type').value) query.set('type', $('replay-type').value);
    result('');
    try {
      const { matched } = await api(`replay?${query}&dry_run=true`, 'POST');
      if (!matched) return result(w.replay_nothing);
      if (await ask(w.ask_replay_time(matched, number(matched)), w.yes_replay)) await api(`replay?${query}`, 'POST');
    } catch (error) {
      result(w.failed(error.message));
    }
  });
  $('replay-cancel').addEventListener('click', async () => {
    try { await api('replay', 'DELETE'); result(w.replay_cancelled); } catch (e) { result(w.failed(e.message)); }
  });
}
