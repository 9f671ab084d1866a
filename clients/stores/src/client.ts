import { RejoinError, hasCode, isObject, isTransient, jsonOf, refusal } from './errors.js';
import { isMessageId } from './ids.js';
import { SseParser, type SseItem } from './sse.js';
import { Link, Patience, background, pause } from './time.js';

/** Options of {@link RejoinClient}. */
export interface RejoinClientOptions {
  /** The server's URL, such as `https://events.example.com`. It may have a path. */
  url: string | URL;
  /**
   * The bearer token, or a function that returns it, called for every request. It needs the scope `messages:publish`, and
   * `messages:read` to read the messages of any user.
   */
  token?: string | (() => string | Promise<string>);
  /** A static key, instead of a token. */
  key?: string;
  /** The `fetch` function to use. The global one by default. */
  fetch?: typeof globalThis.fetch;
  /** Headers to add to every request, for a proxy for example. */
  headers?: Record<string, string>;
  /**
   * How long to retry a call, or to reconnect a reader, without progress before giving up, in milliseconds. 30,000 by
   * default; 0 disables retries.
   */
  retryForMs?: number;
  /** The timeout of one attempt of a call other than a read, in milliseconds. 15,000 by default. */
  requestTimeoutMs?: number;
  /**
   * How long a read may receive no byte before its connection counts as dead, in milliseconds. 60,000 by default; it must
   * be longer than the server's `sse.keepalive_seconds`.
   */
  idleTimeoutMs?: number;
}

/** A message's status. `stale`: it has not ended, and its producer has been silent for too long. */
export type MessageStatus = 'streaming' | 'complete' | 'failed' | 'stale';

/** A message, without its events. */
export interface Message {
  id: string;
  /** The user who owns it, and may read it with their own token. */
  userId: string;
  status: MessageStatus;
  /** Counts the producers that took the message over, from 1. */
  epoch: number;
  /** The number of its last event. Null if it has none. */
  lastSequenceNo: number | null;
  /** Whether a stop was requested. */
  stop: boolean;
  /** RFC 3339, as the two times below. */
  createdAt: string;
  producerSeenAt: string;
  endedAt: string | null;
}

/** An event to append to a message. */
export interface MessageDraft {
  /**
   * 1 to 128 characters of `A-Z`, `a-z`, `0-9`, `.`, `_`, `:` and `-`. `end` and `error` end the message, unless `last` is
   * false.
   */
  type: string;
  /** Any JSON value. If it is an object with a member `type`, that must be the event's type. */
  payload?: unknown;
  /** A text, instead of `payload`. Some formats turn its line ends into LF; a text inside a payload arrives unchanged. */
  data?: string;
  /** The event name that the format `data` writes. Only with `data`. */
  event?: string;
  /** Whether it ends the message. */
  last?: boolean;
  /** How the message ended. Only if this event ends it. */
  status?: 'complete' | 'failed';
  /** Its number, counted from 0 without gaps. The server assigns it by default. */
  sequenceNo?: number;
}

/** The result of an append. */
export interface Appended {
  /** Whether a stop was requested: the producer should end the message. */
  stop: boolean;
  /** How many of the events had already been appended. */
  duplicates: number;
}

/** An event of a message, as readers receive it. */
export interface MessageEvent {
  /** Its number, counted from 0 without gaps: the cursor to resume after this event. */
  sequenceNo: number;
  type: string;
  /** The payload, with the type added. A payload that is not an object is in the member `payload`, a text in `data`. */
  payload: Record<string, unknown>;
}

