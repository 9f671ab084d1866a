"""Joins a run that is under way, or over. The client reconnects by itself when its connection is lost.

Usage: read.py <run id>. REJOIN_URL names the server.
"""

import asyncio
import os
import sys

from langgraph_sdk import get_client


async def read(run):
    client = get_client(url=os.environ.get("REJOIN_URL", "http://127.0.0.1:8080"), api_key=None)
    async for part in client.runs.join_stream("thread-1", run, stream_mode=["messages", "values"]):
        if part.event == "messages":
            print(part.data[0]["content"], end="", flush=True)
    print(f"\n[{part.event}]")


asyncio.run(read(sys.argv[1]))
