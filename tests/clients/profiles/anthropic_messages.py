"""`anthropic` for Python: a stored stream of Messages, read by the client's own reader. It has no cursor: the whole of it again."""

import anthropic
import httpx2
from anthropic.lib.streaming import MessageStream
from anthropic.types import Message, RawMessageStreamEvent

from jobs import pause, run


def follow(job, report):
    """Reads a message to `message_stop`, over as many connections as that takes. Reports its words."""
    client = anthropic.Anthropic(api_key="none", base_url=job["api"], max_retries=0)
    while True:
        try:
            events = client.get(
                f"/v1/messages/{job['id']}",
                cast_to=Message,
                stream=True,
                stream_cls=anthropic.Stream[RawMessageStreamEvent],
            )
            report("begin")
            with MessageStream(events, output_format=anthropic.NOT_GIVEN) as stream:
                last = None
                for event in stream:
                    if event.type == "text":
                        report("item", item=event.text)
                    last = event.type
                if last == "message_stop":
                    return {"message": stream.get_final_message().to_dict()}
        except (anthropic.APIConnectionError, httpx2.TransportError):
            pass
        report("cut")
        pause()


run({"follow": follow})
