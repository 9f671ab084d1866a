import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AssistantMessageAccumulator, DataStreamDecoder } from 'assistant-stream';
import {
  createInMemoryResumableStreamStore,
  createResumableAssistantStreamResponse,
  createResumableStreamContext,
  createResumeAssistantStreamResponse,
  type ResumableStreamEntry,
  type ResumableStreamStore,
} from 'assistant-stream/resumable';
import { RejoinClient, RejoinError, messageIdOf } from '@rejoin/stores';
import { createRejoinResumableStreamStore, type RejoinResumableStreamStoreOptions } from '@rejoin/stores/assistant-ui';
import { Proxy, RejoinServer, freshId, piecesOf, source, until } from './support.js';

let server: RejoinServer;
let proxy: Proxy;
let client: RejoinClient;

before(async () => {
  server = await RejoinServer.start();
  proxy = await Proxy.start(server.url);
  client = new RejoinClient({ url: server.url });
});
after(async () => {
  await proxy.stop();
  await server.stop();
});

const makeStore = (options: Partial<RejoinResumableStreamStoreOptions> = {}) =>
  createRejoinResumableStreamStore({ client, ...options });

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (chunk: Uint8Array) => new TextDecoder().decode(chunk);
const noSignal = () => new AbortController().signal;
const withCode = (code: string) => (error: unknown) =>
  (error as { code?: string }).code === code && (error as Error).name === 'ResumableStreamError';

async function textsOf(entries: AsyncIterable<ResumableStreamEntry>): Promise<string[]> {
  const texts: string[] = [];
  for await (const { chunk } of entries) texts.push(text(chunk));
  return texts;
}

async function leaseOf(store: ResumableStreamStore, id: string) {
  const acquisition = await store.acquireLease!(id);
  assert.equal(acquisition.role, 'producer');
  return (acquisition as { lease: { token: string } }).lease;
}

// These tests run against the store of assistant-stream too, which shows that they test the interface's contract.
const stores: [string, () => ResumableStreamStore][] = [
  ['assistant-stream', createInMemoryResumableStreamStore],
  ['@rejoin/stores', makeStore],
];

