import type { RejoinClient } from './client.js';
import { lineOf, type MessageDraft } from './client.js';
import { RejoinError, hasCode } from './errors.js';
import { background } from './time.js';

/** The limits of one request, in events and characters. A single event may be longer. */
const BATCH_EVENTS = 256;
const BATCH_LENGTH = 512 * 1024;

/** Options of producers, common to all stores. */
export interface ProducerOptions {
  /**
   * The interval of heartbeats while nothing is appended, in milliseconds. 30,000 by default; it must be well below the
   * server's `messages.producer_idle_seconds`. 0 disables heartbeats.
   */
  heartbeatMs?: number;
  /**
   * For how long heartbeats are sent without an append, in milliseconds; 900,000 (15 minutes) by default. After that the
   * server counts a producer that hangs, or that never ended its stream, as stale, and reports that to its readers. The
   * next append starts the heartbeats again.
   */
  quietLimitMs?: number;
}

const HEARTBEAT_MS = 30_000;
const QUIET_LIMIT_MS = 900_000;

/** Options of {@link MessageWriter}. */
export interface WriterOptions extends ProducerOptions {
  client: RejoinClient;
  id: string;
  epoch: number;
  /** The number of the next event. */
  nextSequenceNo: number;
  /**
   * An event that was already appended. Every request repeats it first, so that nothing is appended if the message was
   * removed and opened again under the same id.
   */
  guard?: MessageDraft & { sequenceNo: number };
  /** Called once, when a stop was requested. */
  onStop?: (() => void) | undefined;
  /** Called when the writer was closed, failed, or reached `quietLimitMs`. */
  onIdle?: (() => void) | undefined;
}

interface Pending {
  sequenceNo: number;
  line: string;
  /** Takes the error, if the append failed. */
  done: (...failure: [] | [unknown]) => void;
}

/**
 * The producer of one message. It numbers events, sends those that are waiting in one request, and sends heartbeats while
 * nothing is appended.
 *
 * Events are appended in the order of the calls. After a failure, all later appends fail with the same error.
 */
