import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import {
  EventType,
  memoryStream,
  replayRunStream,
  resumeHttpResponse,
  resumeServerSentEventsResponse,
  toHttpResponse,
  toServerSentEventsResponse,
  type StreamChunk,
  type StreamDurability,
} from '@tanstack/ai';
import { fetchHttpStream, fetchServerSentEvents } from '@tanstack/ai-client';
import { RejoinClient, RejoinError, messageIdOf } from '@rejoin/stores';
import { rejoinStream, type RejoinStreamOptions } from '@rejoin/stores/tanstack-ai';
import { Proxy, RejoinServer, freshId, source, until } from './support.js';

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

type Source = Request | { runId: string; offset?: string | null };
const make = (from: Source, options: Partial<RejoinStreamOptions> = {}) => rejoinStream(from, { client, ...options });

const delta = (text: string): StreamChunk => ({ type: EventType.TEXT_MESSAGE_CONTENT, messageId: 'm', delta: text });
const started = (runId: string): StreamChunk => ({ type: EventType.RUN_STARTED, runId, threadId: 't' });
const finished = (runId: string, finishReason: 'stop' | 'tool_calls' = 'stop'): StreamChunk => ({
  type: EventType.RUN_FINISHED,
  runId,
  threadId: 't',
  finishReason,
});

const label = (chunk: StreamChunk) => (chunk.type === EventType.TEXT_MESSAGE_CONTENT ? chunk.delta : `[${chunk.type}]`);

async function labelsOf(entries: AsyncIterable<{ chunk: StreamChunk }>, onLabel = (_: string[]) => {}): Promise<string[]> {
  const labels: string[] = [];
  for await (const { chunk } of entries) {
    labels.push(label(chunk));
    onLabel(labels);
  }
  return labels;
}

const post = (headers: Record<string, string>, query = '') =>
  new Request(`https://app.example/api/chat${query}`, { method: 'POST', headers });

// These tests run against TanStack AI's own adapter too, which shows that they test the contract.
const adapters: [string, (from: Source) => StreamDurability][] = [
  ['@tanstack/ai', memoryStream],
  ['@rejoin/stores', make],
];

