// node event-source-polyfill.mjs <url> [<the name of the query parameter that carries the cursor>].

import polyfill from 'event-source-polyfill';
import { follow, option, url } from './driver.mjs';

follow(new polyfill.EventSourcePolyfill(url, option ? { lastEventIdQueryParameterName: option } : {}));
