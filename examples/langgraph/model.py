"""A graph for the example: it publishes the events of a run, word by word.

Usage: model.py [run id]. REJOIN_URL names the server, WORDS_PER_SECOND the pace. It needs no packages.

An application gets them from its graph: `async for mode, data in graph.astream(..., stream_mode=["messages", "values"])`.
"""

import json
import os
import sys
import time
import urllib.request
import uuid

SERVER = os.environ.get("REJOIN_URL", "http://127.0.0.1:8080")
PAUSE_SECONDS = 1 / float(os.environ.get("WORDS_PER_SECOND", "8"))
ID = sys.argv[1] if len(sys.argv) > 1 else str(uuid.uuid4())
TEXT = """The graph goes on when its reader is gone. What it says is kept and numbered, and the client comes back by itself
with the number of the last event that it has."""


def call(method, path, body):
    request = urllib.request.Request(f"{SERVER}/api/messages/{ID}{path}", json.dumps(body).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def publish(event, data):
    """Publishes an event; `end` is the last. A reader may have asked for a stop: the answer says so."""
    return call("POST", "/events", {"type": event, "payload": data})["stop"]


call("PUT", "", {"user_id": "local"})
print(f"read.py {ID}", file=sys.stderr)
publish("metadata", {"run_id": ID})
said = ""
for word in TEXT.split():
    said += f"{word} "
    chunk = {"id": "ai-1", "type": "AIMessageChunk", "content": f"{word} "}
    if publish("messages", [chunk, {"langgraph_node": "model"}]):
        break
    time.sleep(PAUSE_SECONDS)
publish("values", {"messages": [{"id": "ai-1", "type": "ai", "content": said}]})
publish("end", None)
