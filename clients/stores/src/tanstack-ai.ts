/**
 * A durability adapter for TanStack AI (the package `@tanstack/ai`), backed by Rejoin.
 *
 * @packageDocumentation
 */
import type { StreamChunk, StreamDurability } from '@tanstack/ai';
import { GONE_WAIT_MS, ownerOf, unexpected, type UserIdOption } from './claim.js';
import { clientOf, type Message, type MessageEvent, type RejoinClient, type RejoinClientOptions } from './client.js';
import { RejoinError, hasCode, isObject } from './errors.js';
import { isMessageId, messageIdOf } from './ids.js';
import { MessageWriter, type ProducerOptions } from './writer.js';

/** Options of {@link rejoinStream}. */
export interface RejoinStreamOptions extends ProducerOptions {
  /** A client, or the options to make one. */
  client: RejoinClient | RejoinClientOptions;
  /** Prepended to every run id, followed by a colon. No prefix by default. */
  keyPrefix?: string;
  /**
   * The user who owns a run's message, and may read it from Rejoin with their own token. A function receives the run's id.
   * The default, `rejoin-stores`, is no real user, so only this adapter reads it.
   */
  userId?: UserIdOption;
  /**
   * How long a read from the start waits for a run that does not exist yet, in milliseconds. 1,000 by default; at most the
   * server's `messages.open_wait_seconds`.
   */
  openWaitMs?: number;
  /** Called when a stop was requested for this run: abort it. See also {@link RejoinStreamDurability.stopSignal}. */
  onStop?: (runId: string) => void;
}

/** Names a run without a request. */
export interface RejoinStreamInit {
  /** The run's id. */
  runId: string;
  /** The offset to resume after. Null, the default, for a producer. */
  offset?: string | null;
}

/** The adapter for one request. */
export interface RejoinStreamDurability extends StreamDurability {
  /** Aborts when a stop is requested for this run. */
  readonly stopSignal: AbortSignal;
}

/** The offsets that this adapter makes: the run's message and the event's number. */
const OFFSET = /^rejoin:1:([A-Za-z0-9._:-]{1,128}):(\d{1,16})$/;
/** An event id of Rejoin itself, for clients that also read from Rejoin directly. */
const NUMBER = /^\d{1,16}$/;
const OPEN_WAIT_MS = 1_000;

/**
 * Creates the adapter for a request, or for a run that is given by its id.
 *
 * A request names its run in the header `X-Run-Id` or the query parameter `runId`, and its offset in the header `Last-Event-ID`
 * or the query parameter `offset`. Headers take precedence.
 *
 * A new producer is refused with `run_exists` if the run has events, so that two producers never mix their chunks. If it
 * called `snapshot()` before, and the run has not changed since, it takes the run over instead: it continues after the last
 * event, and the earlier producer fails with `producer_fenced`. Methods throw {@link RejoinError}. After an `append` has failed,
 * all later ones fail: only a new adapter can continue the run.
 *
 * @throws TypeError if no run is named, or the offset was not made by this adapter
 */
