// The console: asks the server how it is, and shows the user whom the address names.

import { call, Refused, token, whenTokenRefused } from './calls.js';
import { dismiss } from './confirm.js';
import { $, element, number, plural, say, userHash } from './dom.js';
import './message.js';
import * as user from './user.js';

const LOOK_EVERY_MS = 3_000;

let looking = false;
let connectedBefore = '';

whenTokenRefused(askForToken);
window.addEventListener('hashchange', () => route(true));
document.addEventListener('visibilitychange', () => document.hidden || look());
document.addEventListener('keydown', jumpToSearch);
for (const [link, target] of [['skip-to-user', 'main'], ['skip-to-server', 'side']]) {
  $(link).addEventListener('click', (event) => {
    // The address names a user, and goes on to.
    event.preventDefault();
    $(target).focus();
  });
}
$('find-user').addEventListener('submit', (event) => {
  event.preventDefault();
  const hash = userHash($('user-id').value);
  if (location.hash === hash) $('user-title').focus();
  location.hash = hash;
});
$('user-id').addEventListener('keydown', (event) => event.key === 'Escape' && $('main').focus());
$('sign-in-form').addEventListener('submit', (event) => {
  event.preventDefault();
  token.keep($('token').value.trim());
  $('token').value = '';
  look();
});
$('forget').addEventListener('click', () => {
  token.forget();
  // Nothing of what it showed stays behind.
  location.reload();
});
setInterval(() => document.hidden || look(), LOOK_EVERY_MS);
look();

// Asks how the server is, and the user that is shown.
async function look() {
  if (looking || (!$('sign-in').hidden && token.read() === null)) return;
  looking = true;
  try {
    const status = await call('api/admin/status');
    if ($('desk').hidden) enter();
    tell(status);
    await user.look();
  } catch (error) {
    if (!(error instanceof Refused && error.wantsToken)) health('away', error.message);
  } finally {
    looking = false;
  }
}

function enter() {
  const fromSignIn = !$('sign-in').hidden;
  $('sign-in').hidden = true;
  $('find-user').hidden = false;
  $('desk').hidden = false;
  $('forget').hidden = token.read() === null;
  route(fromSignIn);
}

function askForToken(refused) {
  say('sign-in-problem', token.read() === null ? '' : refused.message);
  token.forget();
  dismiss();
  user.show(null);
  $('find-user').hidden = true;
  $('desk').hidden = true;
  $('forget').hidden = true;
  health('waiting', 'Needs a token');
  if ($('sign-in').hidden || document.activeElement === document.body) {
    $('sign-in').hidden = false;
    $('token').focus();
  }
}

// Shows whom the address names, and takes the focus along if somebody went there.
function route(withFocus) {
  if ($('desk').hidden) return;
  const chosen = new URLSearchParams(location.hash.slice(1)).get('user') || null;
  user.show(chosen);
  markChosen();
  if (withFocus) $(chosen === null ? 'main' : 'user-title').focus();
}

function jumpToSearch(event) {
  const writing = event.target.closest('input, textarea, select, dialog');
  if (event.key !== '/' || writing || event.ctrlKey || event.metaKey || event.altKey || $('desk').hidden) return;
  event.preventDefault();
  $('user-id').focus();
  $('user-id').select();
}

function health(state, words) {
  say('health', words);
  $('health').dataset.state = state;
}

function tell(status) {
  const backends = Object.entries(status.backends);
  const away = backends.filter(([, up]) => !up).map(([name]) => name);
  if (status.draining) health('waiting', 'Draining');
  else if (away.length > 0) health('away', `Down: ${away.join(', ')}`);
  else health('live', 'Serving');
  const shown = JSON.stringify(backends);
  if ($('backends').dataset.shown !== shown) {
    const backend = ([name, up]) => element('span', { class: 'backend', 'data-state': up ? 'live' : 'away' }, `${name} ${up ? 'up' : 'down'}`);
    $('backends').replaceChildren(...backends.map(backend));
    $('backends').dataset.shown = shown;
  }
  say('uptime', duration(status.uptime_seconds));
  say('streams', number(status.connections));
  say('topics', number(status.topics_followed));
  say('rings', bytes(status.ring_bytes));
  say('drain', status.draining ? 'clients are being asked to leave' : 'no');
  say('version', status.version);
  tellConnected(status.users);
}

// The list is drawn anew only if it changed, and the focus stays with whom it was on.
function tellConnected(users) {
  const now = JSON.stringify(users);
  if (now === connectedBefore) return;
  connectedBefore = now;
  const focused = document.activeElement?.closest('#connected a')?.getAttribute('href');
  const entry = ({ user_id: id, connections }) => element(
    'li',
    {},
    element('a', { href: userHash(id), 'aria-label': `${id}, ${plural(connections, 'connection')}` }, element('span', {}, id), element('b', {}, number(connections))),
  );
  $('connected').replaceChildren(...users.map(entry));
  $('connected-ids').replaceChildren(...users.map(({ user_id: value }) => element('option', { value })));
  $('no-connections').hidden = users.length > 0;
  markChosen();
  if (focused) links().find((link) => link.getAttribute('href') === focused)?.focus();
}

const links = () => [...$('connected').querySelectorAll('a')];

function markChosen() {
  for (const link of links()) {
    if (link.getAttribute('href') === location.hash) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function duration(seconds) {
  const parts = [[86_400, 'd'], [3_600, 'h'], [60, 'min'], [1, 's']];
  const first = parts.findIndex(([size]) => seconds >= size);
  const shown = parts.slice(Math.max(first, 0), Math.max(first, 0) + 2);
  return shown.map(([size, unit], place) => `${Math.floor((place === 0 ? seconds : seconds % shown[0][0]) / size)} ${unit}`).join(' ') || '0 s';
}

function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const unit = Math.min(Math.floor(Math.log2(Math.max(count, 1)) / 10), units.length - 1);
  return `${(count / 1024 ** unit).toLocaleString('en', { maximumFractionDigits: 1 })} ${units[unit]}`;
}
