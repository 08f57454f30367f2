// The dead letters, by the reason for which they died.

import { api, quietly, seen } from './api.js';
import { $, arrange, ask, button, el, setText, typeName } from './dom.js';
import { markOpen, openDrawer } from './drawer.js';
import { refresh as refreshEvents, writeURL } from './events.js';
import { clock, number, raised, reason, w } from './format.js';

const firstFew = innerWidth < 720 ? 1 : 3;
const more = 25;

const dead = { got: null, of: -1, at: 0, rows: new Map(), open: new Map() }; // open: how many of a group are shown

export async function refresh(force) {
  const count = seen.status.dead;
  if (!count && !dead.got?.total) return;
  // To group them all is work for the bridge: again when their number has changed.
  if (!force && count === dead.of && Date.now() - dead.at < 15e3) return;
  dead.got = await api('dead/groups');
  dead.of = dead.got.total;
  dead.at = Date.now();
  await show();
}

export function redraw() {
  dead.rows.clear();
  if (dead.got) quietly(show);
}

async function show() {
  const { groups, total, publishable } = dead.got;
  if (groups.length && !dead.open.size) dead.open.set(groups[0].group, firstFew); // the first is folded out
  const here = new Set(groups.map((g) => g.group));
  for (const key of dead.rows.keys()) if (!here.has(key)) { dead.rows.delete(key); dead.open.delete(key); }
  const rows = [];
  for (const g of groups) {
    let kept = dead.rows.get(g.group);
    if (!kept) dead.rows.set(g.group, kept = groupRow(g.group));
    kept.update(g);
    rows.push(kept.row);
  }
  arrange($('dead'), rows);
  for (const g of groups) await dead.rows.get(g.group)?.fill(g);
  setText($('dead-total'), total ? w.dead_total(total, number(total), publishable, number(publishable), groups.length) : '');
  const note = $('dead-panel').querySelector('[data-t^="dead_note"]');
  note.dataset.t = publishable || !total ? 'dead_note' : 'dead_note_never';
  setText(note, w[note.dataset.t]);
  // It stays a while when the last one has gone, to say what became of it.
  $('dead-panel').hidden = !total && !$('dead-result').textContent;
  $('dead-discard-all').hidden = total < 2;
  $('dead-replay-all').hidden = total < 2 || !publishable;
}

function groupRow(key) {
  const title = el('span', 'reason'), facts = el('span', 'quiet'), letters = el('ul', 'records letters');
  letters.id = `dead-${[...key].reduce((n, c) => (n * 31 + c.codePointAt(0)) >>> 0, 7)}`;
  const count = el('b', 'count');
  const fold = button('', 'fold', () => {
    if (dead.open.has(key)) dead.open.delete(key); else dead.open.set(key, firstFew);
    quietly(show);
  });
  fold.append(count, el('span', 'grow', title, facts));
  fold.setAttribute('aria-controls', letters.id);
  const picks = () => new URLSearchParams({ group: key, until: dead.got.now }).toString(); // nothing that has died since
  let group;
  const replayAll = button('', 'replay-group', () => act('replay', { n: group.publishable, of: group.count }, picks()));
  const discardAll = button('', 'discard-group danger', () => act('discard', { n: group.count, of: group.count }, picks()));
  const all = button('', 'more link', () => { dead.open.set(key, (dead.open.get(key) || 0) + more); quietly(show); });
  const row = el('li', 'group', el('div', 'group-head', fold, el('span', 'buttons', replayAll, discardAll)), letters, all);
  const kept = new Map();
  return {
    row,
    update(g) {
      group = g;
      const open = dead.open.has(key);
      fold.setAttribute('aria-expanded', open);
      setText(count, number(g.count));
      setText(title, raised(reason(g)));
      const types = g.types.slice(0, 3).map((t) => `${t.type || w.without_type}${g.types.length > 1 ? ` ${number(t.count)}` : ''}`).join(', ') + (g.types.length > 3 ? ', …' : '');
      const several = seen.status.sources.length > 1 ? `${g.sources.join(', ')} · ` : '';
      setText(facts, `${several}${types} · ${w.died_between(clock(g.first), clock(g.last))}${g.publishable ? '' : ` · ${w.never(g.count)}`}`);
      setText(replayAll, g.publishable < g.count ? w.replay_some(number(g.publishable)) : w.replay_group(g.count, number(g.count)));
      setText(discardAll, w.discard_group(g.count, number(g.count)));
      // With one letter that is folded out, its own buttons say the same.
      replayAll.hidden = !g.publishable || (open && g.count === 1);
      discardAll.hidden = open && g.count === 1;
      letters.hidden = !open;
      all.hidden = !open || g.count <= dead.open.get(key);
      setText(all, w.show_more(number(g.count - (dead.open.get(key) || 0))));
    },
    async fill(g) {
      const wanted = dead.open.get(key);
      if (!wanted) return letters.replaceChildren();
      const page = await api(`dead?${new URLSearchParams({ group: key, limit: wanted })}`);
      const here = new Set(page.dead.map((r) => r.record));
      for (const record of kept.keys()) if (!here.has(record)) kept.delete(record);
      arrange(letters, page.dead.map((r) => {
        if (!kept.has(r.record)) kept.set(r.record, letterRow(r, r.reason !== g.reason));
        return kept.get(r.record);
      }));
      markOpen();
    },
  };
}

