// Calls to the server, with the operator's token. It is kept for this tab alone.

const KEY = 'rejoin.console.token';

export const token = {
  read: () => sessionStorage.getItem(KEY),
  keep: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

// The server turned a call down. Its message says what to do.
export class Refused extends Error {
  constructor(status, { message, code, field } = {}, retryAfterSeconds = 0) {
    super(message ?? `The server answered ${status}.`);
    Object.assign(this, { status, code, field, retryAfterSeconds });
  }

  // Whether another token is needed.
  get wantsToken() {
    return this.status === 401 || this.status === 403;
  }
}

// The server did not answer.
export class Unreachable extends Error {
  constructor() {
    super('The server does not answer.');
  }
}

let onTokenRefused = () => {};

// Who is to be told when the token is missing or not good enough.
export function whenTokenRefused(tell) {
  onTokenRefused = tell;
}

// Makes a call and gives the answer once its head is there. Paths are relative, so that the console works below a proxy's
// path of its own.
export async function request(path, { headers = {}, ...options } = {}) {
  const held = token.read();
  if (held) headers = { ...headers, Authorization: `Bearer ${held}` };
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...options, headers, cache: 'no-store', credentials: 'omit' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    // A token that no header can carry is not the server's trouble.
    throw held && /[^\x20-\x7e]/.test(held) ? new Refused(401, { message: 'This is not a token.' }) : new Unreachable();
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const refused = new Refused(response.status, problem, Number(response.headers.get('Retry-After')) || 0);
  if (refused.wantsToken) onTokenRefused(refused);
  throw refused;
}

export const call = async (path, options) => (await request(path, options)).json();

// A call about a user. The id goes in the query, where it can be any text: in a path `.` and `..` would be steps.
export const userCall = (user, tail = '', query = {}) => `api/admin/user${tail}?${new URLSearchParams({ user_id: user, ...query })}`;