for (const [name, make] of stores) {
  describe(`the store of ${name}`, () => {
    test('the first caller becomes the producer, all later ones are consumers', async () => {
      const [store, id] = [make(), freshId()];
      const roles = await Promise.all([1, 2, 3].map(() => store.acquire(id)));
      assert.deepEqual(roles.sort(), ['consumer', 'consumer', 'producer']);
      await store.finalize(id, 'done');
      assert.equal(await store.acquire(id), 'consumer');
      assert.deepEqual(await store.acquireLease!(id), { role: 'consumer' });
    });

    test('a read returns past chunks and then new ones', async () => {
      const [store, id] = [make(), freshId()];
      await store.acquire(id);
      await store.append(id, bytes('a'));
      const seen: string[] = [];
      const reading = (async () => {
        for await (const { chunk } of store.read(id, '', noSignal())) {
          seen.push(text(chunk));
          if (seen.length === 2) await store.finalize(id, 'done');
        }
      })();
      await store.append(id, bytes('b'));
      await reading;
      assert.deepEqual(seen, ['a', 'b']);
      assert.deepEqual(await textsOf(store.read(id, '', noSignal())), ['a', 'b']);
    });

    test('a read resumes after a cursor', async () => {
      const [store, id] = [make(), freshId()];
      await store.acquire(id);
      for (const part of ['a', 'b', 'c']) await store.append(id, bytes(part));
      await store.finalize(id, 'done');
      const cursors: string[] = [];
      for await (const { cursor } of store.read(id, '', noSignal())) cursors.push(cursor);
      const rest = await Promise.all(cursors.map((cursor) => textsOf(store.read(id, cursor, noSignal()))));
      assert.deepEqual(rest, [['b', 'c'], ['c'], []]);
    });

    test('the status follows the stream', async () => {
      const [store, id, failed] = [make(), freshId(), freshId()];
      assert.equal(await store.status(id), 'missing');
      await Promise.all([store.acquire(id), store.acquire(failed)]);
      assert.equal(await store.status(id), 'streaming');
      assert.equal(await store.finalize(id, 'done'), true);
      assert.equal(await store.status(id), 'done');
      await store.finalize(failed, 'error', 'boom');
      assert.equal(await store.status(failed), 'error');
    });

    test('a stored error is thrown after all chunks', async () => {
      const [store, id] = [make(), freshId()];
      await store.acquire(id);
      await store.append(id, bytes('partial'));
      await store.finalize(id, 'error', 'boom');
      const seen: string[] = [];
      const reading = async (signal: AbortSignal, abort = () => {}) => {
        for await (const { chunk } of store.read(id, '', signal)) {
          seen.push(text(chunk));
          abort();
        }
      };
      await assert.rejects(reading(noSignal()), /boom/);
      // An aborted read does not throw it.
      const left = new AbortController();
      await reading(left.signal, () => left.abort());
      assert.deepEqual(seen, ['partial', 'partial']);
    });

    test('an aborted read ends without an error, and others continue', async () => {
      const [store, id] = [make(), freshId()];
      await store.acquire(id);
      const stop = new AbortController();
      const [one, two] = [
        store.read(id, '', stop.signal)[Symbol.asyncIterator](),
        store.read(id, '', noSignal())[Symbol.asyncIterator](),
      ];
      const pending = [one.next(), two.next()] as const;
      stop.abort();
      assert.equal((await pending[0]).done, true);
      await store.append(id, bytes('x'));
      assert.equal(text((await pending[1]).value!.chunk), 'x');
      await store.finalize(id, 'done');
      assert.equal((await two.next()).done, true);
    });

    test('deleting a stream ends its reads and frees its id', async () => {
      const [store, id] = [make(), freshId()];
      await store.delete(id);
      await store.acquire(id);
      await store.append(id, bytes('x'));
      const seen: string[] = [];
      const reading = (async () => {
        for await (const { chunk } of store.read(id, '', noSignal())) seen.push(text(chunk));
      })();
      await until('what was appended', () => seen.length === 1);
      await store.delete(id);
      await reading;
      assert.equal(await store.status(id), 'missing');
      assert.equal(await store.acquire(id), 'producer');
    });

    test('appending to a missing or finished stream fails', async () => {
      const [store, id] = [make(), freshId()];
      await assert.rejects(store.append(id, bytes('x')), /Stream not found/);
      await assert.rejects(store.finalize(id, 'done'), /Stream not found/);
      await assert.rejects(textsOf(store.read(id, '', noSignal())), /Stream not found/);
      await store.acquire(id);
      await store.finalize(id, 'done');
      assert.equal(await store.finalize(id, 'error', 'late'), false);
      assert.equal(await store.status(id), 'done');
      await assert.rejects(store.append(id, bytes('late')), withCode('finalized'));
      for (const bad of ['', 'a b', 'ä', 'x'.repeat(257)]) await assert.rejects(store.acquire(bad), withCode('invalid-id'));
      assert.equal(await store.acquire(freshId() + 'x'.repeat(200)), 'producer');
    });

    test('stored bytes are independent of the buffers of producers and readers', async () => {
      const [store, id] = [make(), freshId()];
      await store.acquire(id);
      const all = Uint8Array.from({ length: 256 }, (_, n) => n);
      const buffer = all.slice();
      const appended = store.append(id, buffer);
      await appended;
      buffer.fill(0);
      await store.finalize(id, 'done');
      for (let n = 0; n < 2; n++) {
        for await (const { chunk } of store.read(id, '', noSignal())) {
          assert.deepEqual([...chunk], [...all]);
          chunk.fill(0);
        }
      }
    });

    test('a superseded producer cannot write into the new stream', async () => {
      const [store, id] = [make(), freshId()];
      const old = await leaseOf(store, id);
      await store.append(id, bytes('old'), old);
      await store.delete(id);
      const lease = await leaseOf(store, id);
      await store.append(id, bytes('new'), lease);
      await assert.rejects(store.append(id, bytes('stale'), old), withCode('missing'));
      assert.equal(await store.finalize(id, 'done', undefined, old), false);
      assert.equal(await store.status(id), 'streaming');
      assert.equal(await store.finalize(id, 'done', undefined, lease), true);
      assert.equal(await store.finalize(id, 'done', undefined, lease), false);
      await assert.rejects(store.append(id, bytes('stale'), old), withCode('missing'));
      assert.deepEqual(await textsOf(store.read(id, '', noSignal())), ['new']);
      await store.delete(id);
      await assert.rejects(store.finalize(id, 'done', undefined, old), /not found/);
    });
  });
}

