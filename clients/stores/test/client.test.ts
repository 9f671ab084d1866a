import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RejoinClient, RejoinError, type MessageEvent, type RejoinClientOptions } from '@rejoin/stores';
import { Proxy, RejoinServer, freshId, until } from './support.js';

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

const throughProxy = (options: Partial<RejoinClientOptions> = {}) => new RejoinClient({ url: proxy.url, ...options });

async function opened(events = 0): Promise<string> {
  const id = freshId();
  await client.open(id, { userId: 'u1' });
  await client.append(
    id,
    Array.from({ length: events }, (_, n) => ({ type: 'chunk', payload: { n }, sequenceNo: n })),
  );
  return id;
}

/** Reads a message, and collects its events. */
function follow(reader: RejoinClient, id: string, options: { cursor?: number; signal?: AbortSignal } = {}) {
  const events: MessageEvent[] = [];
  const ended = (async () => {
    for await (const event of reader.read(id, options)) events.push(event);
  })();
  ended.catch(() => undefined);
  return { events, ended };
}

const code = (expected: string) => (error: unknown) => error instanceof RejoinError && error.code === expected;

test('a message can be opened, appended to, read and removed', async () => {
  const id = freshId();
  assert.equal(await client.view(id), null);
  const message = await client.open(id, { userId: 'u1' });
  assert.deepEqual(
    {
      created: message.created,
      status: message.status,
      epoch: message.epoch,
      last: message.lastSequenceNo,
      user: message.userId,
    },
    { created: true, status: 'streaming', epoch: 1, last: null, user: 'u1' },
  );
  assert.equal((await client.open(id, { userId: 'u1' })).created, false);
  const reader = follow(client, id);
  assert.deepEqual(await client.append(id, [{ type: 'chunk', payload: { text: 'a\r\nb\r\0\u2028' } }]), {
    stop: false,
    duplicates: 0,
  });
  await client.append(id, [{ type: 'chunk', payload: 'no object' }, { type: 'end' }], { epoch: 1 });
  await reader.ended;
  assert.deepEqual(reader.events, [
    { sequenceNo: 0, type: 'chunk', payload: { type: 'chunk', text: 'a\r\nb\r\0\u2028' } },
    { sequenceNo: 1, type: 'chunk', payload: { type: 'chunk', payload: 'no object' } },
    { sequenceNo: 2, type: 'end', payload: { type: 'end' } },
  ]);
  const behindTheEnd = follow(client, id, { cursor: 2 });
  await behindTheEnd.ended;
  assert.deepEqual(behindTheEnd.events, []);
  assert.equal((await client.view(id))?.status, 'complete');
  assert.equal(await client.remove(id), true);
  assert.equal(await client.remove(id), false);
});

test('a message can be ended without a terminal event', async () => {
  const id = await opened(1);
  await client.end(id, { status: 'failed' });
  await client.end(id, { status: 'complete' });
  assert.equal((await client.view(id))?.status, 'failed');
  const reader = follow(client, id);
  await reader.ended;
  assert.deepEqual(
    reader.events.map(({ type }) => type),
    ['chunk', 'error'],
  );
});

test('repeated events are duplicates, and a refusal names the position of the event', async () => {
  const id = await opened(3);
  const again = [0, 1, 2, 3].map((n) => ({ type: 'chunk', payload: { n }, sequenceNo: n }));
  assert.deepEqual(await client.append(id, again), { stop: false, duplicates: 3 });
  const conflict = client.append(id, [again[3]!, { type: 'chunk', payload: { n: 9 }, sequenceNo: 2 }]);
  await assert.rejects(
    conflict,
    (error) => code('sequence_conflict')(error) && (error as RejoinError).line === 2 && (error as RejoinError).status === 409,
  );
  const gap = client.append(id, [{ type: 'chunk', sequenceNo: 7 }]);
  await assert.rejects(gap, (error) => code('sequence_gap')(error) && (error as RejoinError).expectedSequenceNo === 4);
});

test('an append whose answer is lost is not applied twice', async () => {
  const id = await opened(1);
  const behind = throughProxy();
  for (const [event, request] of [
    [{ type: 'chunk', payload: { n: 1 } }, /"n":1/],
    [{ type: 'chunk', payload: { n: 2 }, sequenceNo: 2 }, /"n":2/],
  ] as const) {
    const lost = proxy.lost;
    proxy.loseAnswerTo(request);
    assert.deepEqual(await behind.append(id, [event]), { stop: false, duplicates: 1 });
    assert.equal(proxy.lost, lost + 1);
  }
  assert.equal((await client.view(id))?.lastSequenceNo, 2);
});

