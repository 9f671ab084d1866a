/**
 * A `ResumableStreamStore` for assistant-ui (the package `assistant-stream`), backed by Rejoin.
 *
 * @packageDocumentation
 */
import {
  ResumableStreamError,
  type ResumableStreamAcquireOptions,
  type ResumableStreamAcquisition,
  type ResumableStreamEntry,
  type ResumableStreamLease,
  type ResumableStreamRole,
  type ResumableStreamStatus,
  type ResumableStreamStore,
} from 'assistant-stream/resumable';
import { bytesOf, textOf } from './base64.js';
import { CLAIM, GONE_WAIT_MS, claim, claimOf, newToken, ownerOf, unexpected, type UserIdOption } from './claim.js';
import { clientOf, type RejoinClient, type RejoinClientOptions } from './client.js';
import { RejoinError, hasCode } from './errors.js';
import { messageIdOf } from './ids.js';
import { MessageWriter, type ProducerOptions } from './writer.js';

/** Options of {@link createRejoinResumableStreamStore}. */
export interface RejoinResumableStreamStoreOptions extends ProducerOptions {
  /** A client, or the options to make one. */
  client: RejoinClient | RejoinClientOptions;
  /** Prepended to every stream id, followed by a colon. No prefix by default. */
  keyPrefix?: string;
  /**
   * The user who owns a stream's message, and may read it from Rejoin with their own token. The default, `rejoin-stores`,
   * is no real user, so only this store reads it.
   */
  userId?: UserIdOption;
  /**
   * How many characters of base64 may be unacknowledged before `append` waits. With the default, 0, an append resolves
   * once its chunk is stored. A larger value lets chunks that arrive quickly share a request; a failure is then thrown by a
   * later `append` or by `finalize`.
   */
  bufferLength?: number;
  /**
   * Called when a stop was requested for a stream that this store produces. See also
   * {@link RejoinResumableStreamStore.stopSignal}.
   */
  onStop?: (streamId: string) => void;
}

/** A store that also reports stop requests. */
export interface RejoinResumableStreamStore extends ResumableStreamStore {
  acquireLease(streamId: string, options?: ResumableStreamAcquireOptions): Promise<ResumableStreamAcquisition>;
  finalize(streamId: string, status: 'done' | 'error', error?: string, lease?: ResumableStreamLease): Promise<boolean>;
  /** Aborts when a stop is requested for this stream. Undefined if this store does not produce it. */
  stopSignal(streamId: string): AbortSignal | undefined;
}

/** The type of events that carry bytes, as base64. */
const CHUNK = 'chunk';
/** Most bytes in one event: as base64 they stay well below the server's default limit of 1 MiB. */
const PIECE_BYTES = 384 * 1024;
/** The stream ids that assistant-ui allows. */
const STREAM_ID = /^[A-Za-z0-9_.:-]{1,256}$/;

/** A producer in this process, with the token of its claim, if it made one. */
interface Producer {
  writer: MessageWriter;
  token: string | undefined;
}

/**
 * Creates a store.
 *
 * Its methods throw `ResumableStreamError` as the interface asks for, and `RejoinError` when Rejoin cannot be reached or refuses
 * the call. `ttlMs` is ignored: the server's retention applies.
 *
 * @throws TypeError for invalid options
 */
