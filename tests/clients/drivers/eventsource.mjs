// `eventsource`, in any of its versions: node eventsource.mjs <url> <package>.

import { follow, option, url } from './driver.mjs';

const { EventSource, default: EventSourceOfVersion2 } = await import(option);
follow(new (EventSource ?? EventSourceOfVersion2)(url));