test('a call is retried while the server is down, for a limited time', async () => {
  proxy.isDown = true;
  const away = throughProxy({ retryForMs: 0 }).view(freshId());
  await assert.rejects(away, code('unreachable'));
  const id = await opened(1);
  const view = throughProxy().view(id);
  const connections = proxy.connections;
  await until('a second attempt', () => proxy.connections > connections + 1);
  proxy.isDown = false;
  assert.equal((await view)?.lastSequenceNo, 0);
});

test('aborting a call throws the reason of the signal', async () => {
  proxy.isDown = true;
  const stop = new AbortController();
  const view = throughProxy().view(freshId(), { signal: stop.signal });
  const reason = new Error('enough');
  stop.abort(reason);
  await assert.rejects(view, (error) => error === reason);
  proxy.isDown = false;
});

test('temporary failures are retried, refusals are not', async () => {
  const answers = [
    new Response('{"success":false,"message":"no","code":"backend_unavailable"}', {
      status: 503,
      headers: { 'Retry-After': '0' },
    }),
    new Response('gateway', { status: 502 }),
    Response.json({ success: true, stop: true }),
  ];
  const calls: Request[] = [];
  const fake = async (input: RequestInfo | URL, init?: RequestInit) => {
    calls.push(new Request(input, init));
    return answers.shift() ?? new Response('<html>', { status: 418 });
  };
  const faked = new RejoinClient({
    url: 'https://rejoin.example/base/',
    fetch: fake,
    token: async () => `t${calls.length}`,
    headers: { 'x-proxy': 'yes' },
  });
  assert.deepEqual(await faked.heartbeat('m', { epoch: 7 }), { stop: true });
  assert.deepEqual(
    calls.map((call) => [
      call.method,
      call.url,
      call.headers.get('authorization'),
      call.headers.get('producer-epoch'),
      call.headers.get('x-proxy'),
    ]),
    [0, 1, 2].map((n) => ['POST', 'https://rejoin.example/base/api/messages/m/heartbeat', `Bearer t${n}`, '7', 'yes']),
  );
  await assert.rejects(faked.stop('m'), (error) => code('http_418')(error) && (error as RejoinError).status === 418);
});

test('an expired token is renewed once', async () => {
  let tokens = 0;
  const fake = async () =>
    tokens < 2 ? new Response('{"code":"token_expired"}', { status: 401 }) : Response.json({ success: true, stop: false });
  await new RejoinClient({ url: 'https://rejoin.example', fetch: fake, token: () => `t${(tokens += 1)}` }).heartbeat('m');
  assert.equal(tokens, 2);
  await assert.rejects(
    new RejoinClient({
      url: 'https://rejoin.example',
      fetch: async () => new Response('', { status: 401 }),
      token: () => 't',
    }).heartbeat('m'),
    code('http_401'),
  );
});

test('invalid ids and options are refused', async () => {
  for (const id of ['', '.', '..', 'a/b', 'a b', 'x'.repeat(129)]) await assert.rejects(client.view(id), TypeError);
  assert.throws(() => new RejoinClient({ url: server.url, token: 'a', key: 'b' }), TypeError);
  assert.throws(() => new RejoinClient({ url: server.url, retryForMs: Number.NaN }), TypeError);
});

test('a read continues over lost connections, without gaps and duplicates', async () => {
  const id = await opened();
  const reader = follow(throughProxy(), id);
  for (let n = 0; n < 30; n++) {
    await client.append(id, [{ type: 'chunk', payload: { n }, sequenceNo: n }]);
    if (n % 6 === 5) {
      await until('the appended event', () => reader.events.length === n + 1);
      proxy.cut();
    } else if (n % 6 === 2) {
      proxy.cut();
    }
  }
  await client.append(id, [{ type: 'end', sequenceNo: 30 }]);
  await reader.ended;
  assert.deepEqual(
    reader.events.map(({ sequenceNo }) => sequenceNo),
    Array.from({ length: 31 }, (_, n) => n),
  );
});

test('a read fails if no connection makes progress', async () => {
  const id = await opened(1);
  const impatient = follow(throughProxy({ retryForMs: 300 }), id);
  await until('its first event', () => impatient.events.length === 1);
  proxy.isDown = true;
  await assert.rejects(impatient.ended, code('unreachable'));
  proxy.isDown = false;
});

