// `@langchain/langgraph-sdk`: runs.joinStream(), which reconnects by itself.

import { Client } from '@langchain/langgraph-sdk/client';

import { run } from './jobs.mjs';

run({
  async follow({ api, id }, report) {
    const client = new Client({ apiUrl: api, apiKey: null });
    for await (const part of client.runs.joinStream('thread-1', id, { streamMode: ['values', 'messages-tuple'] })) {
      report('item', { item: part });
    }
  },
});
