"""Reads a message that is under way, or over, with Anthropic's own stream reader.

Usage: read.py <message id>. REJOIN_URL names the server.
"""

import os
import sys

import anthropic
from anthropic.lib.streaming import MessageStream
from anthropic.types import Message, RawMessageStreamEvent

client = anthropic.Anthropic(api_key="none", base_url=os.environ.get("REJOIN_URL", "http://127.0.0.1:8080"))
events = client.get(
    f"/v1/messages/{sys.argv[1]}",
    cast_to=Message,
    stream=True,
    stream_cls=anthropic.Stream[RawMessageStreamEvent],
)
with MessageStream(events, output_format=anthropic.NOT_GIVEN) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
    message = stream.get_final_message()
print(f"\n[{message.stop_reason}, {message.usage.output_tokens} tokens]")
