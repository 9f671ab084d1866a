import { EventSource } from 'launchdarkly-eventsource';
import { follow, url } from './driver.mjs';

follow(new EventSource(url, { initialRetryDelayMillis: 50 }));
