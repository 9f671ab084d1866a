// How one event is shown: a line, which opens to the whole payload.
//
// A payload may have a megabyte: only so much of it is held by the page. Whoever shows a list of them sees to the keyboard.

import { element, number, utc } from './dom.js';
import { inOneLine, pretty } from './json.js';

const LINE_CHARS_MAX = 240;
const PAYLOAD_CHARS_MAX = 20_000;

const cut = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

export const time = (event) => element('time', { class: 'code', datetime: event.ts }, utc(event.ts));

// The time alone: what is live is of today, and the whole stands in what opens.
export const timeOfDay = (event) => element('time', { class: 'code', datetime: event.ts }, utc(event.ts).slice(11));

export function type(event) {
  const shown = element('span', { class: 'type' }, element('b', {}, String(event.type)));
  if (event.category) shown.append(' ', element('span', { class: 'category' }, String(event.category)));
  return shown;
}

// What opens from a summary to the whole payload. It tells the id and the time too if they are not shown beside.
export function details(event, summary, { withId = false } = {}) {
  const whole = pretty(event.payload);
  const notes = [];
  if (withId) {
    notes.push(element('span', {}, event.id ? `id ${event.id}` : 'for everybody who is connected: it has no id'));
    notes.push(element('span', {}, `${utc(event.ts)} UTC`));
  }
  if (event.scope && Object.keys(event.scope).length > 0) notes.push(element('span', {}, `scope ${cut(inOneLine(event.scope), LINE_CHARS_MAX)}`));
  if (whole.length > PAYLOAD_CHARS_MAX) notes.push(element('span', {}, `the first ${number(PAYLOAD_CHARS_MAX)} of ${number(whole.length)} characters`));
  const body = element('pre', { class: 'code' }, cut(whole, PAYLOAD_CHARS_MAX));
  return element('details', {}, element('summary', { tabindex: '-1' }, ...summary), element('p', { class: 'notes' }, ...notes), body);
}

export const line = (event) => element('code', { class: 'line' }, cut(inOneLine(event.payload), LINE_CHARS_MAX));
