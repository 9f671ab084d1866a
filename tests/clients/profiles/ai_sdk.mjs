// DefaultChatTransport of `ai`. It is given the whole answer at each reconnect, and leaves it to its caller to reconnect.

import { DefaultChatTransport } from 'ai';

import { pause, run } from './jobs.mjs';
import { read } from './ui_messages.mjs';

const LAST = ['finish', 'abort', 'error'];

run({
  // Reads an answer to its end, over as many connections as that takes.
  async follow({ api, id }, report) {
    const transport = new DefaultChatTransport({ api });
    for (;;) {
      try {
        const stream = await transport.reconnectToStream({ chatId: id });
        if (stream === null) return { nothing: true };
        report('begin');
        const seen = await read(stream, report);
        if (LAST.includes(seen.last)) return seen;
      } catch (error) {
        // What fetch throws where a connection fails or ends too early.
        if (!(error instanceof TypeError)) throw error;
      }
      report('cut');
      await pause();
    }
  },
});
