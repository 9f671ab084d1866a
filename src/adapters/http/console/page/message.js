// A message: where it stands.

import { call, Refused } from './calls.js';
import { $, element, number, say, userHash, utc } from './dom.js';

$('find-message').addEventListener('submit', (event) => {
  event.preventDefault();
  look($('message-id').value.trim());
});

async function look(id) {
  try {
    tell(await call(`api/admin/messages/${encodeURIComponent(id)}`));
    say('message-problem', '');
  } catch (error) {
    $('message').hidden = true;
    if (!(error instanceof Refused && error.wantsToken)) say('message-problem', capitalised(error.message));
  }
}

const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function tell(message) {
  const status = element('span', { class: 'badge', 'data-status': message.status }, message.status);
  const facts = [
    ['Status', message.stop ? element('span', {}, status, ' stop asked for') : status],
    ['Owner', element('a', { href: userHash(message.user_id) }, message.user_id)],
    ['Last number', message.last_sequence_no === null ? 'none yet' : number(message.last_sequence_no)],
    ['Epoch', number(message.epoch)],
    ['Opened', utc(message.created_at)],
    ['Producer seen', utc(message.producer_seen_at)],
    ['Ended', message.ended_at === null ? 'not yet' : utc(message.ended_at)],
  ];
  $('message').replaceChildren(...facts.map(([term, fact]) => element('div', {}, element('dt', {}, term), element('dd', {}, fact))));
  $('message').hidden = false;
}