/** Options of every call. */
export interface CallOptions {
  /** Cancels the call, which then throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Options of the calls of a producer. */
export interface ProducerCallOptions extends CallOptions {
  /** The `epoch` that opening the message returned. With it, a producer that was superseded gets `producer_fenced`. */
  epoch?: number | undefined;
}

/** Options of {@link RejoinClient.read}. */
export interface ReadOptions extends CallOptions {
  /** The number of the last event received. Reads from the start by default. */
  cursor?: number | undefined;
  /**
   * How long to wait for a message that does not exist yet, in milliseconds. The default and the maximum are the server's
   * `messages.open_wait_seconds`.
   */
  openWaitMs?: number | undefined;
}

const RETRY_FOR_MS = 30_000;
const REQUEST_TIMEOUT_MS = 15_000;
const IDLE_TIMEOUT_MS = 60_000;
/** A connection that lasted this long counts as progress, even if it delivered no event. */
const LASTING_MS = 5_000;
/** The longest reconnection delay that is accepted from the server's `retry:` field. */
const LONGEST_ASKED_MS = 30_000;

interface Call {
  method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  path: string;
  body?: string;
  type?: 'application/json' | 'application/x-ndjson';
  headers?: Record<string, string>;
}

interface Answer {
  status: number;
  text: string;
}

/**
 * A client of Rejoin's HTTP API for messages.
 *
 * Calls are retried for up to `retryForMs` if the server cannot be reached, or answers with 408, 425, 429, 502, 503 or 504: with
 * exponential backoff and jitter, and not before `Retry-After`. Retrying is harmless for every call. All methods throw
 * {@link RejoinError}, and `TypeError` for an invalid id.
 */
export class RejoinClient {
  readonly #base: string;
  readonly #token: RejoinClientOptions['token'];
  readonly #fetch: typeof globalThis.fetch;
  readonly #headers: Record<string, string>;
  readonly #retryForMs: number;
  readonly #requestTimeoutMs: number;
  readonly #idleTimeoutMs: number;

  constructor(options: RejoinClientOptions) {
    const url = new URL(options.url);
    if (options.token !== undefined && options.key !== undefined) throw new TypeError('`token` and `key` exclude each other');
    this.#base = `${url.origin}${url.pathname.replace(/\/+$/, '')}/api/messages/`;
    this.#token = options.token ?? options.key;
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#headers = { ...options.headers };
    this.#retryForMs = duration('retryForMs', options.retryForMs, RETRY_FOR_MS);
    this.#requestTimeoutMs = duration('requestTimeoutMs', options.requestTimeoutMs, REQUEST_TIMEOUT_MS);
    this.#idleTimeoutMs = duration('idleTimeoutMs', options.idleTimeoutMs, IDLE_TIMEOUT_MS);
  }

  /**
   * Opens a message. If it exists, this returns it, and counts as a sign of life of its producer. `created` is also false if
   * the message was created by an attempt whose answer was lost.
   *
   * @param options `userId`: the message's owner. `takeover`: fences all earlier producers that send their epoch.
   * @throws RejoinError `message_owned_by_another`; `message_complete` for a takeover of a message that has ended
   */
  async open(id: string, options: CallOptions & { userId: string; takeover?: boolean }): Promise<Message & { created: boolean }> {
    const body = JSON.stringify({ user_id: options.userId, ...(options.takeover ? { takeover: true } : {}) });
    const call: Call = { method: 'PUT', path: path(id), body, type: 'application/json' };
    const answer = await this.#call(call, options.signal);
    return { ...messageOf(answer), created: answer.status === 201 };
  }

  /**
   * Appends events in order, in one request.
   *
   * Retries within a call are recognised by each event's `sequenceNo`, or by an idempotency key. Repeating the call itself is
   * harmless only if every event has a `sequenceNo`.
   *
   * @throws RejoinError `message_not_found`, `message_complete`, `sequence_conflict`, `sequence_gap`, `producer_fenced`,
   * `event_too_large`, `message_too_large`, `invalid_field`. `line` is the position of the refused event, counted from 1:
   * the events before it were appended, those after it were not.
   */
  async append(id: string, events: readonly MessageDraft[], options: ProducerCallOptions = {}): Promise<Appended> {
    if (events.length === 0) return { stop: false, duplicates: 0 };
    return this.appendLines(id, events.map(lineOf), {
      ...options,
      ...(events.every((event) => event.sequenceNo !== undefined) ? {} : { idempotencyKey: crypto.randomUUID() }),
    });
  }

  /**
   * Like {@link append}, for events that are already serialised, one line of JSON each.
   *
   * @param options `idempotencyKey`: makes retries harmless for lines without a number
   */
  async appendLines(
    id: string,
    lines: readonly string[],
    options: ProducerCallOptions & { idempotencyKey?: string } = {},
  ): Promise<Appended> {
    const headers = epochHeader(options.epoch);
    if (options.idempotencyKey !== undefined) headers['Idempotency-Key'] = options.idempotencyKey;
    const body = `${lines.join('\n')}\n`;
    const call: Call = {
      method: 'POST',
      path: `${path(id)}/events?results=failures`,
      body,
      type: 'application/x-ndjson',
      headers,
    };
    return this.#call(call, options.signal, appendedOf);
  }

