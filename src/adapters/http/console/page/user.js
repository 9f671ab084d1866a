// One user: their state, and what can be done for them.

import * as backlog from './backlog.js';
import { call, Refused, userCall } from './calls.js';
import { confirmed } from './confirm.js';
import { $, number, plural, say } from './dom.js';
import * as liveTail from './live_tail.js';
import * as testEvent from './test_event.js';

let user = null;
let state = null;

$('close-connections').addEventListener('click', closeConnections);
$('purge').addEventListener('click', purge);

// Shows another user, or none.
export function show(next) {
  if (next === user) return;
  [user, state] = [next, null];
  $('user').hidden = user === null;
  $('no-user-chosen').hidden = user !== null;
  say('user-title', user ?? '');
  document.title = user === null ? 'Rejoin console' : `${user} · Rejoin console`;
  for (const id of ['backlog-length', 'connections', 'replays', 'oldest', 'head']) say(id, '–');
  say('user-problem', '');
  say('user-word', '');
  backlog.show(user);
  liveTail.show(user);
  testEvent.show(user, published);
  if (user !== null) look();
}

// Asks for the user's state, and shows it.
export async function look() {
  const asked = user;
  if (asked === null) return;
  try {
    const found = await call(userCall(asked));
    if (asked === user) tell(found);
  } catch (error) {
    if (asked === user) complain(error);
  }
}

function tell(found) {
  state = found;
  const { connections, connections_here: here, connections_max: most, replays_left: left, replays_max: replays } = state;
  say('backlog-length', number(state.backlog_length));
  const elsewhere = connections === here ? '' : `, ${number(here)} here`;
  say('connections', `${number(connections)}${most === null ? '' : ` of ${number(most)}`}${elsewhere}`);
  say('replays', replays === null ? 'no budget' : `${number(left)} of ${number(replays)}`);
  say('oldest', state.oldest_id ?? 'nothing');
  say('head', state.head_id ?? 'nothing');
  say('user-problem', '');
  backlog.heed(state);
}

function complain(error) {
  if (!(error instanceof Refused && error.wantsToken)) say('user-problem', error.message);
}

async function closeConnections() {
  const asked = user;
  const text = `Every stream of ${asked} ends, in all processes and of both channels. Clients whose credentials still hold come back by themselves.`;
  if (!(await confirmed('Close the connections?', text, 'Close them'))) return;
  await act(async () => {
    const { connections } = await call(userCall(asked, '/connections'), { method: 'DELETE' });
    return `${plural(connections, 'connection')} closed.`;
  });
}

async function purge() {
  const asked = user;
  const events = state === null ? 'All events' : plural(state.backlog_length, 'event');
  const text = `${events} of ${asked} will be gone for good. Clients who had not read them are told that events are missing.`;
  if (!(await confirmed('Purge the backlog?', text, 'Purge it'))) return;
  await act(async () => {
    await call(userCall(asked, '/events'), { method: 'DELETE' });
    backlog.show(user);
    return 'The backlog was purged.';
  });
}

async function act(deed) {
  try {
    say('user-word', await deed());
    await look();
  } catch (error) {
    complain(error);
  }
}

function published() {
  say('user-word', '');
  look();
  backlog.refreshAtEnd();
}
