// `openai` for Node: responses.retrieve() with `starting_after`. It leaves it to its caller to retrieve again.

import OpenAI, { APIError } from 'openai';

import { pause, run } from './jobs.mjs';

const LAST = ['response.completed', 'response.failed', 'response.incomplete'];

run({
  // Reads a response to its last event, over as many connections as that takes.
  async follow({ api, id }, report) {
    const client = new OpenAI({ apiKey: 'none', baseURL: api, maxRetries: 0 });
    let after;
    for (;;) {
      try {
        for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: after })) {
          report('item', { item: event });
          if (LAST.includes(event.type)) return {};
          after = event.sequence_number;
        }
      } catch (error) {
        // A refusal has a status, and an error event of the stream has a body; a connection that failed has neither.
        if (error instanceof APIError && (error.status || error.error)) throw error;
      }
      report('cut');
      await pause();
    }
  },
});