  /**
   * Ends a message without a terminal event from the producer. Does nothing if the message has ended.
   *
   * @throws RejoinError `message_not_found`, `producer_fenced`
   */
  async end(id: string, options: ProducerCallOptions & { status?: 'complete' | 'failed' } = {}): Promise<void> {
    const body = JSON.stringify({ status: options.status ?? 'complete' });
    const headers = epochHeader(options.epoch);
    await this.#call({ method: 'POST', path: `${path(id)}/end`, body, type: 'application/json', headers }, options.signal);
  }

  /**
   * Reports that the message's producer is alive. Returns whether a stop was requested.
   *
   * @throws RejoinError `message_not_found`, `message_complete`, `producer_fenced`
   */
  async heartbeat(id: string, options: ProducerCallOptions = {}): Promise<{ stop: boolean }> {
    const headers = epochHeader(options.epoch);
    const answer = await this.#call({ method: 'POST', path: `${path(id)}/heartbeat`, headers }, options.signal);
    return { stop: fieldsOf(answer)['stop'] === true };
  }

  /**
   * Asks the message's producer to stop: all its later appends and heartbeats report the request.
   *
   * @throws RejoinError `message_not_found`
   */
  async stop(id: string, options: CallOptions = {}): Promise<void> {
    await this.#call({ method: 'POST', path: `${path(id)}/stop` }, options.signal);
  }

