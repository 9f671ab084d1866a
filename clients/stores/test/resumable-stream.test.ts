import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { RejoinClient, RejoinError, messageIdOf } from '@rejoin/stores';
import { createResumableStreamContext, type ResumableStreamContextOptions } from '@rejoin/stores/resumable-stream';
import {
  createResumableStreamContext as createOriginal,
  type Publisher,
  type ResumableStreamContext,
  type Subscriber,
} from 'resumable-stream/generic';
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

const stores = (options: Partial<ResumableStreamContextOptions> = {}) =>
  createResumableStreamContext({ client, waitUntil: null, ...options });

/** A publisher and subscriber in memory, for the original package. */
function pubsub(): Publisher & Subscriber {
  const values = new Map<string, string | number>();
  const channels = new Map<string, (message: string) => void>();
  return {
    connect: async () => undefined,
    publish: async (channel, message) => void queueMicrotask(() => channels.get(channel)?.(message)),
    subscribe: async (channel, callback) => void channels.set(channel, callback),
    unsubscribe: async (channel) => channels.delete(channel),
    set: async (key, value) => void values.set(key, value),
    get: async (key) => values.get(key) ?? null,
    incr: async (key) => {
      const value = Number(values.get(key) ?? 0) + 1;
      if (Number.isNaN(value)) throw new Error('ERR value is not an integer or out of range');
      values.set(key, value);
      return value;
    },
  };
}

const textOf = async (stream: ReadableStream<string> | null | undefined) => (await piecesOf(stream!)).join('');
const never = () => assert.fail('a stream was made');

// These tests run against the original package too, which shows that they test its behaviour.
const contexts: [string, () => ResumableStreamContext][] = [
  [
    'resumable-stream',
    () => {
      const both = pubsub();
      return createOriginal({ waitUntil: null, publisher: both, subscriber: both });
    },
  ],
  ['@rejoin/stores', () => stores({ keyPrefix: freshId() })],
];

for (const [name, make] of contexts) {
  describe(`the context of ${name}`, () => {
    test('the returned stream has the text of the source', async () => {
      const [context, id, { stream, push, end }] = [make(), 'chat', source<string>()];
      const made = await context.resumableStream(id, () => stream);
      push('1\n');
      push('2\r\n');
      end();
      assert.equal(await textOf(made), '1\n2\r\n');
    });

    test('a resumed stream has all text, past and future', async () => {
      const [context, id, { stream, push, end }] = [make(), 'chat', source<string>()];
      const first = await context.resumableStream(id, () => stream);
      push('1\n');
      const second = await context.resumableStream(id, never);
      push('2\n');
      const third = await context.resumeExistingStream(id);
      const late = third!.getReader();
      assert.ok((await late.read()).value!.startsWith('1\n'));
      end();
      late.releaseLock();
      assert.equal(await textOf(second), '1\n2\n');
      assert.equal(await textOf(first), '1\n2\n');
      await textOf(third);
    });

    test('text is delivered while the source is running, in any order of readers', async () => {
      const [context, id, { stream, push, end }] = [make(), 'chat', source<string>()];
      const first = (await context.createNewResumableStream(id, () => stream))!.getReader();
      push('1');
      const second = (await context.resumeExistingStream(id))!.getReader();
      assert.deepEqual(await second.read(), { done: false, value: '1' });
      push('2');
      assert.deepEqual(await second.read(), { done: false, value: '2' });
      assert.deepEqual(await first.read(), { done: false, value: '1' });
      assert.deepEqual(await first.read(), { done: false, value: '2' });
      end();
      for (const reader of [first, second]) assert.deepEqual(await reader.read(), { done: true, value: undefined });
    });

    test('a resumed stream skips characters', async () => {
      const [context, id, { stream, push, end }] = [make(), 'chat', source<string>()];
      const first = await context.resumableStream(id, () => stream);
      push('12');
      push('34');
      const skipped = await Promise.all([0, 1, 2, 3, 4].map((skip) => context.resumeExistingStream(id, skip)));
      push('5');
      end();
      assert.deepEqual(await Promise.all(skipped.map(textOf)), ['12345', '2345', '345', '45', '5']);
      assert.equal(await textOf(first), '12345');
    });

    test('streams with different ids are independent', async () => {
      const [context, one, two] = [make(), source<string>(), source<string>()];
      const streams = [
        await context.resumableStream('1', () => one.stream),
        await context.resumableStream('2', () => two.stream),
      ];
      streams.push((await context.resumeExistingStream('2'))!, (await context.resumeExistingStream('1'))!);
      one.push('one');
      two.push('two');
      one.end();
      two.end();
      assert.deepEqual(await Promise.all(streams.map(textOf)), ['one', 'two', 'two', 'one']);
    });

    test('finished and missing streams are recognised', async () => {
      const [context, id, { stream, push, end }] = [make(), 'chat', source<string>()];
      assert.equal(await context.hasExistingStream(id), null);
      assert.equal(await context.resumeExistingStream(id), undefined);
      const made = await context.createNewResumableStream(id, () => stream);
      assert.equal(await context.hasExistingStream(id), true);
      push('all');
      end();
      assert.equal(await textOf(made), 'all');
      assert.equal(await context.hasExistingStream(id), 'DONE');
      assert.equal(await context.resumeExistingStream(id), null);
      assert.equal(await context.resumableStream(id, never), null);
      assert.equal(await context.hasExistingStream('another'), null);
    });

    test('a new stream replaces an earlier one with the same id', async () => {
      const [context, id, before, { stream, push, end }] = [make(), 'chat', source<string>(), source<string>()];
      const replaced = await context.createNewResumableStream(id, () => before.stream);
      before.push('old');
      before.end();
      assert.equal(await textOf(replaced), 'old');
      const made = await context.createNewResumableStream(id, () => stream);
      const resumed = await context.resumeExistingStream(id);
      push('new');
      end();
      assert.deepEqual(await Promise.all([made, resumed].map(textOf)), ['new', 'new']);
    });

    test('a stream is stored to its end even if the returned stream is cancelled', async () => {
      const [context, id, { stream, push, end }] = [make(), 'chat', source<string>()];
      const made = await context.resumableStream(id, () => stream);
      push('1');
      const reader = made!.getReader();
      await reader.read();
      await reader.cancel();
      const resumed = await context.resumeExistingStream(id);
      push('2');
      end();
      assert.equal(await textOf(resumed), '12');
    });
  });
}