export class MessageWriter {
  readonly #options: WriterOptions;
  readonly #guard: string | undefined;
  readonly #heartbeatMs: number;
  readonly #quietLimitMs: number;
  readonly #stop = new AbortController();
  readonly #closed = new AbortController();
  #next: number;
  #waiting: Pending[] = [];
  #length = 0;
  #isSending = false;
  #failure: { error: unknown } | undefined;
  #lastAppend = performance.now();
  /** When the server last heard of this producer. */
  #lastSign = performance.now();
  #cancelHeartbeat = () => {};
  /** Whether heartbeats are suspended, after `quietLimitMs`. */
  #isQuiet = false;
  #changed: (() => void)[] = [];

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#guard = options.guard && lineOf(options.guard);
    this.#next = options.nextSequenceNo;
    this.#heartbeatMs = options.heartbeatMs ?? HEARTBEAT_MS;
    this.#quietLimitMs = options.quietLimitMs ?? QUIET_LIMIT_MS;
    this.#scheduleHeartbeat();
  }

  /** Aborts when a stop is requested. */
  get stopSignal(): AbortSignal {
    return this.#stop.signal;
  }

  /** The error that all appends fail with, if there is one. */
  get failure(): { error: unknown } | undefined {
    return this.#failure;
  }

  /**
   * Appends an event. Resolves with its number once the server has acknowledged it. The promise may be ignored: it causes no
   * unhandled rejection.
   */
  append(draft: Omit<MessageDraft, 'sequenceNo'>): Promise<number> {
    if (this.#failure) return quietly(Promise.reject(this.#failure.error));
    const sequenceNo = this.#next;
    const line = lineOf({ ...draft, sequenceNo });
    this.#next += 1;
    this.#length += line.length;
    this.#lastAppend = performance.now();
    if (this.#isQuiet) {
      this.#isQuiet = false;
      this.#lastSign = this.#lastAppend;
      this.#scheduleHeartbeat();
    }
    const appended = new Promise<number>((resolve, reject) => {
      const done = (...failure: [] | [unknown]) => (failure.length === 0 ? resolve(sequenceNo) : reject(failure[0]));
      this.#waiting.push({ sequenceNo, line, done });
    });
    // Events that are appended synchronously share a request.
    if (!this.#isSending) {
      this.#isSending = true;
      queueMicrotask(() => void this.#send());
    }
    return quietly(appended);
  }

  /** The number of the next event. */
  get nextSequenceNo(): number {
    return this.#next;
  }

  /** How many characters are not acknowledged yet. */
  get length(): number {
    return this.#length;
  }

  /** Waits until fewer than `length` characters are unacknowledged, or the writer has failed. */
  async room(length: number): Promise<void> {
    while (this.#length >= length && !this.#failure) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }

  /** Stops the heartbeats, and discards what has not been sent. */
  close(): void {
    this.#fail(new RejoinError('the producer was closed', { code: 'producer_closed' }));
  }

  async #send(): Promise<void> {
    const { client, id, epoch } = this.#options;
    while (this.#waiting.length > 0) {
      const batch = this.#batch();
      const lines = batch.map((pending) => pending.line);
      if (this.#guard !== undefined) lines.unshift(this.#guard);
      const outcome: [] | [unknown] = await client.appendLines(id, lines, { epoch, signal: this.#closed.signal }).then(
        ({ stop }) => {
          if (stop) this.#stopped();
          return [];
        },
        (error: unknown) => [this.#fail(error)],
      );
      this.#lastAppend = this.#lastSign = performance.now();
      for (const { line, done } of batch) {
        this.#length -= line.length;
        done(...outcome);
      }
      this.#wake();
    }
    this.#isSending = false;
  }

  #batch(): Pending[] {
    let length = 0;
    let count = 0;
    for (const { line } of this.#waiting) {
      length += line.length;
      if (count > 0 && (count === BATCH_EVENTS || length > BATCH_LENGTH)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  /** Makes all appends fail. Returns the error that they fail with: that of the first failure. */
  #fail(error: unknown): unknown {
    if (this.#failure) return this.#failure.error;
    this.#failure = { error };
    this.#cancelHeartbeat();
    this.#closed.abort();
    for (const { line, done } of this.#waiting.splice(0)) {
      this.#length -= line.length;
      done(error);
    }
    this.#wake();
    this.#options.onIdle?.();
    return error;
  }

  #wake(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }

  #stopped(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(new RejoinError('a reader asked the producer to stop', { code: 'stop_requested' }));
    // An exception of the callback must not look like a failure of the append.
    queueMicrotask(() => this.#options.onStop?.());
  }

  #scheduleHeartbeat(): void {
    if (this.#heartbeatMs === 0 || this.#failure) return;
    const dueMs = Math.max(1, this.#lastSign + this.#heartbeatMs - performance.now());
    this.#cancelHeartbeat = background(dueMs, () => void this.#heartbeat());
  }

  async #heartbeat(): Promise<void> {
    const { client, id, epoch } = this.#options;
    const now = performance.now();
    const quietMs = now - this.#lastAppend;
    if (quietMs >= this.#quietLimitMs && !this.#isSending) {
      this.#isQuiet = true;
      this.#options.onIdle?.();
      return;
    }
    if (now - this.#lastSign >= this.#heartbeatMs && !this.#isSending) {
      try {
        const { stop } = await client.heartbeat(id, { epoch, signal: this.#closed.signal });
        if (stop) this.#stopped();
      } catch (error) {
        // Other failures may be temporary: try again at the next interval.
        if (hasCode(error, 'message_not_found', 'message_complete', 'producer_fenced')) this.#fail(error);
      }
      this.#lastSign = performance.now();
    }
    this.#scheduleHeartbeat();
  }
}

/** Prevents an unhandled rejection if the promise is ignored. */
function quietly<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