for (const [name, adapter] of adapters) {
  describe(`the adapter of ${name}`, () => {
    test('every chunk has its own offset, and a read resumes after it', async () => {
      const runId = freshId();
      const producer = adapter(post({ 'X-Run-Id': runId }));
      assert.equal(producer.resumeFrom(), null);
      const offsets = [...(await producer.append([delta('a'), delta('b')])), ...(await producer.append([delta('c')]))];
      await producer.close();
      await producer.close();
      assert.equal(new Set(offsets).size, 3);
      for (const offset of offsets) assert.match(offset, /^[!-~]+$/);
      for (const [n, offset] of offsets.entries()) {
        const reader = adapter(post({ 'X-Run-Id': runId, 'Last-Event-ID': offset }));
        assert.equal(reader.resumeFrom(), offset);
        assert.deepEqual(await labelsOf(reader.read(offset)), ['a', 'b', 'c'].slice(n + 1));
      }
      const again: string[] = [];
      for await (const { offset } of adapter({ runId }).read('-1')) again.push(offset);
      assert.deepEqual(again, offsets);
    });

    test('headers and query parameters name the run and the offset', async () => {
      const runId = freshId();
      const [first] = await adapter(post({ 'X-Run-Id': runId }, '?runId=another')).append([delta('a'), delta('b')]);
      const reader = adapter(post({}, `?runId=${runId}&offset=${encodeURIComponent(first!)}`));
      assert.equal(reader.resumeFrom(), first);
      await adapter({ runId }).close();
      assert.deepEqual(await labelsOf(reader.read(first!)), ['b']);
      assert.equal(adapter(post({ 'X-Run-Id': runId, 'Last-Event-ID': first! }, '?offset=-1')).resumeFrom(), first);
      assert.equal(adapter({ runId, offset: first! }).resumeFrom(), first);
      for (const sentinel of ['-1', 'now'])
        assert.equal(adapter(post({}, `?runId=${runId}&offset=${sentinel}`)).resumeFrom(), sentinel);
    });

    test('a terminal chunk does not end a read, closing the run does', async () => {
      const runId = freshId();
      const producer = adapter({ runId });
      let seen: string[] = [];
      await producer.append([delta('rolling'), finished(runId, 'tool_calls')]);
      const reading = labelsOf(adapter({ runId }).read('-1'), (labels) => (seen = labels));
      await until('the first turn', () => seen.length === 2);
      await producer.append([delta('14'), finished(runId)]);
      await until('the second turn', () => seen.length === 4);
      await producer.close();
      assert.deepEqual(await reading, ['rolling', '[RUN_FINISHED]', '14', '[RUN_FINISHED]']);
    });

    test('the offset `now` skips past chunks', async () => {
      const runId = freshId();
      const producer = adapter({ runId });
      await producer.append([delta('old')]);
      const entries = adapter({ runId }).read('now')[Symbol.asyncIterator]();
      let first: IteratorResult<{ chunk: StreamChunk }> | undefined;
      void entries.next().then((entry) => (first = entry));
      // It is not known when the read has begun.
      await until('a chunk', async () => {
        await producer.append([delta('new')]);
        return first !== undefined;
      });
      assert.equal(label(first!.value!.chunk), 'new');
      await producer.close();
      for (let entry = await entries.next(); !entry.done; entry = await entries.next())
        assert.equal(label(entry.value.chunk), 'new');
    });

    test('an aborted read ends without an error', async () => {
      const runId = freshId();
      await adapter({ runId }).append([delta('a')]);
      const stop = new AbortController();
      const reading = labelsOf(adapter({ runId }).read('-1', stop.signal), () => stop.abort());
      assert.deepEqual(await reading, ['a']);
    });

    test('a missing run makes a read fail, and a snapshot empty', async () => {
      const runId = freshId();
      assert.deepEqual(await adapter({ runId }).snapshot(), []);
      await assert.rejects(labelsOf(adapter({ runId }).read('-1')));
      const other = freshId();
      const [offset] = await adapter({ runId: other }).append([delta('a')]);
      await assert.rejects(labelsOf(adapter({ runId }).read(offset!)));
    });

    test('a snapshot has the stored chunks of an open or closed run', async () => {
      const runId = freshId();
      const producer = adapter({ runId });
      const offsets = await producer.append([delta('a'), delta('b')]);
      const snapshot = await adapter({ runId }).snapshot();
      assert.deepEqual(
        snapshot.map(({ offset }) => offset),
        offsets,
      );
      assert.deepEqual(
        snapshot.map(({ chunk }) => chunk),
        [delta('a'), delta('b')],
      );
      snapshot[0]!.offset = 'spoilt';
      snapshot.length = 1;
      offsets.push(...(await producer.append([delta('c')])));
      await producer.close();
      assert.deepEqual(
        (await adapter({ runId }).snapshot()).map(({ offset }) => offset),
        offsets,
      );
    });

    test('a producer can continue after a snapshot', async () => {
      const runId = freshId();
      await adapter({ runId }).append([delta('a'), delta('b')]);
      const successor = adapter({ runId });
      const stored = await successor.snapshot();
      await successor.append([delta('a'), delta('b'), delta('c')].slice(stored.length));
      await successor.close();
      assert.deepEqual(await labelsOf(adapter({ runId }).read('-1')), ['a', 'b', 'c']);
    });

    test('an empty run, and a run of another producer, can be closed', async () => {
      const [empty, other] = [freshId(), freshId()];
      await adapter({ runId: empty }).close();
      assert.deepEqual(await labelsOf(adapter({ runId: empty }).read('-1')), []);
      await adapter({ runId: other }).append([delta('a')]);
      await adapter({ runId: other }).close();
      assert.deepEqual(await labelsOf(adapter({ runId: other }).read('-1')), ['a']);
    });

    test('invalid ids and offsets are refused', () => {
      for (const runId of ['', 'a\nb', 'a\rb']) assert.throws(() => adapter({ runId }));
      for (const offset of ['another:cursor', 'rejoin:2:x:1', 'rejoin:1:x', 'memory:v1:x']) {
        assert.throws(() => adapter(post({ 'X-Run-Id': 'a', 'Last-Event-ID': offset })), offset);
      }
    });
  });
}

const code = (expected: string) => (error: unknown) => error instanceof RejoinError && error.code === expected;

test('a request must name its run', () => {
  // An offset names a message, but clients must not choose the message by it.
  for (const query of ['', '?offset=-1', '?offset=3', '?offset=rejoin:1:m:3'])
    assert.throws(() => make(post({}, query)), TypeError);
});

test('offsets of other runs are refused, event ids of Rejoin are accepted', async () => {
  const [one, two] = [freshId(), freshId()];
  const [offset] = await make({ runId: one }).append([delta('a'), delta('b')]);
  await make({ runId: two }).append([delta('c')]);
  await assert.rejects(labelsOf(make({ runId: two }).read(offset!)), TypeError);
  await make({ runId: one }).close();
  assert.deepEqual(await labelsOf(make({ runId: one, offset: '0' }).read('0')), ['b']);
});

