// Server-Sent Events over fetch: an EventSource can't send a token in a header.
//
// Like an EventSource it keeps the cursor, and comes back with it; unlike one it tells what the server said at the end.

import { Refused, request } from './calls.js';

const RETRY_MS = 3_000;
const RETRY_MS_LONGEST = 30_000;

// Takes a stream's text apart (WHATWG HTML, section 9.2). `tell` gets `{ comment }`, `{ retry }` or `{ id, data }`; data is
// null for what only moves the cursor: a position frame, or a block without data.
export class Decoder {
  #tell;
  #rest = '';
  #afterCr = false;
  #id = null;
  #event = '';
  #data = [];

  constructor(tell) {
    this.#tell = tell;
  }

  feed(text) {
    // A CR at a chunk's end may be half of a CRLF.
    if (this.#afterCr && text.startsWith('\n')) text = text.slice(1);
    if (text !== '') this.#afterCr = text.endsWith('\r');
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === '') return this.#end();
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (colon === 0) this.#tell({ comment: value });
    if (field === 'id' && !value.includes('\0')) this.#id = value;
    if (field === 'event') this.#event = value;
    if (field === 'data') this.#data.push(value);
    if (field === 'retry' && /^\d+$/.test(value)) this.#tell({ retry: Number(value) });
  }

  #end() {
    const [id, event, data] = [this.#id, this.#event, this.#data];
    [this.#id, this.#event, this.#data] = [null, '', []];
    const shows = data.length > 0 && event !== 'stream.position';
    if (id !== null || shows) this.#tell({ id, data: shows ? data.join('\n') : null });
  }
}

// Follows a stream until `signal` says stop, over as many connections as it takes. `cursor` is where to begin; `moved` gets
// each new one. `heard` gets the text of each event, `state` what goes on. Returns when the server refuses for good.
export async function follow({ path, cursor, signal, moved, heard, state }) {
  let failures = 0;
  while (!signal.aborted) {
    state('connecting');
    let [delay, lastWords] = [RETRY_MS, ''];
    const decoder = new Decoder(({ comment, retry, id = null, data = null }) => {
      if (comment !== undefined) lastWords = comment;
      if (retry !== undefined) delay = retry;
      if (data !== null) heard(data);
      if (id !== null) moved((cursor = id));
    });
    try {
      const response = await request(path, { signal, headers: cursor === null ? {} : { 'Last-Event-ID': cursor } });
      state('live');
      failures = 0;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) decoder.feed(part.value);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status < 500 && error.status !== 429) return state('refused', error.message);
      failures += 1;
      const patience = Math.min(1_000 * 2 ** failures, RETRY_MS_LONGEST);
      delay = Math.max((error.retryAfterSeconds ?? 0) * 1_000, patience);
      lastWords = error instanceof Refused ? error.message : 'the connection is gone';
    }
    state('waiting', lastWords, delay);
    await pause(delay, signal);
  }
}

function pause(ms, signal) {
  return new Promise((over) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      over();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
