"""httpx-sse: it does not reconnect by itself, so this does, with the id of the last item."""

import time

import httpx
from httpx_sse import connect_sse

from driver import RETRY_SECONDS, URL, report_event

cursor = ""
with httpx.Client(timeout=None) as client:
    while True:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        try:
            with connect_sse(client, "GET", URL, headers=headers) as source:
                for event in source.iter_sse():
                    cursor = event.id or cursor
                    report_event(event.event, event.id, event.data, event.json)
        except httpx.TransportError:
            pass
        time.sleep(RETRY_SECONDS)
