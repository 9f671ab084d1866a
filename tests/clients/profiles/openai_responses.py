"""`openai` for Python: responses.retrieve() with `starting_after`. It leaves it to its caller to retrieve again."""

import openai

from jobs import pause, run

LAST = ("response.completed", "response.failed", "response.incomplete", "error")


def follow(job, report):
    """Reads a response to its last event, over as many connections as that takes."""
    client = openai.OpenAI(api_key="none", base_url=job["api"], max_retries=0)
    after = openai.omit
    while True:
        try:
            for event in client.responses.retrieve(job["id"], stream=True, starting_after=after):
                report("item", item=event.to_dict())
                if event.type in LAST:
                    return {"class": type(event).__name__}
                after = event.sequence_number
        except openai.APIConnectionError:
            pass
        report("cut")
        pause()


run({"follow": follow})
