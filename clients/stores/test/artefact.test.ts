// Installs what npm would publish, and compiles and runs a program that uses it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { PACKAGE, RejoinServer } from './support.js';

const run = promisify(execFile);

const PROGRAM = `
import { createResumableStreamContext as createAssistantContext, type ResumableStreamStore } from 'assistant-stream/resumable';
import { EventType, replayRunStream, type StreamChunk, type StreamDurability } from '@tanstack/ai';
import { RejoinClient, RejoinError, messageIdOf, type Message } from '@rejoin/stores';
import { createRejoinResumableStreamStore } from '@rejoin/stores/assistant-ui';
import { createResumableStreamContext, type ResumableStreamContext } from '@rejoin/stores/resumable-stream';
import { rejoinStream } from '@rejoin/stores/tanstack-ai';

const client = new RejoinClient({ url: process.argv[2]! });

const context: ResumableStreamContext = createResumableStreamContext({ client, waitUntil: null, replayFinished: true });
const textStream = () => new ReadableStream<string>({ start: (controller) => (controller.enqueue('text'), controller.close()) });
const created: ReadableStream<string> | null = await context.createNewResumableStream('text/1', textStream);
for await (const _ of created!) ;
let text = '';
for await (const part of (await context.resumeExistingStream('text/1'))!) text += part;

const store: ResumableStreamStore = createRejoinResumableStreamStore({ client });
const byteStream = () =>
  new ReadableStream<Uint8Array>({ start: (controller) => (controller.enqueue(new Uint8Array([1, 2, 3])), controller.close()) });
const bytes = new Uint8Array(await new Response(await createAssistantContext({ store }).run('bytes', byteStream)).arrayBuffer());

const durability: StreamDurability = rejoinStream({ runId: 'run' }, { client });
await durability.append([{ type: EventType.TEXT_MESSAGE_CONTENT, messageId: 'm', delta: 'chunk' }]);
await durability.close();
const chunks: StreamChunk[] = [];
for await (const chunk of replayRunStream(durability)) chunks.push(chunk);

const message: Message | null = await client.view(await messageIdOf('text/1'));
const refused: unknown = await client.stop('none').catch((error: unknown) => error);
const refusal = refused instanceof RejoinError && refused.code;
console.log(JSON.stringify({ text, bytes: [...bytes], chunks, status: message?.status, refusal }));
`;

const CONFIG = {
  compilerOptions: {
    target: 'es2022',
    module: 'nodenext',
    strict: true,
    exactOptionalPropertyTypes: true,
    types: ['node'],
    outDir: 'out',
  },
  files: ['program.ts'],
};

test('the packed package compiles in strict mode, and works', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'rejoin-stores-'));
  const server = await RejoinServer.start();
  t.after(async () => {
    await server.stop();
    rmSync(directory, { recursive: true });
  });
  const npm = (...command: string[]) => run('npm', [...command, '--offline', '--no-audit', '--no-fund'], { cwd: directory });
  const packed = JSON.parse((await npm('pack', PACKAGE, '--ignore-scripts', '--json')).stdout) as unknown;
  const [{ filename, files }] = Object.values(packed as Record<string, { filename: string; files: { path: string }[] }>) as [
    { filename: string; files: { path: string }[] },
  ];
  const paths = files.map(({ path }) => path);
  for (const path of ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'package.json']) assert.ok(paths.includes(path), path);
  for (const path of paths) assert.match(path, /^(dist\/[a-z0-9-]+\.(js|d\.ts)|LICENSE-\w+|README\.md|package\.json)$/);

  writeFileSync(join(directory, 'package.json'), '{"private":true,"type":"module"}');
  await npm('install', `./${filename}`);
  // The frameworks, as an application would install them.
  for (const name of ['assistant-stream', '@tanstack/ai', '@types/node', 'undici-types']) {
    const link = join(directory, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(PACKAGE, 'node_modules', name), link);
  }
  writeFileSync(join(directory, 'program.ts'), PROGRAM);
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(CONFIG));
  const typed = await run(process.execPath, [join(PACKAGE, 'node_modules/typescript/bin/tsc'), '-p', directory]).catch(
    (error: { stdout: string }) => error,
  );
  assert.equal(typed.stdout, '');
  const { stdout } = await run(process.execPath, [join(directory, 'out/program.js'), server.url]);
  assert.deepEqual(JSON.parse(stdout), {
    text: 'text',
    bytes: [1, 2, 3],
    chunks: [{ type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta: 'chunk' }],
    status: 'complete',
    refusal: 'message_not_found',
  });

  const { version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8')) as { version: string };
  const workspace = readFileSync(join(PACKAGE, '../../Cargo.toml'), 'utf8');
  assert.equal(version, /^version = "(.*)"$/m.exec(workspace)?.[1]);
});