test('any text is stored exactly', async () => {
  const context = stores();
  const texts = [
    'a\r\n\r\nb\rc\n',
    'data: {"x":1}\n\n',
    '\0\u2028\ufeff',
    '\u{1f30d}',
    'half \ud83d',
    '\ude00 half',
    '"\\',
    'x'.repeat(300_000),
  ];
  for (const replayFinished of [false, true]) {
    const [id, { stream, push, end }] = [freshId(), source<string>()];
    const made = await context.createNewResumableStream(id, () => stream);
    const resumed = replayFinished ? undefined : await context.resumeExistingStream(id);
    texts.forEach(push);
    end();
    assert.equal(await textOf(made), texts.join(''));
    assert.equal(await textOf(resumed ?? (await stores({ replayFinished }).resumeExistingStream(id))), texts.join(''));
  }
});

test('`replayFinished` replays a finished stream', async () => {
  const [context, id, { stream, push, end }] = [stores({ replayFinished: true }), freshId(), source<string>()];
  const made = await context.createNewResumableStream(id, () => stream);
  push('123');
  end();
  await textOf(made);
  assert.equal(await context.hasExistingStream(id), 'DONE');
  assert.equal(await textOf(await context.resumeExistingStream(id, 1)), '23');
  assert.equal(await textOf(await context.resumableStream(id, never)), '123');
});

test('of concurrent callers, one makes the stream', async () => {
  const [id, { stream, push, end }] = [freshId(), source<string>()];
  let made = 0;
  const streams = await Promise.all(Array.from({ length: 10 }, () => stores().resumableStream(id, () => ((made += 1), stream))));
  assert.equal(made, 1);
  push('text');
  end();
  for (const text of await Promise.all(streams.map(textOf))) assert.equal(text, 'text');
});

test('a failing source makes all streams fail, and the stream counts as finished', async () => {
  const [context, id, { stream, push, fail }] = [stores({ replayFinished: true }), freshId(), source<string>()];
  const made = await context.createNewResumableStream(id, () => stream);
  const resumed = (await context.resumeExistingStream(id))!.getReader();
  push('1');
  assert.equal((await resumed.read()).value, '1');
  const failure = new Error('the model broke');
  fail(failure);
  await assert.rejects(textOf(made), (error) => error === failure);
  await assert.rejects(
    resumed.read(),
    (error) => error instanceof RejoinError && error.code === 'source_failed' && !error.message.includes('model'),
  );
  await until('its end', async () => (await context.hasExistingStream(id)) === 'DONE');
  await assert.rejects(textOf(await context.resumeExistingStream(id)));
  const broken = freshId();
  await assert.rejects(
    context.createNewResumableStream(broken, () => {
      throw failure;
    }),
    (error) => error === failure,
  );
  assert.equal((await client.view(await messageIdOf(broken)))?.status, 'failed');
});