test('a read replaces a connection that delivers nothing', async () => {
  const id = await opened(1);
  const reader = follow(throughProxy({ idleTimeoutMs: 300 }), id);
  await until('its first event', () => reader.events.length === 1);
  const { connections } = proxy;
  proxy.isStalled = true;
  await client.append(id, [{ type: 'end', sequenceNo: 1 }]);
  await until('another connection', () => proxy.connections > connections);
  proxy.isStalled = false;
  await reader.ended;
  assert.deepEqual(
    reader.events.map(({ sequenceNo }) => sequenceNo),
    [0, 1],
  );
});

test('leaving or aborting a read closes the connection', async () => {
  const id = await opened(2);
  proxy.cut();
  for await (const event of throughProxy().read(id)) {
    assert.equal(event.sequenceNo, 0);
    assert.equal(proxy.streams, 1);
    break;
  }
  await until('the connection to close', () => proxy.streams === 0);
  const stop = new AbortController();
  const reader = follow(throughProxy(), id, { signal: stop.signal });
  await until('the stored events', () => reader.events.length === 2);
  assert.equal(proxy.streams, 1);
  stop.abort();
  await reader.ended;
  await until('the connection to close', () => proxy.streams === 0);
  await follow(client, id, { signal: AbortSignal.abort() }).ended;
});

test('a slow read misses nothing', async () => {
  const id = await opened();
  const text = 'x'.repeat(200_000);
  for (let n = 0; n < 20; n++) await client.append(id, [{ type: 'chunk', payload: { text }, sequenceNo: n }]);
  await client.append(id, [{ type: 'end', sequenceNo: 20 }]);
  let expected = 0;
  for await (const { sequenceNo } of client.read(id)) {
    assert.equal(sequenceNo, expected++);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(expected, 21);
});

test('a read waits for its message to be opened, for a limited time', async () => {
  const id = freshId();
  const early = follow(client, id);
  await client.open(id, { userId: 'u1' });
  await client.append(id, [{ type: 'end' }]);
  await early.ended;
  assert.equal(early.events.length, 1);
  const none = async () => {
    for await (const event of client.read(freshId(), { openWaitMs: 50 })) assert.fail(event.type);
  };
  await assert.rejects(none(), code('message_not_found'));
});

test('a read fails if its message is removed or replaced', async () => {
  const id = await opened(2);
  const reader = follow(client, id);
  await until('the stored events', () => reader.events.length === 2);
  await client.remove(id);
  await assert.rejects(reader.ended, code('message_deleted'));
  await client.open(id, { userId: 'u1' });
  await client.append(id, [{ type: 'chunk' }]);
  await assert.rejects(follow(client, id, { cursor: 1 }).ended, code('message_replaced'));
});

test('a superseded producer is fenced, and a stop request reaches its successor', async () => {
  const id = await opened(1);
  const { epoch } = await client.open(id, { userId: 'u1', takeover: true });
  assert.equal(epoch, 2);
  await assert.rejects(client.append(id, [{ type: 'chunk' }], { epoch: 1 }), code('producer_fenced'));
  await assert.rejects(client.heartbeat(id, { epoch: 1 }), code('producer_fenced'));
  assert.deepEqual(await client.heartbeat(id, { epoch }), { stop: false });
  await client.stop(id);
  assert.deepEqual(await client.heartbeat(id, { epoch }), { stop: true });
  assert.equal((await client.append(id, [{ type: 'chunk' }], { epoch })).stop, true);
});

test('a silent producer makes reads fail, and their cursor remains valid', async () => {
  const hasty = await RejoinServer.start({ MESSAGES__PRODUCER_IDLE_SECONDS: '1' });
  try {
    const producer = new RejoinClient({ url: hasty.url });
    const id = freshId();
    await producer.open(id, { userId: 'u1' });
    await producer.append(id, [{ type: 'chunk', sequenceNo: 0 }]);
    const reader = follow(producer, id);
    await assert.rejects(reader.ended, code('producer_stale'));
    assert.equal((await producer.view(id))?.status, 'stale');
    await producer.append(id, [{ type: 'end', sequenceNo: 1 }]);
    const again = follow(producer, id, { cursor: reader.events.at(-1)!.sequenceNo });
    await again.ended;
    assert.deepEqual(
      again.events.map(({ type }) => type),
      ['end'],
    );
  } finally {
    await hasty.stop();
  }
});
