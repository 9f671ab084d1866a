import { EventSource } from 'extended-eventsource';
import { follow, url } from './driver.mjs';

follow(new EventSource(url));