test('of several processes, one becomes the producer', async () => {
  const racers = [1, 2].map(() =>
    spawn(process.execPath, [fileURLToPath(new URL('racer.js', import.meta.url)), server.url], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
  try {
    const ids = Array.from({ length: 25 }, freshId);
    const roles: string[] = [];
    for (const { stdout } of racers) createInterface(stdout!).on('line', (line) => roles.push(line));
    // Both processes acquire the same id at the same time.
    for (const id of ids) {
      for (const { stdin } of racers) stdin!.write(`${id}\n`);
      await until('both answers', () => roles.filter((line) => line.startsWith(`${id} `)).length === 2);
    }
    const store = makeStore();
    for (const id of ids) {
      assert.deepEqual(roles.filter((line) => line.startsWith(`${id} `)).sort(), [`${id} consumer`, `${id} producer`]);
      const read = await textsOf(store.read(id, '', noSignal()));
      assert.equal(read.length, 1);
      assert.ok(racers.some(({ pid }) => String(pid) === read[0]));
    }
  } finally {
    for (const racer of racers) racer.kill();
  }
});

test('an acquire whose answer is lost still makes a producer', async () => {
  const store = makeStore({ client: { url: proxy.url } });
  for (const request of [/^PUT /, /"claim"/]) {
    const id = freshId();
    proxy.loseAnswerTo(request);
    const lost = proxy.lost;
    assert.equal(await store.acquire(id), 'producer');
    assert.equal(proxy.lost, lost + 1);
    assert.equal(await makeStore().acquire(id), 'consumer');
  }
});

test('leases are valid across stores', async () => {
  const [one, another, id] = [makeStore(), makeStore(), freshId()];
  const old = await leaseOf(one, id);
  await one.append(id, bytes('1'), old);
  await another.append(id, bytes('2'), old);
  await another.delete(id);
  const lease = await leaseOf(another, id);
  // Both producers would write event 1 next.
  await assert.rejects(one.append(id, bytes('stale'), old), withCode('missing'));
  assert.equal(await one.finalize(id, 'error', 'stale', old), false);
  await another.append(id, bytes('3'), lease);
  await another.finalize(id, 'done', undefined, lease);
  assert.deepEqual(await textsOf(one.read(id, '', noSignal())), ['3']);
});

test('without a lease, another store can continue the stream', async () => {
  const [one, another, id] = [makeStore(), makeStore(), freshId()];
  await one.acquire(id);
  await one.append(id, bytes('1'));
  await another.append(id, bytes('2'));
  // The first store's next number is taken.
  await assert.rejects(one.append(id, bytes('1 again')), withCode('missing'));
  assert.equal(await another.finalize(id, 'done'), true);
  assert.deepEqual(await textsOf(one.read(id, '', noSignal())), ['1', '2']);
});

test('lost connections and answers change nothing, with and without a buffer', async () => {
  for (const bufferLength of [0, 1_000]) {
    const [store, id] = [makeStore({ client: { url: proxy.url }, bufferLength }), freshId()];
    assert.equal(await store.acquire(id), 'producer');
    const readers = [textsOf(store.read(id, '', noSignal())), textsOf(store.read(id, '', noSignal()))];
    for (let n = 0; n < 40; n++) {
      if (n % 10 === 3) proxy.cut();
      if (n % 10 === 7) proxy.loseAnswerTo(/POST \S+\/events/);
      await store.append(id, bytes(`${n}`));
    }
    await store.finalize(id, 'done');
    const expected = Array.from({ length: 40 }, (_, n) => `${n}`);
    assert.deepEqual(await Promise.all(readers), [expected, expected]);
  }
});

test('a chunk larger than an event is split', async () => {
  const [store, id] = [makeStore(), freshId()];
  await store.acquire(id);
  const large = crypto.getRandomValues(new Uint8Array(60_000));
  const chunk = new Uint8Array(1_500_000).map((_, n) => large[n % large.length]!);
  await store.append(id, chunk);
  await store.append(id, new Uint8Array(0));
  await store.finalize(id, 'done');
  const read: Uint8Array[] = [];
  for await (const entry of store.read(id, '', noSignal())) read.push(entry.chunk);
  assert.deepEqual(Buffer.concat(read), Buffer.from(chunk));
});

test('an outage makes append fail, and the stream can be finalized afterwards', async () => {
  const [store, id] = [makeStore({ client: { url: proxy.url, retryForMs: 200 } }), freshId()];
  const lease = await leaseOf(store, id);
  await store.append(id, bytes('1'), lease);
  proxy.isDown = true;
  await assert.rejects(
    store.append(id, bytes('2'), lease),
    (error) => error instanceof RejoinError && error.code === 'unreachable',
  );
  proxy.isDown = false;
  assert.equal(await store.finalize(id, 'error', 'gave up', lease), true);
  await assert.rejects(textsOf(store.read(id, '', noSignal())), /gave up/);
});

test('heartbeats keep a quiet producer alive, and a silent one becomes stale', async () => {
  const hasty = await RejoinServer.start({ MESSAGES__PRODUCER_IDLE_SECONDS: '1' });
  try {
    const options = { client: { url: hasty.url } };
    const [quiet, silent] = [makeStore({ ...options, heartbeatMs: 200 }), makeStore({ ...options, heartbeatMs: 0 })];
    const [lives, dies] = [freshId(), freshId()];
    await Promise.all([quiet.acquire(lives), silent.acquire(dies)]);
    const living = textsOf(quiet.read(lives, '', noSignal()));
    await assert.rejects(
      textsOf(silent.read(dies, '', noSignal())),
      (error) => error instanceof RejoinError && error.code === 'producer_stale',
    );
    assert.equal(await silent.status(dies), 'error');
    assert.equal(await quiet.status(lives), 'streaming');
    // A consumer does not count as a sign of life of the producer.
    assert.equal(await quiet.acquire(dies), 'consumer');
    assert.equal(await silent.status(dies), 'error');
    await quiet.finalize(lives, 'done');
    assert.deepEqual(await living, []);
  } finally {
    await hasty.stop();
  }
});

test('a stop request reaches the producer', async () => {
  const [id, stopped] = [freshId(), [] as string[]];
  const store = makeStore({ onStop: (streamId) => stopped.push(streamId) });
  assert.equal(store.stopSignal(id), undefined);
  await store.acquire(id);
  const signal = store.stopSignal(id)!;
  await store.append(id, bytes('1'));
  assert.equal(signal.aborted, false);
  await client.stop(await messageIdOf(id));
  await store.append(id, bytes('2'));
  assert.equal(signal.aborted, true);
  await until('the callback', () => stopped.length === 1);
  await store.finalize(id, 'done');
  assert.equal(store.stopSignal(id), undefined);
});

test('aborting a read closes its connection', async () => {
  const [id, stop] = [freshId(), new AbortController()];
  await makeStore().acquire(id);
  proxy.cut();
  const reading = textsOf(makeStore({ client: { url: proxy.url } }).read(id, '', stop.signal));
  await until('the connection', () => proxy.streams === 1);
  stop.abort();
  assert.deepEqual(await reading, []);
  await until('the connection to close', () => proxy.streams === 0);
});

test('the responses of assistant-stream deliver and replay an answer over lost connections', async () => {
  const context = createResumableStreamContext({ store: makeStore({ client: { url: proxy.url } }) });
  const streamId = freshId();
  const answer = ['Hel', 'lo ', '\u{1f30d}', '\r\n', 'end'];
  const response = await createResumableAssistantStreamResponse({
    context,
    streamId,
    callback: async (controller) => {
      for (const part of answer) {
        controller.appendText(part);
        proxy.cut();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
  });
  const resumed = await Promise.all([1, 2].map(() => createResumeAssistantStreamResponse({ context, streamId })));
  for (const { body } of [response, ...resumed]) {
    const messages = await piecesOf(body!.pipeThrough(new DataStreamDecoder()).pipeThrough(new AssistantMessageAccumulator()));
    const parts = messages.at(-1)!.parts;
    assert.equal(parts.map((part) => (part.type === 'text' ? part.text : '')).join(''), answer.join(''));
  }
  assert.equal(await context.status(streamId), 'done');
  assert.equal((await createResumeAssistantStreamResponse({ context, streamId: freshId() })).status, 404);
});

test('the context of assistant-stream delivers and replays an error', async () => {
  const tasks: Promise<unknown>[] = [];
  const context = createResumableStreamContext({ store: makeStore(), waitUntil: (task) => tasks.push(task) });
  const [id, { stream, push, fail }] = [freshId(), source<Uint8Array>()];
  const run = (await context.run(id, () => stream)).getReader();
  push(bytes('partial'));
  assert.equal(text((await run.read()).value!), 'partial');
  fail(new Error('the model broke'));
  await assert.rejects(run.read(), /the model broke/);
  await Promise.all(tasks);
  await assert.rejects(piecesOf((await context.resume(id))!), /the model broke/);
});
