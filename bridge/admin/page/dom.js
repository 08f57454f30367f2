// Elements. Texts of events and of the bridge become text nodes, never markup.

export const $ = (id) => document.getElementById(id);

export function el(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ''));
  return e;
}

export function button(text, className, click) {
  const b = el('button', className, text);
  b.type = 'button';
  b.addEventListener('click', click);
  return b;
}

// arrange makes list hold exactly these rows, and moves none that is in its place: a row
// that is moved loses the focus and the selection in it.
export function arrange(list, rows) {
  const wanted = new Set(rows);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  rows.forEach((row, i) => { if (list.children[i] !== row) list.insertBefore(row, list.children[i] || null); });
}

// setText writes a text only when it changes: a screen reader says it again each time.
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// hidden are characters that are not seen, or that turn the order of those around them:
// with them a text can look like another.
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/;

// visible is a text as nodes in which hidden characters are shown by their numbers.
export function visible(text) {
  if (!hidden.test(text)) return [text];
  return text.split(new RegExp(`(${hidden.source})`)).filter(Boolean).map((part) => {
    if (!hidden.test(part)) return part;
    return el('span', 'unseen', `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`);
  });
}

// breakable lets a line end behind a dot of the text, before it ends within a word.
export function breakable(text) {
  return text.split(/(?<=\.)/).flatMap((part, i) => (i ? [el('wbr'), part] : [part]));
}

// rich is a text as nodes in which commands are code: those in backticks, those in single
// quotes, and persat-bridge with its subcommand and flags behind a colon.
const command = /`([^`]+)`|'((?:persat-bridge|nats|dmesg|Authorization:)[^']*)'|(?<=: )(persat-bridge(?: (?:stream|dead|journal))? [a-z]+(?: --[a-z-]+(?: [\d<A-Z][^\s,;]*[^\s,;.:)])?)*)/;
export function rich(text) {
  const found = command.exec(text);
  if (!found) return text ? [text] : [];
  const words = (found[1] || found[2] || found[3]).split(' ').flatMap((word, i) => [i ? ' ' : '', el('span', '', word)]);
  return [text.slice(0, found.index), el('code', 'command', ...words), ...rich(text.slice(found.index + found[0].length))];
}

// typeName is the type of an event, which not every body has.
export const typeName = (type, none) => (type ? el('b', '', type) : el('span', 'quiet', none));

// ask puts one question and answers whether it was answered yes.
export function ask(text, yes, danger) {
  $('ask-text').textContent = text;
  $('ask-yes').textContent = yes;
  $('ask-yes').className = danger ? 'main danger' : 'main';
  const dialog = $('ask');
  return new Promise((resolve) => {
    let answer = false;
    $('ask-yes').onclick = () => { answer = true; dialog.close(); };
    $('ask-no').onclick = () => dialog.close();
    // It tells of a close some time later: of the one before, when it is open again.
    dialog.onclose = () => { if (!dialog.open) resolve(answer); };
    dialog.showModal();
    (danger ? $('ask-no') : $('ask-yes')).focus();
  });
}

// copy puts a text on the clipboard. Only pages of a safe origin have the modern way.
export async function copy(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const area = el('textarea');
  area.value = text;
  area.className = 'off-screen';
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error('clipboard');
}
