// With tokens: what a service needs to produce and read messages of users.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { RejoinClient, RejoinError } from '@rejoin/stores';
import { createResumableStreamContext } from '@rejoin/stores/resumable-stream';
import { RejoinServer, freshId, piecesOf, source, until } from './support.js';

const SECRET = 'a secret of at least thirty-two bytes';
let server: RejoinServer;

before(async () => {
  server = await RejoinServer.start({ AUTH__MODE: 'jwt', AUTH__JWT__SECRET: SECRET, AUTH__JWT__LEEWAY_SECONDS: '0' });
});
after(() => server.stop());

/** Makes a token that is valid for some seconds. */
function token(claims: { sub?: string; scope?: string }, seconds = 60): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ ...claims, exp: Math.floor(Date.now() / 1_000) + seconds })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

const service = (seconds?: number) =>
  new RejoinClient({ url: server.url, token: () => token({ scope: 'messages:publish messages:read' }, seconds) });

async function typesOf(client: RejoinClient, id: string): Promise<string[]> {
  const types: string[] = [];
  for await (const { type } of client.read(id, { openWaitMs: 50 })) types.push(type);
  return types;
}

test('a service has as many readers as it needs', async () => {
  const [id, { stream, push, end }] = [freshId(), source<string>()];
  const context = createResumableStreamContext({ client: service(), waitUntil: null });
  const created = await context.createNewResumableStream(id, () => stream);
  const resumed = await Promise.all(Array.from({ length: 12 }, () => context.resumeExistingStream(id)));
  push('text');
  end();
  for (const pieces of await Promise.all([created, ...resumed].map((one) => piecesOf(one!)))) assert.deepEqual(pieces, ['text']);
});

test('a message can be read by its owner, and by no other user', async () => {
  const [id, client] = [freshId(), service()];
  await client.open(id, { userId: 'u1' });
  await client.append(id, [{ type: 'end' }]);
  const as = (sub: string) => new RejoinClient({ url: server.url, token: token({ sub }) });
  assert.deepEqual(await typesOf(as('u1'), id), ['end']);
  await assert.rejects(typesOf(as('u2'), id), (error) => error instanceof RejoinError && error.code === 'message_not_found');
  await assert.rejects(as('u1').append(id, [{ type: 'chunk' }]), (error) => error instanceof RejoinError && error.status === 403);
});

test('a read outlives its token', async () => {
  const [id, client] = [freshId(), service()];
  let tokens = 0;
  const reader = new RejoinClient({
    url: server.url,
    token: () => ((tokens += 1), token({ scope: 'messages:read' }, tokens === 1 ? 2 : 60)),
  });
  await client.open(id, { userId: 'u1' });
  const reading = typesOf(reader, id);
  await until('a new token', () => tokens > 1);
  await client.append(id, [{ type: 'end' }]);
  assert.deepEqual(await reading, ['end']);
});
