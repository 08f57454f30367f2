// A line chart in inline SVG. Values that are null are gaps: no event, no latency. Behind
// it is a table of the same.

const NS = 'http://www.w3.org/2000/svg';

function svg(tag, attributes, ...children) {
  const e = document.createElementNS(NS, tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

function element(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children);
  return e;
}

// niceTop is a round number at or above max.
function niceTop(max) {
  if (max <= 4) return 4;
  const p = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 4, 5, 10].map((m) => m * p).find((v) => v >= max);
}

// linear starts at zero; log fits the decades that occur, for times from a
// millisecond to hours.
export const linear = (values) => {
  const top = niceTop(Math.max(0, ...values));
  return { at: (v) => v / top, ticks: [0, top / 2, top] };
};
export const log = (values) => {
  const some = values.length ? values : [0.001, 1];
  const low = Math.floor(Math.log10(Math.max(Math.min(...some), 1e-4)) + 1e-9);
  const high = Math.max(Math.ceil(Math.log10(Math.max(...some, 1e-4)) - 1e-9), low + 2);
  const ticks = [];
  for (let d = low; d <= high; d += Math.ceil((high - low) / 4)) ticks.push(10 ** d);
  return { at: (v) => (Math.log10(Math.max(v, 1e-4)) - low) / (high - low), ticks };
};

// chart draws into box: {title, note, series: [{label, values, area}], times, now, span, format, scale, clock, words}.
// Each values has one entry for each of times.
export function chart(box, o) {
  const width = Math.max(box.clientWidth - 32, 200);
  const height = 150;
  const all = o.series.flatMap((s) => s.values.filter((v) => v !== null));
  const scale = o.scale(all);
  const longest = Math.max(...scale.ticks.map((tick) => o.format(tick).length));
  const left = Math.max(48, 7 * longest + 10), right = 8, top = 8, bottom = 20;
  const x = (t) => left + (width - left - right) * (1 - (o.now - t) / o.span);
  const y = (v) => top + (height - top - bottom) * (1 - scale.at(v));

  const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': o.title });
  for (const tick of scale.ticks) {
    picture.append(svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
    picture.append(svg('text', { x: left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, o.format(tick)));
  }
  for (const part of width < 420 ? [1, 0.5, 0] : [1, 0.75, 0.5, 0.25, 0]) {
    const anchor = part === 1 ? 'start' : part === 0 ? 'end' : 'middle';
    const ago = (o.span * part) / 60e3;
    picture.append(svg('text', { x: x(o.now - o.span * part), y: height - 5, 'text-anchor': anchor }, !part ? o.clock(o.now) : ago > 90 ? `−${o.number(ago / 60)} ${o.words.hours}` : `−${o.number(+ago.toFixed(1))} ${o.words.minutes}`));
  }
  o.series.forEach((s, i) => {
    const name = i ? 'second' : 'first';
    for (const run of runs(s.values)) {
      const points = run.map((k) => `${x(o.times[k]).toFixed(1)},${y(s.values[k]).toFixed(1)}`);
      if (points.length === 1) {
        const [cx, cy] = points[0].split(',');
        picture.append(svg('circle', { class: `dot ${name}`, cx, cy, r: 1.8 }));
        continue;
      }
      if (s.area) {
        const base = y(scale.ticks[0]);
        picture.append(svg('path', { class: 'area', d: `M${x(o.times[run[0]])},${base}L${points.join('L')}L${x(o.times[run.at(-1)])},${base}Z` }));
      }
      picture.append(svg('path', { class: `curve ${name}`, d: `M${points.join('L')}` }));
    }
  });

  const legend = element('div', 'legend');
  const show = (k) => {
    legend.replaceChildren(...o.series.map((s, i) => {
      const v = k < 0 ? null : s.values[k];
      return element('span', '', element('i', i ? 'key second' : 'key'), `${s.label} `, element('b', '', v === null || v === undefined ? '–' : o.format(v)));
    }));
    if (k >= 0 && k < o.times.length - 1) legend.append(element('span', '', o.words.at_time(o.clock(o.times[k]))));
  };
  const newest = o.latest ? o.times.findLastIndex((_, k) => o.series.some((s) => s.values[k] !== null)) : o.times.length - 1;
  show(newest);

  const cross = svg('line', { class: 'cross', y1: top, y2: height - bottom, visibility: 'hidden' });
  picture.append(cross);
  picture.addEventListener('pointermove', (e) => {
    if (!o.times.length) return;
    const at = (e.clientX - picture.getBoundingClientRect().left) * width / picture.getBoundingClientRect().width;
    let k = 0;
    o.times.forEach((t, n) => { if (Math.abs(x(t) - at) < Math.abs(x(o.times[k]) - at)) k = n; });
    cross.setAttribute('x1', x(o.times[k]));
    cross.setAttribute('x2', x(o.times[k]));
    cross.setAttribute('visibility', 'visible');
    show(k);
  });
  picture.addEventListener('pointerleave', () => { cross.setAttribute('visibility', 'hidden'); show(newest); });
  const open = box.querySelector('details')?.open;
  const details = element('details', '', element('summary', '', o.words.as_table));
  details.addEventListener('toggle', () => { if (details.open && !details.querySelector('table')) details.append(table(o)); });
  details.open = !!open;
  if (open) details.append(table(o));
  const focused = document.activeElement?.matches('summary') && box.contains(document.activeElement);
  box.replaceChildren(element('h2', '', o.title, ' ', element('span', 'quiet', o.note || '')), legend, picture, details);
  if (focused) details.firstChild.focus();
}

// table is the chart's values for who does not see it: at most 30 of them, the newest first.
function table(o) {
  const every = Math.max(Math.ceil(o.times.length / 30), 1);
  const cell = (tag, text, scope) => { const e = element(tag, tag === 'td' ? 'n' : '', text); if (scope) e.scope = scope; return e; };
  const body = element('tbody');
  for (let k = o.times.length - 1; k >= 0; k -= every) {
    body.append(element('tr', '', cell('th', o.clock(o.times[k]), 'row'), ...o.series.map((s) => cell('td', s.values[k] === null || s.values[k] === undefined ? '–' : o.format(s.values[k])))));
  }
  const head = element('thead', '', element('tr', '', cell('th', o.words.time, 'col'), ...o.series.map((s) => cell('th', s.label, 'col'))));
  const all = element('table', '', head, body);
  all.setAttribute('aria-label', o.title);
  return element('div', 'scroll table', all);
}

// spark is a line without axes, beside the number that says the same.
export function spark(values) {
  const width = 120, height = 22, top = Math.max(...values, 1);
  const points = values.map((v, i) => `${(1 + (i / Math.max(values.length - 1, 1)) * (width - 2)).toFixed(1)},${(height - 1 - (v / top) * (height - 3)).toFixed(1)}`);
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, class: 'sparkline', 'aria-hidden': 'true' }, svg('path', { class: 'curve first', d: `M${points.join('L')}` }));
}

// runs are the stretches without a gap, as lists of indices.
function runs(values) {
  const found = [];
  values.forEach((v, k) => {
    if (v === null) return;
    if (k > 0 && values[k - 1] !== null && found.length) found.at(-1).push(k);
    else found.push([k]);
  });
  return found;
}
