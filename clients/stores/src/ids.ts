/** The message ids that Rejoin accepts. */
const MESSAGE_ID = /^[A-Za-z0-9._:-]{1,128}$/;
/** Ids that Rejoin reads as a UUID: all spellings of a UUID name the same message. */
const UUID = /^(?:urn:uuid:)?(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;
/** The spelling of a UUID that is left unchanged. */
const CANONICAL_UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** The prefixes of escaped and of hashed ids. No other id may start with them. */
const MADE = /^[eh]:/;

/** Whether Rejoin accepts this id and it can be part of a URL. */
export function isMessageId(id: string): boolean {
  // URLs resolve these as path segments, even if their dots are percent-encoded.
  return MESSAGE_ID.test(id) && id !== '.' && id !== '..';
}

/**
 * Maps an application's id to a message id. Different ids have different message ids.
 *
 * - An id that Rejoin accepts (1 to 128 characters of `A-Z`, `a-z`, `0-9`, `.`, `_`, `:` and `-`) is left unchanged, except `.`
 *   and `..`, UUIDs that are not written in lower case with dashes, and ids that start with `e:` or `h:`.
 * - Any other id becomes `e:` followed by its UTF-8 bytes: letters, digits, `_`, `:` and `-` as they are, any other byte as `.`
 *   and two hexadecimal digits.
 * - If that is longer than 128 characters, the id becomes `h:` followed by its SHA-256 in base64url.
 *
 * @throws TypeError if the id is not well-formed Unicode, because it contains a lone surrogate
 */
export async function messageIdOf(id: string): Promise<string> {
  if (isMessageId(id) && !MADE.test(id) && (!UUID.test(id) || CANONICAL_UUID.test(id))) return id;
  if (/\p{Surrogate}/u.test(id)) throw new TypeError('an id must be well-formed Unicode');
  const bytes = new TextEncoder().encode(id);
  if (bytes.length <= 126) {
    const escaped = `e:${Array.from(bytes, escape).join('')}`;
    if (escaped.length <= 128) return escaped;
  }
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const base64 = btoa(String.fromCharCode(...hash));
  return `h:${base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`;
}

function escape(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[A-Za-z0-9_:-]/.test(character) ? character : `.${byte.toString(16).padStart(2, '0')}`;
}
