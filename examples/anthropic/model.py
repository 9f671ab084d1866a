"""A language model for the example: it publishes the events of an Anthropic message, word by word.

Usage: model.py [message id]. REJOIN_URL names the server, WORDS_PER_SECOND the pace. It needs no packages.

An application gets the events from the provider: `for event in client.messages.create(..., stream=True): publish(event.to_dict())`.
"""

import json
import os
import sys
import time
import urllib.request
import uuid

SERVER = os.environ.get("REJOIN_URL", "http://127.0.0.1:8080")
PAUSE_SECONDS = 1 / float(os.environ.get("WORDS_PER_SECOND", "8"))
ID = sys.argv[1] if len(sys.argv) > 1 else f"msg_{uuid.uuid4().hex}"
TEXT = """The model goes on when its reader is gone. What it says is kept, and a client that comes in the middle of it, or
later, reads the whole message with the client that it has already."""


def call(method, path, body):
    request = urllib.request.Request(f"{SERVER}/api/messages/{ID}{path}", json.dumps(body).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def publish(event_type, **event):
    """Publishes an event. A reader may have asked for a stop: the answer says so."""
    last = event_type in ("message_stop", "error")
    return call("POST", "/events", {"type": event_type, "payload": {"type": event_type, **event}, "last": last})["stop"]


call("PUT", "", {"user_id": "local"})
print(f"read.py {ID}", file=sys.stderr)
message = {"id": ID, "type": "message", "role": "assistant", "model": "slow-speaker", "content": [], "stop_reason": None,
           "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
publish("message_start", message=message)
publish("content_block_start", index=0, content_block={"type": "text", "text": ""})
words = 0
for word in TEXT.split():
    words += 1
    if publish("content_block_delta", index=0, delta={"type": "text_delta", "text": f"{word} "}):
        break
    time.sleep(PAUSE_SECONDS)
publish("content_block_stop", index=0)
publish("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": words})
publish("message_stop")
