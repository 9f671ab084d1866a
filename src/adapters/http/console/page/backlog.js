// A user's backlog, a page at a time, oldest first.

import { ArrowKeys } from './arrow_keys.js';
import { Refused, request, userCall } from './calls.js';
import { $, element, number, say } from './dom.js';
import { details, line, time, type } from './event_row.js';
import { parse } from './json.js';

const PAGE = 25;

let user = null;
// From the first page to the one that is shown: the id after which each begins, and how many events are on those before it.
const BEGINNING = [{ after: '', before: 0 }];
let pages = BEGINNING;
let next = null;
let length = 0;
let shown = 0;
let head = null;

let turns = 0;

const arrowKeys = new ArrowKeys($('backlog'));

const press = (id, act) => $(id).addEventListener('click', () => $(id).getAttribute('aria-disabled') === 'true' || act());
press('backlog-first', () => turn(BEGINNING));
press('backlog-previous', () => turn(pages.slice(0, -1)));
press('backlog-next', () => turn([...pages, { after: next, before: pages.at(-1).before + shown }]));
press('backlog-refresh', () => turn(pages));

// Begins anew for another user, or for none.
export function show(another) {
  user = another;
  [pages, next, length, shown, head] = [BEGINNING, null, 0, 0, null];
  say('backlog-problem', '');
  fill([]);
  if (user !== null) turn(pages);
}

// Reads the page anew if it is the last: something has come behind it.
export const refreshAtEnd = () => next === null && turn(pages);

// What the user's state says of the backlog: whether there is more than what is shown.
export function heed(state) {
  const changed = head !== null && state.head_id !== head && next === null;
  length = state.backlog_length;
  due(changed);
  head ??= state.head_id;
  range();
}

async function turn(to) {
  turns += 1;
  const [asked, mine] = [user, turns];
  const { after } = to.at(-1);
  const query = { limit: PAGE, ...(after === '' ? {} : { after }) };
  try {
    const part = parse(await (await request(userCall(asked, '/events', query))).text());
    if (asked !== user || mine !== turns) return;
    pages = to;
    next = part.next;
    head = null;
    due(false);
    say('backlog-problem', '');
    fill(part.events);
  } catch (error) {
    if (asked === user && !(error instanceof Refused && error.wantsToken)) say('backlog-problem', error.message);
  }
}

function fill(events) {
  shown = events.length;
  $('backlog').replaceChildren(...events.map(row));
  arrowKeys.settle();
  $('backlog-empty').hidden = shown > 0 || user === null;
  hold('backlog-first', pages.length < 2);
  hold('backlog-previous', pages.length < 2);
  hold('backlog-next', next === null);
  range();
}

// A button that can't be used keeps the focus, so that who turns pages by keyboard is not thrown out at the last one.
function hold(id, held) {
  $(id).setAttribute('aria-disabled', String(held));
}

function due(is) {
  $('backlog-refresh').classList.toggle('due', is);
  $('backlog-refresh').setAttribute('aria-label', is ? 'Refresh: the backlog has changed' : 'Refresh');
}

function range() {
  const { before } = pages.at(-1);
  // What was trimmed or published since may make the count smaller than what is shown.
  const all = Math.max(length, before + shown);
  say('backlog-range', shown > 0 ? `${number(before + 1)}–${number(before + shown)} of ${number(all)}` : '');
}

function row(event) {
  const cell = (...children) => element('td', { role: 'cell' }, ...children);
  const id = element('span', { class: 'code' }, String(event.id));
  return element('tr', { role: 'row' }, cell(time(event)), cell(id), cell(type(event)), cell(details(event, [line(event)])));
}
