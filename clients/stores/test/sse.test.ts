import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SseParser, type SseItem } from '../dist/sse.js';

const STREAM = [
  ': connected\r\nretry: 3000\r\ndata: {"a":1}\nid: 0\n\nevent: x\ndata:one\ndata:  two\n\n\n',
  ': \u{1f30d}\rdata\rid: 7\r\rid: 9\n\ndata: last',
].join('');

const ITEMS: SseItem[] = [
  { kind: 'comment', text: 'connected' },
  { kind: 'retry', ms: 3000 },
  { kind: 'event', id: '0', event: undefined, data: '{"a":1}' },
  { kind: 'event', id: undefined, event: 'x', data: 'one\n two' },
  { kind: 'comment', text: '\u{1f30d}' },
  { kind: 'event', id: '7', event: undefined, data: '' },
];

test('a stream is parsed alike, however it is split', () => {
  for (let size = 1; size <= STREAM.length; size++) {
    const parser = new SseParser();
    const items: SseItem[] = [];
    for (let from = 0; from < STREAM.length; from += size) items.push(...parser.push(STREAM.slice(from, from + size)));
    assert.deepEqual(items, ITEMS, `in parts of ${size}`);
  }
});
