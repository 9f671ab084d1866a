// Publishing a test event to the user that is shown.

import { call, Refused, userCall } from './calls.js';
import { $, element, say } from './dom.js';

let user = null;
let published = () => {};

const hint = $('event-receipt').firstElementChild;
const [form, type, payload] = [$('test-event'), $('event-type'), $('event-payload')];

form.addEventListener('submit', (event) => {
  event.preventDefault();
  publish();
});
payload.addEventListener('input', check);
type.addEventListener('input', check);
payload.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

// For whom; `tell` hears of each event that was published.
export function show(another, tell) {
  [user, published] = [another, tell];
  $('event-receipt').replaceChildren(hint);
  blame(null, '');
}

function blame(field, words) {
  for (const input of [type, payload]) input.toggleAttribute('aria-invalid', input === field);
  say('event-problem', words);
}

// Whether both can be sent; says what is wrong where one can't.
function check() {
  if (!/^[A-Za-z0-9._:-]{1,128}$/.test(type.value.trim())) {
    blame(type, 'A type has 1 to 128 of A-Z, a-z, 0-9 and . _ : -');
    return false;
  }
  try {
    JSON.parse(payload.value);
  } catch (error) {
    blame(payload, `Not JSON yet: ${error.message}`);
    return false;
  }
  blame(null, '');
  return true;
}

async function publish() {
  if (!check()) return $('event-problem').textContent.startsWith('Not') ? payload.focus() : type.focus();
  const asked = user;
  // The payload goes as it was typed: to parse it and write it again would change numbers.
  const body = `{"type":${JSON.stringify(type.value.trim())},"payload":${payload.value}}`;
  try {
    const { id } = await call(userCall(asked, '/events'), { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    if (asked !== user) return;
    const words = id ? ['Published as ', element('code', {}, id)] : ['Not stored: pushing is switched off'];
    $('event-receipt').replaceChildren(element('span', {}, ...words));
    published();
  } catch (error) {
    if (asked !== user || (error instanceof Refused && error.wantsToken)) return;
    $('event-receipt').replaceChildren();
    blame({ type, payload }[error.field] ?? null, error.message);
  }
}
