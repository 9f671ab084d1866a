// Replaces assistant-stream's in-memory store in its own tests.

import { after } from 'node:test';
import type { InMemoryResumableStreamStoreOptions } from 'assistant-stream/resumable';
import { createRejoinResumableStreamStore, type RejoinResumableStreamStore } from '@rejoin/stores/assistant-ui';
import { RejoinServer, freshId } from './support.js';
import { Unsupported } from './vitest.js';

const server = await RejoinServer.start();
after(() => server.stop());

/**
 * Creates a store with its own namespace.
 *
 * The tests assume the timing of a store in memory, where no call takes longer than a turn of the event loop: so `status` and the
 * end of `read` wait for a pending `finalize`, and an expiry waits for a pending `append`. A stream that has expired by the
 * test's clock is deleted.
 */
export function createInMemoryResumableStreamStore(
  options: InMemoryResumableStreamStoreOptions = {},
): RejoinResumableStreamStore & { dispose: () => void } {
  const { maxChunkBytes, now = Date.now, defaultTtlMs = Infinity, ...others } = options;
  const [other] = Object.keys(others);
  if (other !== undefined) throw new Unsupported(`the server has its own limits, not \`${other}\``);
  const store = createRejoinResumableStreamStore({ client: { url: server.url }, keyPrefix: freshId() });
  const seenAt = new Map<string, number>();
  const expire = async (streamId: string) => {
    await appending;
    if (now() - (seenAt.get(streamId) ?? Infinity) >= defaultTtlMs) await store.delete(streamId);
  };
  let appending: Promise<unknown> = Promise.resolve();
  let finalizing: Promise<unknown> = Promise.resolve();
  const finalized = async () => {
    await finalizing;
    await new Promise(setImmediate);
  };
  const made: RejoinResumableStreamStore & { dispose: () => void } = {
    ...store,
    acquire: async (streamId, acquireOptions) => (await made.acquireLease(streamId, acquireOptions)).role,
    acquireLease: async (streamId) => {
      await expire(streamId);
      const acquisition = await store.acquireLease(streamId);
      if (acquisition.role === 'producer') seenAt.set(streamId, now());
      return acquisition;
    },
    append: async (streamId, chunk, lease) => {
      // The tests use this option to make an append fail.
      if (maxChunkBytes !== undefined && chunk.byteLength > maxChunkBytes)
        throw new Error(`Chunk exceeds maxChunkBytes: ${chunk.byteLength}`);
      const [at, result] = [now(), store.append(streamId, chunk, lease)];
      appending = result.then(
        () => seenAt.set(streamId, at),
        () => undefined,
      );
      await result;
    },
    finalize: (...call) => {
      const [at, result] = [now(), store.finalize(...call)];
      finalizing = result.then(
        (isFinal) => isFinal && seenAt.set(call[0], at),
        () => undefined,
      );
      return result;
    },
    async *read(...call) {
      try {
        yield* store.read(...call);
      } finally {
        await finalized();
      }
    },
    status: async (streamId) => {
      await finalized();
      await expire(streamId);
      return store.status(streamId);
    },
    dispose: () => undefined,
  };
  return made;
}