  /** Returns a message, or null if it does not exist. */
  async view(id: string, options: CallOptions = {}): Promise<Message | null> {
    try {
      return messageOf(await this.#call({ method: 'GET', path: path(id) }, options.signal));
    } catch (error) {
      if (hasCode(error, 'message_not_found')) return null;
      throw error;
    }
  }

  /** Removes a message and ends its readers. Returns false if it did not exist. */
  async remove(id: string, options: CallOptions = {}): Promise<boolean> {
    try {
      await this.#call({ method: 'DELETE', path: path(id) }, options.signal);
      return true;
    } catch (error) {
      if (hasCode(error, 'message_not_found')) return false;
      throw error;
    }
  }

  /**
   * Reads a message's events, past and future, until the message ends. If the connection is lost, this reconnects and
   * resumes after the last event. Aborting the signal ends the iteration without an error. That, and leaving the loop, closes
   * the connection.
   *
   * @throws RejoinError `message_not_found`, `message_deleted`, `message_replaced`, `producer_stale`; `unreachable` after
   * `retryForMs` without progress
   */
  async *read(id: string, options: ReadOptions = {}): AsyncGenerator<MessageEvent, void, undefined> {
    const { signal } = options;
    const url = `${path(id)}/events`;
    const patience = new Patience(this.#retryForMs);
    let cursor = options.cursor ?? -1;
    let hasConnected = false;
    while (!signal?.aborted) {
      const link = new Link(signal);
      let openedAt: number | undefined;
      let askedMs: number | undefined;
      let failure: unknown = new Error('the connection was closed before the message ended');
      try {
        const noWait = hasConnected ? undefined : this.#limitWait(id, options.openWaitMs, link);
        let response: Response;
        try {
          response = await this.#open(url, cursor, link);
        } finally {
          noWait?.();
        }
        if (response.status === 204) return;
        hasConnected = true;
        openedAt = performance.now();
        let isGreeting = true;
        for await (const item of this.#items(response, link)) {
          if (signal?.aborted) return;
          if (item.kind === 'retry') {
            if (!isGreeting) askedMs = Math.min(item.ms, LONGEST_ASKED_MS);
            isGreeting = false;
          } else if (item.kind === 'comment') {
            if (item.text === 'message deleted') throw gone(id, 'message_deleted', 'was removed');
          } else {
            const event = eventOf(id, item);
            if (event === undefined || event.sequenceNo <= cursor) continue;
            if (event.sequenceNo !== cursor + 1) throw new Error(`event ${event.sequenceNo} came after ${cursor}`);
            cursor = event.sequenceNo;
            patience.progress();
            yield event;
            if (signal?.aborted) return;
          }
        }
      } catch (error) {
        if (signal?.aborted) return;
        // What aborted the connection says more than the failure that followed from it.
        const cause: unknown = link.signal.aborted ? (link.signal.reason ?? error) : error;
        if (cause instanceof RejoinError && !isTransient(cause)) throw cause;
        failure = cause;
      } finally {
        // Also when the consumer left the loop.
        link.abort();
        link.release();
      }
      if (openedAt !== undefined && performance.now() - openedAt >= LASTING_MS) patience.progress();
      const retryAfterMs = failure instanceof RejoinError ? failure.retryAfterMs : undefined;
      const pauseMs = patience.next(askedMs ?? retryAfterMs);
      if (pauseMs === undefined) throw unreachable(`message ${id} could not be read on after event ${cursor}`, failure);
      await pause(pauseMs, signal);
    }
  }

  /** Aborts the connection if the message still does not exist after that time. Returns a function that cancels the check. */
  #limitWait(id: string, openWaitMs: number | undefined, link: Link): (() => void) | undefined {
    if (openWaitMs === undefined) return undefined;
    return background(openWaitMs, () => {
      this.view(id, { signal: link.signal }).then(
        (message) => message ?? link.abort(gone(id, 'message_not_found', 'does not exist')),
        // The read fails by itself.
        () => undefined,
      );
    });
  }

  /** Opens the stream of events after a cursor. The response's status is 200 or 204. */
  async #open(url: string, cursor: number, link: Link): Promise<Response> {
    const limit = new Link(link.signal, this.#idleTimeoutMs);
    try {
      const headers: Record<string, string> = { ...(await this.#allHeaders()), Accept: 'text/event-stream' };
      if (cursor >= 0) headers['Last-Event-ID'] = String(cursor);
      // The limit applies until the response's head arrives, the link's signal to the whole connection.
      const opening = this.#fetch(this.#base + url, { headers, signal: link.signal, redirect: 'manual' });
      limit.signal.addEventListener('abort', () => limit.timedOut && link.abort(new Error('the server did not answer in time')));
      const response = await opening;
      if (response.status === 200 && response.body !== null) return response;
      if (response.status === 204) return response;
      throw refusal(response.status, jsonOf(await response.text()), { retryAfterMs: retryAfterOf(response) });
    } finally {
      limit.release();
    }
  }

  /** Parses a response's body. Aborts the connection if no byte arrives for too long. */
  async *#items(response: Response, link: Link): AsyncGenerator<SseItem, void, undefined> {
    const reader = response.body!.getReader();
    const [parser, decoder] = [new SseParser(), new TextDecoder()];
    let cancelWatch = () => {};
    try {
      for (;;) {
        cancelWatch = background(this.#idleTimeoutMs, () =>
          link.abort(new Error('the connection delivered no byte for too long')),
        );
        const { done, value } = await reader.read();
        cancelWatch();
        if (done) return;
        yield* parser.push(decoder.decode(value, { stream: true }));
      }
    } finally {
      cancelWatch();
      reader.cancel().catch(() => undefined);
    }
  }

  async #allHeaders(): Promise<Record<string, string>> {
    const token = typeof this.#token === 'function' ? await this.#token() : this.#token;
    return { ...this.#headers, ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) };
  }

  /** Makes a call, and retries it until it succeeds, is refused for good, or the time is up. */
  async #call<T = Answer>(call: Call, signal: AbortSignal | undefined, read?: (answer: Answer) => T): Promise<T> {
    const patience = new Patience(this.#retryForMs);
    let hasRenewedToken = false;
    for (;;) {
      let failure: RejoinError;
      try {
        const answer = await this.#try(call, signal);
        return read ? read(answer) : (answer as T);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof RejoinError)) throw error;
        failure = error;
      }
      // The token may have expired on the way: ask for another one, once.
      const renews = failure.status === 401 && typeof this.#token === 'function' && !hasRenewedToken;
      if (renews) {
        hasRenewedToken = true;
        continue;
      }
      if (!isTransient(failure)) throw failure;
      const pauseMs = patience.next(failure.retryAfterMs);
      if (pauseMs === undefined) throw failure;
      await pause(pauseMs, signal);
      signal?.throwIfAborted();
    }
  }

