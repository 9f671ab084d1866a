import { EventSourcePlus } from 'event-source-plus';
import { reportEvent, url } from './driver.mjs';

new EventSourcePlus(url).listen({ onMessage: ({ event, id, data }) => reportEvent(event, id, data) });
