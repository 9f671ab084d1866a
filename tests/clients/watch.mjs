// Tells what an EventSource sees: one report for each opening, event and error. In a page and in Node alike.

export function watch(source, types, report) {
  source.addEventListener('open', () => report({ saw: 'open' }));
  source.addEventListener('error', () => report({ saw: 'error', closed: source.readyState === source.CLOSED }));
  for (const type of types) {
    source.addEventListener(type, ({ lastEventId, data }) => report({ saw: 'event', type, id: lastEventId, data: JSON.parse(data) }));
  }
}