  async #try(call: Call, signal: AbortSignal | undefined): Promise<Answer> {
    signal?.throwIfAborted();
    const headers: Record<string, string> = { ...(await this.#allHeaders()), ...call.headers };
    if (call.type !== undefined) headers['Content-Type'] = call.type;
    const link = new Link(signal, this.#requestTimeoutMs);
    let response: Response;
    let text: string;
    try {
      const init: RequestInit = { method: call.method, headers, signal: link.signal, redirect: 'manual' };
      if (call.body !== undefined) init.body = call.body;
      response = await this.#fetch(this.#base + call.path, init);
      text = await response.text();
    } catch (cause) {
      signal?.throwIfAborted();
      const what = link.timedOut ? `did not answer within ${this.#requestTimeoutMs} ms` : 'could not be reached';
      throw unreachable(`Rejoin ${what}`, cause);
    } finally {
      link.release();
    }
    if (response.ok) return { status: response.status, text };
    throw refusal(response.status, jsonOf(text), { retryAfterMs: retryAfterOf(response) });
  }
}

/** Returns the client, or makes one of the options. */
export function clientOf(client: RejoinClient | RejoinClientOptions): RejoinClient {
  return client instanceof RejoinClient ? client : new RejoinClient(client);
}

/** Serialises an event as a line of an upload. */
export function lineOf(draft: MessageDraft): string {
  const { sequenceNo, ...fields } = draft;
  return JSON.stringify(sequenceNo === undefined ? fields : { sequence_no: sequenceNo, ...fields });
}

/** Checks an option that is a number of milliseconds. */
export function duration(name: string, value: number | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (!(value >= 0)) throw new TypeError(`\`${name}\` must be a number of milliseconds`);
  // The maximum of timers.
  return Math.min(value, 2 ** 31 - 1);
}

function path(id: string): string {
  if (!isMessageId(id)) {
    throw new TypeError(`${JSON.stringify(id)} is not a message id: 1 to 128 of A-Z, a-z, 0-9, ".", "_", ":", "-"`);
  }
  return id;
}

function epochHeader(epoch: number | undefined): Record<string, string> {
  return epoch === undefined ? {} : { 'Producer-Epoch': String(epoch) };
}

function unreachable(message: string, cause: unknown): RejoinError {
  return new RejoinError(message, { code: 'unreachable', cause });
}

function gone(id: string, code: string, what: string): RejoinError {
  return new RejoinError(`message ${id} ${what}`, { code });
}

function retryAfterOf(response: Response): number | undefined {
  const seconds = response.headers.get('retry-after');
  return seconds !== null && /^\d+$/.test(seconds) ? Number(seconds) * 1_000 : undefined;
}

function fieldsOf(answer: Answer): Record<string, unknown> {
  const fields = jsonOf(answer.text);
  if (isObject(fields)) return fields;
  throw unreachable('the answer does not come from Rejoin', undefined);
}

function messageOf(answer: Answer): Message {
  const fields = fieldsOf(answer);
  return {
    id: String(fields['message_id']),
    userId: String(fields['user_id']),
    status: fields['status'] as MessageStatus,
    epoch: Number(fields['epoch']),
    lastSequenceNo: typeof fields['last_sequence_no'] === 'number' ? fields['last_sequence_no'] : null,
    stop: fields['stop'] === true,
    createdAt: String(fields['created_at']),
    producerSeenAt: String(fields['producer_seen_at']),
    endedAt: typeof fields['ended_at'] === 'string' ? fields['ended_at'] : null,
  };
}

/** Reads the results of an upload. */
function appendedOf(answer: Answer): Appended {
  let stop = false;
  let duplicates: number | undefined;
  for (const text of answer.text.split('\n')) {
    const line = jsonOf(text);
    if (!isObject(line)) continue;
    if (line['success'] === false && typeof line['status'] === 'number') {
      throw refusal(line['status'], line, typeof line['line'] === 'number' ? { line: line['line'] } : {});
    }
    if (line['stop'] === true) stop = true;
    if (typeof line['duplicates'] === 'number') duplicates = line['duplicates'];
  }
  if (duplicates === undefined) throw unreachable('the answer to an append was incomplete', undefined);
  return { stop, duplicates };
}

/** Reads an event of the message. Undefined for a block that only moves the cursor of an `EventSource`. */
function eventOf(
  id: string,
  block: { id: string | undefined; event: string | undefined; data: string },
): MessageEvent | undefined {
  const payload = jsonOf(block.data);
  if (!isObject(payload) || typeof payload['type'] !== 'string') throw new Error('an event is not a JSON object with a type');
  const { type } = payload;
  if (block.id !== undefined && /^\d+$/.test(block.id)) return { sequenceNo: Number(block.id), type, payload };
  if (type === 'error' && payload['code'] === 'producer_stale') {
    const message = typeof payload['error'] === 'string' ? payload['error'] : 'the producer has been silent for too long';
    throw new RejoinError(message, { code: 'producer_stale' });
  }
  if (type === 'backlog.truncated') {
    const isEmpty = isObject(payload['payload']) && payload['payload']['oldest_retained_id'] === null;
    throw isEmpty ? gone(id, 'message_deleted', 'was removed') : gone(id, 'message_replaced', 'was removed and opened again');
  }
  return undefined;
}