test('lost connections and answers change nothing', async () => {
  const [id, { stream, push, end }] = [freshId(), source<string>()];
  const context = stores({ client: { url: proxy.url } });
  const made = await context.createNewResumableStream(id, () => stream);
  const resumed = await Promise.all([context.resumeExistingStream(id), context.resumeExistingStream(id)]);
  let text = '';
  for (let n = 0; n < 60; n++) {
    text += `${n};`;
    push(`${n};`);
    if (n % 10 === 3) proxy.cut();
    if (n % 10 === 7) proxy.loseAnswerTo(/POST \S+\/events/);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  end();
  assert.deepEqual(await Promise.all([made, ...resumed].map(textOf)), [text, text, text]);
  assert.ok(proxy.lost > 0);
});

test('text that arrives quickly is batched', async () => {
  const calls: string[] = [];
  const counted: typeof fetch = (input, init) => {
    if (init?.method === 'POST') calls.push(String(init.body));
    return fetch(input, init);
  };
  const [id, { stream, push, end }] = [freshId(), source<string>()];
  for (let n = 0; n < 1_000; n++) push('token ');
  end();
  const made = await stores({ client: { url: server.url, fetch: counted } }).createNewResumableStream(id, () => stream);
  assert.equal(await textOf(made), 'token '.repeat(1_000));
  assert.ok(calls.length < 50, `${calls.length} requests`);
});

test('during an outage the source is buffered up to a limit', async () => {
  const [id, errors, count] = [freshId(), [] as unknown[], 300];
  let pulled = 0;
  const text = (n: number) => `${n}`.padStart(1_000);
  const fast = new ReadableStream<string>({
    pull: (controller) => (pulled < count ? controller.enqueue(text(pulled++)) : controller.close()),
  });
  const waiting: Promise<unknown>[] = [];
  const context = stores({
    client: { url: proxy.url, retryForMs: 1_000 },
    bufferLength: 50_000,
    onError: (_, error) => errors.push(error),
    waitUntil: (promise) => waiting.push(promise),
  });
  const made = await context.createNewResumableStream(id, () => ((proxy.isDown = true), fast));
  const reader = made!.getReader();
  // The returned stream continues while there is room in the buffer.
  for (let n = 0; n < 40; n++) assert.equal((await reader.read()).value, text(n));
  assert.ok(pulled < 110, `${pulled} pulled`);
  assert.equal(errors.length, 0);
  // After the retries have ended it continues without being stored.
  for (let n = 40; n < count; n++) assert.equal((await reader.read()).value, text(n));
  assert.equal((await reader.read()).done, true);
  assert.equal((errors[0] as RejoinError).code, 'unreachable');
  assert.equal(errors.length, 1);
  await Promise.all(waiting);
  proxy.isDown = false;
  // Its message has not ended: it becomes stale.
  assert.equal(await context.hasExistingStream(id), true);
});

test('a stream that is neither stored nor read fails, and its source runs to its end', async () => {
  let pulled = 0;
  const fast = new ReadableStream<string>({
    pull: (controller) => (pulled < 300 ? controller.enqueue(`${pulled++}`.padStart(1_000)) : controller.close()),
  });
  const waiting: Promise<unknown>[] = [];
  const context = stores({
    client: { url: proxy.url, retryForMs: 100 },
    bufferLength: 50_000,
    waitUntil: (promise) => waiting.push(promise),
  });
  const made = await context.createNewResumableStream(freshId(), () => ((proxy.isDown = true), fast));
  await Promise.all(waiting);
  assert.equal(pulled, 300);
  await assert.rejects(textOf(made), (error) => error instanceof RejoinError && error.code === 'unreachable');
  proxy.isDown = false;
});

test('a slow reader continues from the server when the buffer is full', async () => {
  const [id, count] = [freshId(), 300];
  let pulled = 0;
  const text = (n: number) => `${n}`.padStart(1_000);
  const fast = new ReadableStream<string>({
    pull: (controller) => (pulled < count ? controller.enqueue(text(pulled++)) : controller.close()),
  });
  const done: Promise<unknown>[] = [];
  const made = await stores({ bufferLength: 20_000, waitUntil: (promise) => done.push(promise) }).createNewResumableStream(
    id,
    () => fast,
  );
  const reader = made!.getReader();
  assert.equal((await reader.read()).value, text(0));
  await Promise.all(done);
  assert.equal(pulled, count);
  let rest = '';
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) rest += piece.value;
  assert.equal(rest, Array.from({ length: count - 1 }, (_, n) => text(n + 1)).join(''));
});

