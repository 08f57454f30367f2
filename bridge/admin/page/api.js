// The API, its token, and what is known when it does not answer.

import { clock, explained, w } from './format.js';
import { $ } from './dom.js';

// seen is what the bridge has last told, for all parts of the page.
export const seen = { status: null, samples: [], history: null, stream: null, lostSince: null, lastAnswer: null };

let token = sessionStorage.getItem('token') || '';

// Refused is an answer of the bridge that is no success.
export class Refused extends Error {}

export async function api(path, method = 'GET', body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`api/${path}`, { method, headers, body: body && JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(method === 'GET' ? 8000 : 300000) });
  if (answer.status === 401) {
    askToken();
    throw new Refused('401');
  }
  heard();
  if (answer.status === 204) return null;
  const got = await answer.json();
  if (!answer.ok) throw new Refused(explained(got.error, got.reason_code, got.reason_params) || answer.status);
  return got;
}

function heard() {
  seen.lastAnswer = Date.now();
  if (seen.lostSince === null) return;
  seen.lostSince = null;
  $('lost').hidden = true;
  $('main').inert = false;
  document.body.classList.remove('lost');
}

function lose() {
  seen.lostSince ??= seen.lastAnswer || Date.now();
  $('main').hidden = !$('door').hidden;
  $('main').inert = true; // nothing that it offers can be done
  $('lost').textContent = w.lost(clock(seen.lostSince, true));
  $('lost').hidden = false;
  document.body.classList.add('lost');
}

// quietly runs f; that the bridge does not answer is shown, not thrown.
export async function quietly(f) {
  try {
    await f();
  } catch (e) {
    if (!(e instanceof Refused)) lose();
  }
}

function askToken() {
  if ($('door').hidden) {
    $('door-error').textContent = token ? w.token_wrong : '';
    $('door').hidden = false;
    $('main').hidden = true;
    $('token').focus();
  }
  token = '';
  sessionStorage.removeItem('token');
}

// onToken calls f once a token was entered.
export function onToken(f) {
  $('door').addEventListener('submit', (e) => {
    e.preventDefault();
    token = $('token').value;
    sessionStorage.setItem('token', token);
    $('token').value = '';
    $('door').hidden = true;
    f();
  });
}
