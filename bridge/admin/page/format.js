// The language of the page, and the forms of numbers, times and reasons in it.

import { reasons } from './reasons.js';
import { words } from './words.js';

const chosen = () => { try { return localStorage.getItem('language'); } catch { return null; } };

export let lang = chosen() || (navigator.languages || [navigator.language]).map((l) => l.slice(0, 2)).find((l) => l in words) || 'en';
export let w = words[lang];

export function setLanguage(l) {
  lang = l;
  w = words[l];
  try { localStorage.setItem('language', l); } catch { /* it is asked again next time */ }
}

export const number = (n) => new Intl.NumberFormat(lang, { useGrouping: 'always' }).format(n);
export const short = (n) => new Intl.NumberFormat(lang, { notation: 'compact', maximumFractionDigits: 1 }).format(n);

// clock is a time of day, with the day when that is not today.
export function clock(t, seconds) {
  const d = new Date(t);
  const time = d.toLocaleTimeString(lang, { hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined, hourCycle: 'h23' });
  return d.toDateString() === new Date().toDateString() ? time : `${d.toLocaleDateString(lang, { day: 'numeric', month: 'short' })} ${time}`;
}

// exact is a time to the millisecond, with its day.
export function exact(t) {
  const d = new Date(t);
  const time = d.toLocaleTimeString(lang, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' });
  return `${d.toLocaleDateString(lang, { day: 'numeric', month: 'short', year: 'numeric' })} ${time}`;
}

// nbsp keeps a number and its unit on one line.
const nbsp = '\u00a0';

export const percent = (n) => `${number(n)}${nbsp}%`;

export function duration(seconds) {
  const few = (n) => new Intl.NumberFormat(lang, { maximumFractionDigits: n < 9.95 ? 1 : 0 }).format(n);
  if (seconds > 0 && seconds < 1) return `${few(seconds * 1000)}${nbsp}ms`;
  if (seconds < 60) return `${few(seconds)}${nbsp}${w.seconds}`;
  const units = [['days', 86400], ['hours', 3600], ['minutes', 60], ['seconds', 1]];
  const i = units.findIndex(([, unit]) => seconds >= unit);
  const big = Math.floor(seconds / units[i][1]);
  const rest = i + 1 < units.length ? Math.floor((seconds % units[i][1]) / units[i + 1][1]) : 0;
  return `${big}${nbsp}${w[units[i][0]]}${rest ? ` ${rest}${nbsp}${w[units[i + 1][0]]}` : ''}`;
}

// about is a time in the largest unit of which it has about two.
export function about(seconds) {
  const [unit, n] = [['days', 86400, 2], ['hours', 3600, 2], ['minutes', 60, 1.5]].find(([, n, times]) => seconds >= n * times) || ['seconds', 1];
  return `${Math.round(seconds / n)}${nbsp}${w[unit]}`;
}

export function size(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; bytes >= 1024 && i < units.length - 1; i++) bytes /= 1024;
  return `${new Intl.NumberFormat(lang, { maximumFractionDigits: bytes < 10 && i ? 1 : 0 }).format(bytes)}${nbsp}${units[i]}`;
}

// reason says a reason of the API in the page's language: it is English, with a code and
// parameters for other languages where it is a known one.
export function reason(r) { return explained(r.reason, r.reason_code, r.reason_params); }

export function explained(text, code, params) { return local((lang === 'es' && code && inSpanish(code, params || {}, '')) || text || ''); }

// raised begins a text as a sentence, but for a name: of a setting, a command or a program.
export const raised = (text) => text.replace(/^(?!nats\b|persat\b|svix\b)\p{Ll}+(?=[\s,;]|:\s)/u, (word) => word[0].toUpperCase() + word.slice(1));

// timed is a time behind the word that stands before it: "on" a day is "at" an hour of today.
function timed(before, at) {
  if (!(lang === 'es' ? /el $/ : /^(since|on|at) $/).test(before)) return before + at;
  return /^(since|desde) /.test(before) ? w.since_time(at) : w.at_time(at);
}

// local has the times, durations and sizes of a text as the page has them, but for those
// of a command.
const local = (text) => text
  .replaceAll(/(?<!--(?:\w+ )?)\b(since |desde el |on |at |el )?(\d{4}-\d\d-\d\dT[\d:.]+Z)\b/g, (_, before = '', t) => timed(before, clock(t)))
  .replaceAll(/(?<![\w.:/]|\w-|--\w+ )(?:(\d+)h)?(?:(\d+)m)?(\d+(?:\.\d+)?)(m?s)(?![\w-]|\.\w)/g, (_, h, m, n, unit) => duration((h || 0) * 3600 + (m || 0) * 60 + n / (unit === 'ms' ? 1000 : 1)))
  .replaceAll(/\b(\d+\.\d+) ([KMGT]iB)\b/g, (_, n, unit) => `${new Intl.NumberFormat(lang).format(n)} ${unit}`);

// inSpanish says a reason whose parameters have prefix before their names. A parameter may
// be a reason itself.
function inSpanish(code, params, prefix) {
  const part = (name) => inSpanish(params[`${prefix}${name}.code`], params, `${prefix}${name}.`) || params[prefix + name] || '';
  if (code === 'list') {
    const parts = [];
    while (part(parts.length + 1)) parts.push(part(parts.length + 1));
    return parts.join('; ');
  }
  const said = reasons[code];
  return said && said.replaceAll(/\{(\w+)\}/g, (_, name) => part(name)) + (part('detail') && `: ${part('detail')}`);
}

// say is a phrase of the sentence: a code with its parameters.
export function say(p) {
  const word = w[p.code];
  if (typeof word !== 'function') return word;
  return word({ n: p.count ?? 0, t: number(p.count ?? 0), at: p.at && clock(p.at), refused: number(p.refused ?? 0), queued: p.queued ? number(p.queued) : '', room: about(p.seconds ?? 0), reason: reason(p) });
}
