// What the drivers in Node share: the stream to follow, how to report what is seen, and when to end.

import { eventReport, watch } from '../watch.mjs';

// The stream's URL, and what else this driver is told.
export const [url, option] = process.argv.slice(2);

process.stdin.resume().on('end', () => process.exit());

export function report(seen) {
  console.log(JSON.stringify(seen));
}

// Reports the events of a client that hands all of them to one function.
export function reportEvent(type, id, data) {
  report(eventReport(type || 'message', id, data));
}

// Reports what a client sees that has listeners as an EventSource has.
export function follow(source) {
  watch(source, ['message', 'stream.position', 'backlog.truncated'], report);
}
