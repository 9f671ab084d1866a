// A process that acquires streams. Its argument is the server's URL. It reads a stream id per line, and prints the id and its
// role. As a producer it appends its process id and finalizes the stream.

import { createInterface } from 'node:readline';
import { createRejoinResumableStreamStore } from '@rejoin/stores/assistant-ui';

const [url] = process.argv.slice(2) as [string];
const store = createRejoinResumableStreamStore({ client: { url } });
for await (const streamId of createInterface(process.stdin)) {
  const role = await store.acquire(streamId);
  console.log(`${streamId} ${role}`);
  if (role === 'consumer') continue;
  await store.append(streamId, new TextEncoder().encode(String(process.pid)));
  await store.finalize(streamId, 'done');
}
