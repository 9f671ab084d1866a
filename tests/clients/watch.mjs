// Reports what an EventSource sees: each opening, event and error. In a page and in Node alike.

export function watch(source, types, report) {
  source.addEventListener('open', () => report({ saw: 'open' }));
  source.addEventListener('error', () => report({ saw: 'error', closed: source.readyState === source.CLOSED }));
  for (const type of types) {
    source.addEventListener(type, ({ lastEventId, data }) => report(eventReport(type, lastEventId, data)));
  }
}

// The report of an event. One whose data is no JSON, because it is empty for example, is reported as such.
export function eventReport(type, id, data) {
  try {
    return { saw: 'event', type, id: id ?? '', data: JSON.parse(data) };
  } catch {
    return { saw: 'unreadable', type, data: String(data) };
  }
}
