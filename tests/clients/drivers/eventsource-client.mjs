import { createEventSource } from 'eventsource-client';
import { reportEvent, url } from './driver.mjs';

createEventSource({ url, onMessage: ({ event, id, data }) => reportEvent(event, id, data) });