function letterRow(r, own) {
  const one = `record=${r.record}`;
  const open = button(w.details, '', () => { openDrawer(r.record, open); writeURL({ event: r.record }); });
  open.dataset.record = r.record;
  open.setAttribute('aria-haspopup', 'dialog');
  const label = `${r.type || w.without_type} ${r.id}`;
  const buttons = [open, r.type ? button(w.replay_one, 'replay-one', () => act('replay', { n: 1, of: 1 }, one)) : null, button(w.discard_one, 'discard-one danger', () => act('discard', { n: 1, of: 1 }, one))];
  for (const b of buttons) b?.setAttribute('aria-label', `${b.textContent}: ${label}`);
  return el('li', '', el('div', 'record dead-record', el('span', '', clock(r.at || r.accepted, true)),
    el('span', 'what', typeName(r.type, w.without_type), r.entities?.length ? ` · ${r.entities.join(', ')}` : ''), el('span', 'id', r.id), el('span', 'buttons', ...buttons.filter(Boolean)),
    own ? el('span', 'reason quiet', reason(r)) : ''));
}

// changeDead asks, changes, and answers what became of it; of so many n can be changed.
export async function changeDead(what, { n, of }, query) {
  const t = number(n);
  if (what === 'replay' && !(await ask(n < of ? w.ask_replay_some(n, t, number(of), of - n, number(of - n)) : w.ask_replay(n, t), w.yes_replay))) return '';
  if (what === 'discard' && !((await ask(w.ask_discard(n, t, n > 1 && n === dead.got?.total), w.yes_discard, true)) && (await ask(w.ask_discard_again(n, t), w.yes_discard_again, true)))) return '';
  const done = await api(`dead/${what}?${query}`, 'POST');
  quietly(() => refresh(true));
  quietly(refreshEvents);
  const said = what === 'replay' ? w.replayed(done.changed, number(done.changed)) : w.discarded(done.changed, number(done.changed));
  return done.refused ? `${done.changed ? `${said} ` : ''}${w.refused_some(done.refused, number(done.refused))}` : said;
}

let forget;
async function act(what, counts, query) {
  try {
    $('dead-result').textContent = await changeDead(what, counts, query);
  } catch (e) {
    $('dead-result').textContent = w.failed(e.message);
  }
  clearTimeout(forget);
  forget = setTimeout(() => { $('dead-result').textContent = ''; quietly(() => refresh(true)); }, 15e3);
}

export function start() {
  // All that the number on the page is of, and nothing that has died since.
  const all = () => new URLSearchParams({ all: true, until: dead.got.now }).toString();
  $('dead-replay-all').addEventListener('click', () => act('replay', { n: dead.got.publishable, of: dead.got.total }, all()));
  $('dead-discard-all').addEventListener('click', () => act('discard', { n: dead.got.total, of: dead.got.total }, all()));
}
