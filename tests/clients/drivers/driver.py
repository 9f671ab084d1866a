"""What the drivers in Python share: the stream to follow, how to report what is seen, and when to end."""

import json
import os
import sys
import threading

URL = sys.argv[1]
RETRY_SECONDS = 0.05

# Some clients print: that is not for who reads our reports.
_reports, sys.stdout = sys.stdout, sys.stderr


def _end_with_standard_input():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=_end_with_standard_input, daemon=True).start()


def report_event(event_type, event_id, data, parse):
    """Reports an event; `parse` gives its data as JSON."""
    try:
        seen = {"saw": "event", "type": event_type, "id": event_id or "", "data": parse()}
    except ValueError:
        seen = {"saw": "unreadable", "type": event_type, "data": str(data)}
    print(json.dumps(seen), file=_reports, flush=True)
