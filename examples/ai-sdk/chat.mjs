// Shows an answer that is under way, as `useChat({ resume: true })` does when a page is loaded.
// Usage: node chat.mjs <chat id>. REJOIN_URL names the server.

import { DefaultChatTransport, readUIMessageStream } from 'ai';

const server = process.env.REJOIN_URL ?? 'http://127.0.0.1:8080';
const transport = new DefaultChatTransport({ api: `${server}/api/chat` });

const stream = await transport.reconnectToStream({ chatId: process.argv[2] });
if (stream === null) {
  console.error('There is nothing to resume: there is no such answer, or it is over.');
  process.exit(1);
}
let shown = 0;
for await (const message of readUIMessageStream({ stream, onError: (error) => console.error(`\n${error.message}`) })) {
  const text = message.parts.map((part) => part.text ?? '').join('');
  process.stdout.write(text.slice(shown));
  shown = text.length;
}
console.log();
