/** An item of a stream of Server-Sent Events. */
export type SseItem =
  | { kind: 'comment'; text: string }
  | { kind: 'retry'; ms: number }
  | { kind: 'event'; id: string | undefined; event: string | undefined; data: string };

/**
 * Parses a stream of Server-Sent Events. Unlike an `EventSource` it also returns comments, and an event has an `id` only if
 * its own block contains one.
 */
export class SseParser {
  #rest = '';
  #skipLineFeed = false;
  #id: string | undefined;
  #event: string | undefined;
  #data: string[] = [];

  /** Returns the items that this text completes. */
  push(text: string): SseItem[] {
    const items: SseItem[] = [];
    if (this.#skipLineFeed && text !== '') {
      this.#skipLineFeed = false;
      if (text.startsWith('\n')) text = text.slice(1);
    }
    let from = 0;
    for (const end of text.matchAll(/\r\n|\n|\r/g)) {
      const line = this.#rest + text.slice(from, end.index);
      this.#rest = '';
      from = end.index + end[0].length;
      this.#line(line, items);
    }
    this.#rest += text.slice(from);
    // The line feed of a CRLF may arrive with the next text.
    this.#skipLineFeed = text.endsWith('\r');
    return items;
  }

  #line(line: string, items: SseItem[]): void {
    if (line === '') return this.#dispatch(items);
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    let value = colon === -1 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    switch (field) {
      case '':
        items.push({ kind: 'comment', text: value });
        break;
      case 'data':
        this.#data.push(value);
        break;
      case 'event':
        this.#event = value;
        break;
      case 'id':
        if (!value.includes('\0')) this.#id = value;
        break;
      case 'retry':
        if (/^\d+$/.test(value)) items.push({ kind: 'retry', ms: Number(value) });
        break;
    }
  }

  #dispatch(items: SseItem[]): void {
    const { kind, id, event, data } = { kind: 'event' as const, id: this.#id, event: this.#event, data: this.#data };
    this.#id = undefined;
    this.#event = undefined;
    this.#data = [];
    if (data.length > 0) items.push({ kind, id, event, data: data.join('\n') });
  }
}