export function rejoinStream(source: Request | RejoinStreamInit, options: RejoinStreamOptions): RejoinStreamDurability {
  const client = clientOf(options.client);
  const { runId, offset } = 'runId' in source ? { runId: source.runId, offset: source.offset ?? null } : namedBy(source);
  checkRunId(runId);
  if (offset !== null) checkOffset(offset);
  const message = messageIdOf(options.keyPrefix === undefined ? runId : `${options.keyPrefix}:${runId}`);
  // The methods that need the message throw this.
  message.catch(() => undefined);

  const stop = new AbortController();
  let writer: Promise<MessageWriter> | undefined;
  /** The number of the last event that a snapshot showed; -1 without events or snapshot. The producer continues after it. */
  let known = -1;
  let hasFailed = false;
  let closing: Promise<void> | undefined;

  async function open(): Promise<MessageWriter> {
    const id = await message;
    const isKnown = (message: Message | null) => (message?.lastSequenceNo ?? -1) === known;
    if (known >= 0 && !isKnown(await client.view(id))) throw runExists(runId);
    const opened = await client.open(id, { userId: await ownerOf(options.userId, runId), takeover: known >= 0 });
    if (opened.endedAt !== null) throw new RejoinError(`run ${runId} has ended`, { code: 'message_complete' });
    if (!isKnown(opened)) throw runExists(runId);
    return new MessageWriter({
      ...options,
      client,
      id,
      epoch: opened.epoch,
      nextSequenceNo: known + 1,
      onStop: () => {
        stop.abort(new RejoinError('a reader asked the producer to stop', { code: 'stop_requested' }));
        options.onStop?.(runId);
      },
    });
  }

  /** Returns the producer. A failure to open it is not cached. */
  function opened(): Promise<MessageWriter> {
    writer ??= open().catch((error: unknown) => {
      writer = undefined;
      throw error;
    });
    return writer;
  }

  async function end(): Promise<void> {
    if (writer) {
      const producer = await writer;
      try {
        await producer.append({ type: hasFailed ? 'error' : 'end' });
      } catch (error) {
        // A run that has ended is closed.
        if (!hasCode(error, 'message_complete')) throw error;
      } finally {
        producer.close();
      }
      return;
    }
    // This adapter appended nothing: end a run of another producer, or one without chunks.
    const id = await message;
    try {
      await client.end(id);
    } catch (error) {
      if (!hasCode(error, 'message_not_found')) throw error;
      await client.open(id, { userId: await ownerOf(options.userId, runId) });
      await client.end(id);
    }
  }

  const offsetOf = async (sequenceNo: number) => `rejoin:1:${await message}:${sequenceNo}`;

  return {
    stopSignal: stop.signal,

    resumeFrom: () => offset,

    async append(chunks) {
      if (chunks.length === 0) return [];
      const drafts = Array.from(chunks, draftOf);
      const producer = await opened();
      const isFirst = producer.nextSequenceNo === 0;
      try {
        const numbers = await Promise.all(drafts.map((draft) => producer.append(draft)));
        hasFailed = chunks.at(-1)?.type === 'RUN_ERROR';
        return await Promise.all(numbers.map(offsetOf));
      } catch (error) {
        if (isFirst && hasCode(error, 'sequence_conflict')) throw runExists(runId, error);
        throw error;
      }
    },

    async *read(from, signal) {
      const id = await message;
      const cursor = await cursorOf(from, id, client);
      const openWaitMs = from === '-1' || from === 'now' ? (options.openWaitMs ?? OPEN_WAIT_MS) : GONE_WAIT_MS;
      for await (const event of client.read(id, { cursor, signal, openWaitMs })) {
        if (isEnd(event)) return;
        yield { offset: await offsetOf(event.sequenceNo), chunk: chunkOf(id, event) };
      }
    },

    close() {
      closing ??= end().catch((error: unknown) => {
        closing = undefined;
        throw error;
      });
      return closing;
    },

    async snapshot() {
      const id = await message;
      const stored: { offset: string; chunk: StreamChunk }[] = [];
      const last = (await client.view(id))?.lastSequenceNo ?? -1;
      try {
        // All events up to that number are stored, so this does not wait.
        if (last >= 0) {
          for await (const event of client.read(id, { openWaitMs: GONE_WAIT_MS })) {
            if (!isEnd(event)) stored.push({ offset: await offsetOf(event.sequenceNo), chunk: chunkOf(id, event) });
            if (event.sequenceNo >= last) break;
          }
        }
      } catch (error) {
        if (!hasCode(error, 'message_not_found', 'message_deleted')) throw error;
        stored.length = 0;
      }
      known = stored.length === 0 ? -1 : last;
      return stored;
    },
  };
}

function namedBy(request: Request): { runId: string; offset: string | null } {
  const { searchParams } = new URL(request.url);
  const runId = request.headers.get('X-Run-Id') || searchParams.get('runId');
  // The run is not taken from the offset: a client could then name any message of the server.
  if (runId === null)
    throw new TypeError('the request names no run: send the id in the header `X-Run-Id` or the query parameter `runId`');
  return { runId, offset: request.headers.get('Last-Event-ID') || searchParams.get('offset') };
}

function checkRunId(runId: string): void {
  if (runId === '' || /[\r\n]/.test(runId))
    throw new TypeError(`${JSON.stringify(runId)} is not a run id: it must not be empty or contain line breaks`);
}

function checkOffset(offset: string): void {
  const made = OFFSET.exec(offset);
  const isKnown = offset === '-1' || offset === 'now' || NUMBER.test(offset) || (made !== null && isMessageId(made[1]!));
  if (!isKnown) throw new TypeError(`${JSON.stringify(offset)} is not an offset of this adapter`);
}

/** Translates an offset to a cursor. Undefined for the start. */
async function cursorOf(offset: string, id: string, client: RejoinClient): Promise<number | undefined> {
  checkOffset(offset);
  if (offset === '-1') return undefined;
  if (offset === 'now') return (await client.view(id))?.lastSequenceNo ?? undefined;
  if (NUMBER.test(offset)) return Number(offset);
  const [, madeFor, sequenceNo] = OFFSET.exec(offset)!;
  if (madeFor !== id) throw new TypeError(`offset ${offset} belongs to another run`);
  return Number(sequenceNo);
}

/** A chunk becomes an event of the same type, so that clients can also read it from Rejoin directly. */
function draftOf(chunk: StreamChunk | undefined): { type: string; payload: StreamChunk } {
  if (chunk === undefined) throw new TypeError('the array of chunks must not have holes');
  if (isEnd(chunk)) throw new TypeError(`a chunk of type ${chunk.type} would end the run's message`);
  return { type: chunk.type, payload: chunk };
}

/** Whether this event ends a message. AG-UI has no such types. */
function isEnd({ type }: { type: string }): boolean {
  return type === 'end' || type === 'error';
}

function chunkOf(id: string, { type, payload }: MessageEvent): StreamChunk {
  if (!isObject(payload)) throw unexpected(id, `an event of type ${type} is not a chunk`);
  return payload as unknown as StreamChunk;
}

function runExists(runId: string, cause?: unknown): RejoinError {
  const advice = 'use a new id for a new run, or call snapshot() to take this one over';
  return new RejoinError(`run ${runId} has events that this producer does not know: ${advice}`, { code: 'run_exists', cause });
}