test('a stop request reaches the source', async () => {
  const [id, stopped] = [freshId(), [] as string[]];
  const { stream, push, end } = source<string>();
  let signal: AbortSignal | undefined;
  const context = stores({ heartbeatMs: 20, onStop: (streamId) => stopped.push(streamId) });
  const made = await context.createNewResumableStream(id, (making) => ((signal = making.signal), stream));
  push('1');
  assert.equal(signal?.aborted, false);
  await client.stop(await messageIdOf(id));
  await until('the stop', () => signal!.aborted);
  assert.deepEqual(stopped, [id]);
  push('stopped');
  end();
  assert.equal(await textOf(made), '1stopped');
});

test('heartbeats keep a quiet producer alive up to the limit, and a stale one makes resumed streams fail', async () => {
  const hasty = await RejoinServer.start({ MESSAGES__PRODUCER_IDLE_SECONDS: '1' });
  try {
    const [quiet, dead] = [source<string>(), source<string>()];
    const options = { client: { url: hasty.url } };
    const lives = await stores({ ...options, heartbeatMs: 200 }).createNewResumableStream('quiet', () => quiet.stream);
    const dies = await stores({ ...options, heartbeatMs: 200, quietLimitMs: 1 }).createNewResumableStream(
      'dead',
      () => dead.stream,
    );
    dead.push('partial');
    const [living, dying] = await Promise.all(['quiet', 'dead'].map((id) => stores(options).resumeExistingStream(id)));
    const resumed = dying!.getReader();
    assert.equal((await resumed.read()).value, 'partial');
    await assert.rejects(resumed.read(), (error) => error instanceof RejoinError && error.code === 'producer_stale');
    assert.equal(await stores(options).hasExistingStream('dead'), true);
    quiet.push('still here');
    quiet.end();
    assert.deepEqual(await Promise.all([lives, living].map(textOf)), ['still here', 'still here']);
    dead.end();
    assert.equal(await textOf(dies), 'partial');
  } finally {
    await hasty.stop();
  }
});

test('cancelling a resumed stream closes its connection', async () => {
  const [id, { stream, push, end }] = [freshId(), source<string>()];
  const made = await stores().createNewResumableStream(id, () => stream);
  proxy.cut();
  const resumed = (await stores({ client: { url: proxy.url } }).resumeExistingStream(id))!.getReader();
  push('1');
  await resumed.read();
  const pending = resumed.read();
  assert.equal(proxy.streams, 1);
  await resumed.cancel();
  assert.equal((await pending).done, true);
  await until('the connection to close', () => proxy.streams === 0);
  end();
  await textOf(made);
});

test('`waitUntil` receives a promise for the end of storing', async () => {
  const [id, { stream, push, end }] = [freshId(), source<string>()];
  const waiting: Promise<unknown>[] = [];
  const context = stores({ waitUntil: (promise) => waiting.push(promise) });
  await context.createNewResumableStream(id, () => stream);
  push('1');
  end();
  assert.equal(waiting.length, 1);
  await waiting[0];
  assert.equal(await context.hasExistingStream(id), 'DONE');
});

test('a producer whose stream was replaced cannot write into the new one', async () => {
  const [id, errors] = [freshId(), [] as unknown[]];
  const [old, young] = [source<string>(), source<string>()];
  const replaced = await stores({ onError: (_, error) => errors.push(error) }).createNewResumableStream(id, () => old.stream);
  const made = await stores().createNewResumableStream(id, () => young.stream);
  // Both producers would write event 1 next.
  old.push('old');
  await until('the refusal', () => errors.length > 0);
  assert.equal((errors[0] as RejoinError).code, 'sequence_conflict');
  young.push('new');
  const resumed = await stores().resumeExistingStream(id);
  old.end();
  young.end();
  assert.deepEqual(await Promise.all([replaced, made, resumed].map(textOf)), ['old', 'new', 'new']);
});
