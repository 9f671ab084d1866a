import { fetchEventSource } from '@microsoft/fetch-event-source';
import { reportEvent, url } from './driver.mjs';

// It is made for pages, and takes its timers from there.
globalThis.window = globalThis;
fetchEventSource(url, { fetch, openWhenHidden: true, onmessage: ({ event, id, data }) => reportEvent(event, id, data) });