test('chunks are stored exactly, and can be read from Rejoin directly', async () => {
  const runId = `odd/ID ${freshId()}`;
  const chunks: StreamChunk[] = [
    started(runId),
    delta('a\r\nb\r\0\u2028 \ud83d'),
    { type: EventType.CUSTOM, name: 'x', value: { type: 'y', n: 1e21, list: [null] } },
    finished(runId),
  ];
  const producer = make({ runId });
  await producer.append(chunks);
  await producer.close();
  const read: StreamChunk[] = [];
  for await (const { chunk } of make({ runId }).read('-1')) read.push(chunk);
  assert.deepEqual(read, chunks);
  const raw: unknown[] = [];
  for await (const { payload } of client.read(await messageIdOf(runId))) raw.push(payload);
  assert.deepEqual(raw, [...chunks, { type: 'end' }]);
  await assert.rejects(make({ runId: freshId() }).append(Array<StreamChunk>(2)), TypeError);
});

test('two producers never mix their chunks', async () => {
  const runId = freshId();
  const first = make({ runId });
  await first.append([delta('a')]);
  await assert.rejects(make({ runId }).append([delta('b')]), code('run_exists'));
  // The run changes after the snapshot.
  const outdated = make({ runId });
  await outdated.snapshot();
  await first.append([delta('b')]);
  await assert.rejects(outdated.append([delta('x')]), code('run_exists'));
  await first.append([delta('c')]);
  const successor = make({ runId });
  await successor.snapshot();
  await successor.append([delta('d')]);
  await assert.rejects(first.append([delta('e')]), code('producer_fenced'));
  await assert.rejects(first.close(), code('producer_fenced'));
  await successor.close();
  await assert.rejects(make({ runId }).append([delta('late')]), code('message_complete'));
  assert.deepEqual(await labelsOf(make({ runId }).read('-1')), ['a', 'b', 'c', 'd']);
  // Two producers at the same time.
  const raced = freshId();
  const outcomes = await Promise.allSettled(['x', 'y'].map((text) => make({ runId: raced }).append([delta(text)])));
  assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  const failure = outcomes.find((outcome) => outcome.status === 'rejected') as PromiseRejectedResult;
  assert.ok(code('run_exists')(failure.reason), String(failure.reason));
});

test('a run whose last chunk is an error ends as failed', async () => {
  const runId = freshId();
  const producer = make({ runId });
  await producer.append([{ type: EventType.RUN_ERROR, message: 'broke' }]);
  await producer.close();
  assert.equal((await client.view(await messageIdOf(runId)))?.status, 'failed');
  assert.deepEqual(await labelsOf(make({ runId }).read('-1')), ['[RUN_ERROR]']);
});

test('heartbeats keep a quiet producer alive, and a stale run can be taken over', async () => {
  const hasty = await RejoinServer.start({ MESSAGES__PRODUCER_IDLE_SECONDS: '1' });
  try {
    const [dead, alive] = ['dead', 'alive'];
    const there = (runId: string, options: Partial<RejoinStreamOptions> = {}) =>
      make({ runId }, { client: { url: hasty.url }, ...options });
    await there(dead, { heartbeatMs: 0 }).append([delta('a')]);
    const producer = there(alive, { heartbeatMs: 200 });
    await producer.append([delta('b')]);
    const living = labelsOf(there(alive).read('-1'));
    await assert.rejects(labelsOf(there(dead).read('-1')), code('producer_stale'));
    assert.deepEqual((await there(dead).snapshot()).length, 1);
    const successor = there(dead);
    await successor.snapshot();
    await successor.append([delta('c')]);
    await Promise.all([successor.close(), producer.close()]);
    assert.deepEqual(await labelsOf(there(dead).read('-1')), ['a', 'c']);
    assert.deepEqual(await living, ['b']);
  } finally {
    await hasty.stop();
  }
});

test('a stop request reaches the producer', async () => {
  const [runId, stopped] = [freshId(), [] as string[]];
  const producer = make({ runId }, { onStop: (run) => stopped.push(run) });
  await producer.append([delta('a')]);
  assert.equal(producer.stopSignal.aborted, false);
  await client.stop(await messageIdOf(runId));
  await producer.append([delta('b')]);
  await until('the stop', () => producer.stopSignal.aborted);
  assert.deepEqual(stopped, [runId]);
  await producer.close();
});

