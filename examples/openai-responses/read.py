"""Reads a response that is under way, as from OpenAI's background mode.

Usage: read.py <response id>. REJOIN_URL names the server.
"""

import os
import sys
import time

import openai

LAST = ("response.completed", "response.failed", "response.incomplete", "error")

client = openai.OpenAI(api_key="none", base_url=f"{os.environ.get('REJOIN_URL', 'http://127.0.0.1:8080')}/v1")
after, over = openai.omit, False
while not over:
    try:
        for event in client.responses.retrieve(sys.argv[1], stream=True, starting_after=after):
            if event.type == "response.output_text.delta":
                print(event.delta, end="", flush=True)
            over = event.type in LAST
            after = event.sequence_number
    except openai.APIConnectionError:
        time.sleep(1)
print(f"\n[{event.type}]")
