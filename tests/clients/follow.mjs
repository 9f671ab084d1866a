// Follows a stream with the npm package `eventsource` until standard input ends: node follow.mjs <url> <token>.

import { EventSource } from 'eventsource';
import { watch } from './watch.mjs';

const [url, token] = process.argv.slice(2);
const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
});
watch(source, ['message'], (report) => console.log(JSON.stringify(report)));
process.stdin.resume().on('end', () => source.close());