export function createRejoinResumableStreamStore(options: RejoinResumableStreamStoreOptions): RejoinResumableStreamStore {
  const client = clientOf(options.client);
  const bufferLength = options.bufferLength ?? 0;
  /** The latest producer of each stream that is produced here. */
  const producers = new Map<string, Producer>();

  async function messageOf(streamId: string): Promise<string> {
    if (!STREAM_ID.test(streamId))
      throw new ResumableStreamError('invalid-id', `Invalid streamId: ${streamId} (must match ${STREAM_ID})`);
    return messageIdOf(options.keyPrefix === undefined ? streamId : `${options.keyPrefix}:${streamId}`);
  }

  function producerOf(streamId: string, id: string, epoch: number, nextSequenceNo: number, token: string | undefined): Producer {
    const producer: Producer = {
      token,
      writer: new MessageWriter({
        ...options,
        client,
        id,
        epoch,
        nextSequenceNo,
        ...(token === undefined ? {} : { guard: claimOf(token) }),
        onStop: () => options.onStop?.(streamId),
        onIdle: () => {
          if (producers.get(streamId) === producer) producers.delete(streamId);
        },
      }),
    };
    producers.get(streamId)?.writer.close();
    producers.set(streamId, producer);
    return producer;
  }

  /** The producer in this process that holds the lease, or the latest one if no lease is given. */
  function here(streamId: string, lease: ResumableStreamLease | undefined): Producer | undefined {
    const producer = producers.get(streamId);
    return producer && (lease === undefined || lease.token === producer.token) ? producer : undefined;
  }

  /** Makes a producer that continues after the message's last event. Undefined if the message has ended. */
  async function attach(streamId: string, lease: ResumableStreamLease | undefined): Promise<Producer | undefined> {
    const id = await messageOf(streamId);
    try {
      const message = await client.view(id);
      if (message === null) throw notFound(streamId);
      // Repeating its own claim changes nothing; if another producer holds the claim, this is refused.
      if (lease) await client.append(id, [claimOf(lease.token)], { epoch: message.epoch });
      if (message.endedAt !== null) return undefined;
      return producerOf(streamId, id, message.epoch, (message.lastSequenceNo ?? -1) + 1, lease?.token);
    } catch (error) {
      throw ofStore(streamId, error);
    }
  }

  const store: RejoinResumableStreamStore = {
    async acquire(streamId, acquireOptions): Promise<ResumableStreamRole> {
      return (await store.acquireLease(streamId, acquireOptions)).role;
    },

    async acquireLease(streamId) {
      const id = await messageOf(streamId);
      const token = newToken();
      const { isProducer, message } = await claim(client, id, await ownerOf(options.userId, streamId), token, true);
      if (!isProducer) return { role: 'consumer' };
      producerOf(streamId, id, message.epoch, 1, token);
      return { role: 'producer', lease: { token } };
    },

    async append(streamId, chunk, lease) {
      // No await if the producer is here: appends keep their order, and the bytes are copied before the caller can change them.
      const producer = here(streamId, lease) ?? (await attach(streamId, lease));
      if (!producer) throw finalized(streamId);
      const { writer } = producer;
      let appended: Promise<unknown> = Promise.resolve();
      for (let from = 0; from < chunk.byteLength; from += PIECE_BYTES) {
        appended = writer.append({ type: CHUNK, data: textOf(chunk.subarray(from, from + PIECE_BYTES)) });
      }
      try {
        if (bufferLength === 0) return void (await appended);
        await writer.room(bufferLength);
        if (writer.failure) throw writer.failure.error;
      } catch (error) {
        throw ofStore(streamId, error);
      }
    },

    async finalize(streamId, status, error, lease) {
      const end =
        status === 'done'
          ? { type: 'end' }
          : { type: 'error', payload: { code: 'source_failed', error: error ?? 'Stream errored' } };
      try {
        const producer = here(streamId, lease) ?? (await attach(streamId, lease));
        if (!producer) return false;
        try {
          await producer.writer.append(end);
        } finally {
          producer.writer.close();
        }
        return true;
      } catch (failure) {
        const known = ofStore(streamId, failure);
        if (known instanceof Superseded || (known instanceof ResumableStreamError && known.code === 'finalized')) return false;
        throw known;
      }
    },

    async *read(streamId, cursor, signal): AsyncGenerator<ResumableStreamEntry, void, undefined> {
      const id = await messageOf(streamId);
      if (cursor !== '' && !/^\d+$/.test(cursor)) throw new TypeError(`${JSON.stringify(cursor)} is not a cursor of this store`);
      if (signal.aborted) return;
      const message = await client.view(id);
      if (message === null) throw notFound(streamId);
      const events = client.read(id, { signal, cursor: cursor === '' ? undefined : Number(cursor), openWaitMs: GONE_WAIT_MS });
      try {
        for await (const { sequenceNo, type, payload } of events) {
          if (type === CHUNK && typeof payload['data'] === 'string') {
            yield { cursor: String(sequenceNo), chunk: bytesOf(payload['data']) };
          } else if (type === 'end') {
            return;
          } else if (type === 'error') {
            throw new Error(typeof payload['error'] === 'string' ? payload['error'] : 'Stream errored');
          } else if (type !== CLAIM) {
            throw unexpected(id, `an event of type ${type} is none of a stored stream`);
          }
        }
      } catch (error) {
        // Deleting a stream ends its reads without an error.
        if (!hasCode(error, 'message_deleted', 'message_replaced', 'message_not_found')) throw error;
      }
    },

    async status(streamId): Promise<ResumableStreamStatus> {
      const message = await client.view(await messageOf(streamId));
      if (message === null) return 'missing';
      return { streaming: 'streaming', complete: 'done', failed: 'error', stale: 'error' }[
        message.status
      ] as ResumableStreamStatus;
    },

    async delete(streamId) {
      const id = await messageOf(streamId);
      producers.get(streamId)?.writer.close();
      await client.remove(id);
    },

    stopSignal: (streamId) => producers.get(streamId)?.writer.stopSignal,
  };
  return store;
}

/** Another producer has taken the stream. */
class Superseded extends ResumableStreamError {}

function notFound(streamId: string): ResumableStreamError {
  return new ResumableStreamError('missing', `Stream not found: ${streamId}`);
}

function finalized(streamId: string): ResumableStreamError {
  return new ResumableStreamError('finalized', `Stream already finalized: ${streamId}`);
}

/** Translates a failure to the error that the interface asks for, if it asks for one. */
function ofStore(streamId: string, error: unknown): unknown {
  if (!(error instanceof RejoinError)) return error;
  switch (error.code) {
    case 'message_not_found':
      return Object.assign(notFound(streamId), { cause: error });
    case 'message_complete':
      return Object.assign(finalized(streamId), { cause: error });
    case 'sequence_conflict':
    case 'sequence_gap':
    case 'producer_fenced':
    case 'producer_closed':
      return Object.assign(new Superseded('missing', `Stream superseded by a new acquisition: ${streamId}`), { cause: error });
    default:
      return error;
  }
}
