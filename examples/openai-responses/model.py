"""A language model for the example: it publishes the events of an OpenAI response, word by word.

Usage: model.py [response id]. REJOIN_URL names the server, WORDS_PER_SECOND the pace. It needs no packages.

An application gets the events from the provider: `for event in client.responses.create(..., stream=True): publish(event.to_dict())`,
and publishes all of them from the first: their numbers are then the server's.
"""

import json
import os
import sys
import time
import urllib.request
import uuid

SERVER = os.environ.get("REJOIN_URL", "http://127.0.0.1:8080")
PAUSE_SECONDS = 1 / float(os.environ.get("WORDS_PER_SECOND", "8"))
ID = sys.argv[1] if len(sys.argv) > 1 else f"resp_{uuid.uuid4().hex}"
TEXT = """The model goes on when its reader is gone. What it says is kept and numbered, and a client that comes back with
the number of the last event that it has is sent those behind it, each once."""


def call(method, path, body):
    request = urllib.request.Request(f"{SERVER}/api/messages/{ID}{path}", json.dumps(body).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as response:
        return json.load(response)


numbers = iter(range(1_000_000))


def publish(event_type, last=False, **event):
    """Publishes an event. A reader may have asked for a stop: the answer says so."""
    payload = {"type": event_type, "sequence_number": next(numbers), **event}
    return call("POST", "/events", {"type": event_type, "payload": payload, "last": last})["stop"]


def response(status, text=None, **more):
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part]}
    return {"id": ID, "object": "response", "created_at": int(time.time()), "status": status, "model": "slow-speaker",
            "output": [] if text is None else [item], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "error": None, "incomplete_details": None, **more}  # fmt: skip


call("PUT", "", {"user_id": "local"})
print(f"read.py {ID}", file=sys.stderr)
place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
publish("response.created", response=response("in_progress"))
said = ""
for word in TEXT.split():
    said += f"{word} "
    if publish("response.output_text.delta", delta=f"{word} ", logprobs=[], **place):
        stopped = response("incomplete", said, incomplete_details={"reason": None})
        publish("response.incomplete", last=True, response=stopped)
        break
    time.sleep(PAUSE_SECONDS)
else:
    publish("response.output_text.done", text=said, logprobs=[], **place)
    publish("response.completed", last=True, response=response("completed", said))
