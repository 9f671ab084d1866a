// `@anthropic-ai/sdk`: a stored stream of Messages, read by the client's own reader. It has no cursor: the whole of it again.

import Anthropic, { APIError } from '@anthropic-ai/sdk';
import { MessageStream } from '@anthropic-ai/sdk/lib/MessageStream';

import { pause, run } from './jobs.mjs';

run({
  // Reads a message to `message_stop`, over as many connections as that takes. Reports its words.
  async follow({ api, id }, report) {
    const client = new Anthropic({ apiKey: 'none', baseURL: api, maxRetries: 0 });
    for (;;) {
      try {
        const [events, whole] = (await client.get(`/v1/messages/${id}`, { stream: true })).tee();
        report('begin');
        const message = MessageStream.fromReadableStream(whole.toReadableStream()).finalMessage();
        message.catch(() => {});
        let last = null;
        for await (const event of events) {
          if (event.type === 'content_block_delta') report('item', { item: event.delta.text });
          last = event.type;
        }
        if (last === 'message_stop') return { message: await message };
      } catch (error) {
        // A refusal has a status, and an error event of the stream has a body; a connection that failed has neither.
        if (error instanceof APIError && (error.status || error.error)) throw error;
      }
      report('cut');
      await pause();
    }
  },
});
