"""`langgraph-sdk`: runs.join_stream(), which reconnects by itself."""

import asyncio

from langgraph_sdk import get_client

from jobs import run


def follow(job, report):
    async def read():
        client = get_client(url=job["api"], api_key=None)
        async for part in client.runs.join_stream("thread-1", job["id"], stream_mode=["values", "messages-tuple"]):
            report("item", item={"id": part.id, "event": part.event, "data": part.data})

    asyncio.run(read())


run({"follow": follow})
