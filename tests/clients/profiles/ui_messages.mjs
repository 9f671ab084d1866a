// Reads a stream of UI message chunks with the AI SDK's own reader.

import { readUIMessageStream } from 'ai';

// Reports each chunk. Gives the last chunk's type, the message that the SDK makes of them all, and the errors that it was shown.
export async function read(stream, report) {
  const [chunks, parts] = stream.tee();
  const errors = [];
  const onError = (error) => errors.push(error.message);
  const reading = (async () => {
    let message = null;
    for await (const next of readUIMessageStream({ stream: parts, onError })) message = next;
    return message;
  })();
  let last = null;
  for await (const chunk of chunks) {
    report('item', { item: chunk });
    last = chunk.type;
  }
  return { last, message: await reading, errors };
}
