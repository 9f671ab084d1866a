// A language model for the example: it publishes an answer word by word, as UI message chunks.
// Usage: node model.mjs [chat id]. REJOIN_URL names the server, WORDS_PER_SECOND the pace. It needs no packages.
//
// An application gets the chunks from the AI SDK: `for await (const chunk of result.toUIMessageStream()) await publish(chunk)`.

const server = process.env.REJOIN_URL ?? 'http://127.0.0.1:8080';
const pauseMs = 1000 / Number(process.env.WORDS_PER_SECOND ?? 8);
const id = process.argv[2] ?? crypto.randomUUID();
const url = `${server}/api/messages/${id}`;

const text = `The model goes on when its reader is gone. What it says is kept and numbered, and a page that is loaded in the
  middle of it gets the answer from its first word, follows it to its end, and shows each word once.`.split(/\s+/);

async function call(method, path, body) {
  const response = await fetch(`${url}${path}`, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

// Publishes a chunk. A reader may have asked for a stop: the answer says so.
function publish(chunk, last = false) {
  return call('POST', '/events', { type: chunk.type, payload: chunk, last });
}

await call('PUT', '', { user_id: 'local' });
console.error(`node chat.mjs ${id}`);
await publish({ type: 'start', messageId: `answer-${id}` });
await publish({ type: 'text-start', id: 'text' });
let stop = false;
for (const word of text) {
  ({ stop } = await publish({ type: 'text-delta', id: 'text', delta: `${word} ` }));
  if (stop) break;
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
}
if (stop) {
  await publish({ type: 'abort', reason: 'stopped' }, true);
} else {
  await publish({ type: 'text-end', id: 'text' });
  await publish({ type: 'finish' }, true);
}
