// The page's elements. What comes from the server goes in as text, never as markup: `append` and `textContent` only.

export const $ = (id) => document.getElementById(id);

// An element with attributes, and children that are elements or text.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Sets text that may be the same as before, without making a screen reader say it again.
export function say(id, text) {
  const target = $(id);
  if (target.textContent !== text) target.textContent = text;
}

export const number = (value) => value.toLocaleString('en');

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

// `2026-11-25T10:05:07.123Z` as `2026-11-25 10:05:07.123`; what is no time stays as it is.
export const utc = (ts) => String(ts).replace('T', ' ').replace(/Z$/, '');

// The link to a user's part of the page.
export const userHash = (user) => `#user=${encodeURIComponent(user)}`;
