"""sseclient: it reconnects by itself when the stream ends, and raises when that fails; asked again, it tries again."""

import json

import requests
from sseclient import SSEClient

from driver import RETRY_SECONDS, URL, report_event

client = SSEClient(URL, retry=RETRY_SECONDS * 1000)
while True:
    try:
        event = next(client)
    except requests.RequestException:
        continue
    report_event(event.event, event.id, event.data, lambda: json.loads(event.data))