test('the responses of TanStack AI deliver and replay a run', async () => {
  for (const [respond, resume] of [
    [toServerSentEventsResponse, resumeServerSentEventsResponse],
    [toHttpResponse, resumeHttpResponse],
  ] as const) {
    const runId = freshId();
    async function* run(): AsyncGenerator<StreamChunk> {
      yield started(runId);
      yield delta('hello');
      yield finished(runId);
    }
    const live = await respond(run(), { durability: { adapter: make(post({ 'X-Run-Id': runId })) } }).text();
    const joined = await resume({ adapter: make(new Request(`https://app.example/?runId=${runId}&offset=-1`)) }).text();
    assert.equal(joined, live);
    assert.match(live, /hello/);
    const replayed: string[] = [];
    for await (const chunk of replayRunStream(make({ runId }))) replayed.push(label(chunk));
    assert.deepEqual(replayed.slice(-3), ['[RUN_STARTED]', 'hello', '[RUN_FINISHED]']);
    assert.equal(resume({ adapter: make(post({ 'X-Run-Id': runId })) }).status, 400);
  }
});

test('the responses of TanStack AI store and replay an error', async () => {
  const runId = freshId();
  async function* run(): AsyncGenerator<StreamChunk> {
    yield started(runId);
    throw new Error('the model broke');
  }
  await toServerSentEventsResponse(run(), { durability: { adapter: make(post({ 'X-Run-Id': runId })) } }).text();
  const joined = await resumeServerSentEventsResponse({ adapter: make({ runId, offset: '-1' }) }).text();
  assert.match(joined, /RUN_ERROR.*the model broke/);
});

/** Serves an application's chat route. */
async function serveChat(
  run: (runId: string) => AsyncIterable<StreamChunk>,
  transport: 'sse' | 'ndjson',
  options: Partial<RejoinStreamOptions>,
) {
  const [respond, resume] =
    transport === 'sse' ? [toServerSentEventsResponse, resumeServerSentEventsResponse] : [toHttpResponse, resumeHttpResponse];
  let runs = 0;
  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const request = new Request(`http://app.example${incoming.url}`, {
      method: incoming.method!,
      headers: incoming.headers as Record<string, string>,
    });
    const adapter = make(request, options);
    if (request.method === 'POST' && adapter.resumeFrom() === null) runs += 1;
    const runId = request.headers.get('X-Run-Id')!;
    const response = request.method === 'POST' ? respond(run(runId), { durability: { adapter, batch: 8 } }) : resume({ adapter });
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    const body = Readable.fromWeb(response.body as import('node:stream/web').ReadableStream);
    outgoing.on('close', () => body.destroy());
    body.on('error', () => outgoing.destroy());
    body.pipe(outgoing);
  };
  const app = createServer((incoming, outgoing) => void answer(incoming, outgoing));
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  const front = await Proxy.start(`http://127.0.0.1:${(app.address() as AddressInfo).port}`);
  const close = async () => {
    await front.stop();
    app.closeAllConnections();
    app.close();
  };
  return { front, close, runs: () => runs };
}

for (const [transport, connect] of [
  ['sse', fetchServerSentEvents],
  ['ndjson', fetchHttpStream],
] as const) {
  test(`the client of TanStack AI continues over connections lost on both sides of the application (${transport})`, async () => {
    const { stream, push, end } = source<string>();
    async function* run(runId: string): AsyncGenerator<StreamChunk> {
      yield started(runId);
      for await (const text of stream as unknown as AsyncIterable<string>) yield delta(text);
      yield finished(runId);
    }
    const chat = await serveChat(run, transport, { client: { url: proxy.url } });
    try {
      const runId = freshId();
      const seen: StreamChunk[] = [];
      const connection = connect(`${chat.front.url}/api/chat`, { reconnect: { delayMs: 10 } });
      const take = async (chunks: AsyncIterable<StreamChunk>, into: StreamChunk[]) => {
        for await (const chunk of chunks) into.push(chunk);
      };
      const first = take(connection.connect([], undefined, undefined, { threadId: 't', runId }), seen);
      await until('the run', () => seen.some((chunk) => chunk.type === EventType.RUN_STARTED));
      const second: StreamChunk[] = [];
      const joining = take(connection.joinRun(runId), second);
      let expected = '';
      const textOf = (chunks: StreamChunk[]) =>
        chunks.map((chunk) => (chunk.type === EventType.TEXT_MESSAGE_CONTENT ? chunk.delta : '')).join('');
      for (let n = 0; n < 4; n++) {
        for (let part = 0; part < 40; part++) {
          expected += `${n}.${part} `;
          push(`${n}.${part} `);
        }
        // A client without an offset cannot resume.
        await until('some of it', () => [seen, second].every((chunks) => textOf(chunks).includes(`${n}.20 `)));
        chat.front.cut();
        proxy.cut();
      }
      end();
      await Promise.all([first, joining]);
      assert.equal(textOf(seen), expected);
      assert.equal(textOf(second), expected);
      assert.equal(chat.runs(), 1);
    } finally {
      await chat.close();
    }
  });
}
