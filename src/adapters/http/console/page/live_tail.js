// The live tail of a user: a stream that is read as their clients read it, and costs them nothing.
//
// Bounded: the page keeps the last ROWS_MAX rows, also while its tab is in the background and draws nothing.

import { ArrowKeys } from './arrow_keys.js';
import { userCall } from './calls.js';
import { $, element, number, plural, say } from './dom.js';
import { details, line, timeOfDay, type } from './event_row.js';
import { follow } from './event_stream.js';
import { parse } from './json.js';

const ROWS_MAX = 300;
const DRAW_EVERY_MS = 80;

let user = null;
let cursor = null;
let running = null;
let received = 0;
let undrawn = [];
let drawing = null;
// Who has scrolled up is reading: only who is at the end is taken along.
let atEnd = true;

const [list, scroll] = [$('tail'), $('tail-scroll')];
const arrowKeys = new ArrowKeys(list);

scroll.addEventListener('scroll', () => {
  atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 8;
});
new ResizeObserver(toEnd).observe(list);
$('tail-toggle').addEventListener('click', () => (running ? stop() : start()));

// Begins anew for another user, or for none.
export function show(next) {
  stop();
  clearTimeout(drawing);
  [user, cursor, received, undrawn, drawing, atEnd] = [next, null, 0, [], null, true];
  list.replaceChildren();
  $('tail-empty').hidden = false;
  offerCursor();
  $('tail-from').value = 'now';
  say('tail-count', 'Nothing yet.');
  state('stopped', 'Stopped');
}

function start() {
  running = new AbortController();
  const { signal } = running;
  const from = { now: null, oldest: '0', cursor }[$('tail-from').value];
  button(true);
  follow({
    path: userCall(user, '/events/stream'),
    cursor: from,
    signal,
    moved: (id) => {
      if (signal.aborted) return;
      cursor = id;
    },
    heard: (data) => signal.aborted || take(data),
    state: (name, words, delay) => signal.aborted || tell(name, words, delay),
  }).finally(() => {
    // Refused: nothing to stop any more.
    if (!signal.aborted) halt();
  });
}

function stop() {
  if (!running) return;
  running.abort();
  halt();
  state('stopped', 'Stopped');
}

function halt() {
  running = null;
  button(false);
  offerCursor();
}

function button(started) {
  say('tail-toggle', started ? 'Stop' : 'Start');
  $('tail-toggle').classList.toggle('primary', !started);
  $('tail-from').disabled = started;
}

// A tail that was stopped goes on where it was, as a client of the user's would.
function offerCursor() {
  const [, , goOn] = $('tail-from').options;
  goOn.disabled = cursor === null;
  if (cursor !== null) $('tail-from').value = 'cursor';
}

function tell(name, words, delay) {
  if (name === 'connecting') state('waiting', 'Connecting…');
  if (name === 'live') state('live', 'Live');
  if (name === 'waiting') state('waiting', `${words || 'Closed'}; again in ${number(Math.ceil(delay / 1_000))} s`);
  if (name === 'refused') state('refused', words);
}

function state(name, words) {
  say('tail-state', words);
  $('tail-state').dataset.state = name;
}

function take(data) {
  const shown = row(data);
  undrawn.push(shown);
  if (shown.className !== 'notice') received += 1;
  // What would not be shown anyway is not kept.
  if (undrawn.length > ROWS_MAX) undrawn.shift();
  drawing ??= setTimeout(draw, DRAW_EVERY_MS);
}

function draw() {
  list.append(...undrawn);
  [undrawn, drawing] = [[], null];
  while (list.children.length > ROWS_MAX) list.firstChild.remove();
  $('tail-empty').hidden = list.children.length > 0;
  arrowKeys.settle('last');
  toEnd();
  const some = plural(received, 'event');
  say('tail-count', received > ROWS_MAX ? `${some}; the last ${number(ROWS_MAX)} are shown.` : `${some}.`);
}

function toEnd() {
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
}

function row(data) {
  let event;
  try {
    event = parse(data);
  } catch {
    return element('li', { class: 'notice' }, `Not JSON: ${data.slice(0, 200)}`);
  }
  if (event.type === 'backlog.truncated') return truncation(event.payload?.oldest_retained_id);
  return element('li', {}, details(event, [timeOfDay(event), type(event), line(event)], { withId: true }));
}

function truncation(oldest) {
  const rest = oldest ? `The oldest that is retained is ${oldest}.` : 'Nothing is retained.';
  return element('li', { class: 'notice' }, element('b', {}, 'Events are missing here.'), ` They are gone from the backlog. ${rest}`);
}
