// WorkflowChatTransport of `@ai-sdk/workflow`, with an application that opens the message and passes its stream on.

import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { WorkflowChatTransport } from '@ai-sdk/workflow/client';

import { pause, run } from './jobs.mjs';
import { read } from './ui_messages.mjs';

// The transport logs each cut with all that it knows of it.
console.error = (what, error) => process.stderr.write(`${what}: ${String(error).split('\n')[0]}\n`);

// The application: a POST opens the run's message and is answered with its stream, for as long as that lasts.
async function application(server, api, run) {
  const http = createServer(async (request, response) => {
    const opened = await fetch(`${server}/api/messages/${run}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user_id: 'local' }),
    });
    response.writeHead(opened.ok ? 200 : 500, { 'content-type': 'text/event-stream', 'x-workflow-run-id': run });
    response.flushHeaders();
    try {
      const stream = await fetch(`${api}/${run}/stream`);
      await pipeline(Readable.fromWeb(stream.body), response);
    } catch {
      response.destroy();
    }
  });
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${http.address().port}`;
}

// Asks again until there is an answer: where a reconnect finds no server, the transport gives up.
async function patientFetch(url, init) {
  for (;;) {
    try {
      return await fetch(url, init);
    } catch {
      await pause();
    }
  }
}

// A transport that records which chunk each of its reconnects asks for.
function transport(asked, options) {
  return new WorkflowChatTransport({
    fetch: (url, init) => {
      if (init.method !== 'POST') asked.push(Number(new URL(url).searchParams.get('startIndex')));
      return patientFetch(url, init);
    },
    ...options,
  });
}

run({
  // Sends a message to the application and reads the answer; the transport reconnects by itself.
  async send({ server, api, id, options }, report) {
    const asked = [];
    const chat = transport(asked, {
      api: await application(server, api, id),
      prepareReconnectToStreamRequest: () => ({ api: `${api}/${id}/stream` }),
      ...options,
    });
    const stream = await chat.sendMessages({ trigger: 'submit-message', chatId: 'chat-1', messages: [] });
    return { ...(await read(stream, report)), asked };
  },
  // Reads a run that is under way, from a chunk that may be counted from the end.
  async reconnect({ api, id, startIndex, options }, report) {
    const asked = [];
    const stream = await transport(asked, { api, ...options }).reconnectToStream({ chatId: id, startIndex });
    return { ...(await read(stream, report)), asked };
  },
});
