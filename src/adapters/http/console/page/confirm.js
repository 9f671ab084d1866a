// Asks before something is done that can't be taken back. Escape and the first button mean no.

import { $, say } from './dom.js';

const dialog = $('confirm');
let answer = () => {};

function close(agreed) {
  dialog.close();
  answer(agreed);
}

$('confirm-no').addEventListener('click', () => close(false));
$('confirm-yes').addEventListener('click', () => close(true));
dialog.addEventListener('cancel', () => answer(false));

// Takes the question back; that is no.
export const dismiss = () => dialog.open && close(false);

export function confirmed(title, text, deed) {
  say('confirm-title', title);
  say('confirm-text', text);
  say('confirm-yes', deed);
  dialog.showModal();
  $('confirm-no').focus();
  return new Promise((agreed) => {
    answer = agreed;
  });
}
