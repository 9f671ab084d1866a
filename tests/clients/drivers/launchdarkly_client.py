"""launchdarkly-eventsource, which is told to retry for ever, and without longer and longer delays."""

import json

from ld_eventsource import SSEClient
from ld_eventsource.config import ErrorStrategy, RetryDelayStrategy

from driver import RETRY_SECONDS, URL, report_event

client = SSEClient(
    URL,
    initial_retry_delay=RETRY_SECONDS,
    retry_delay_strategy=RetryDelayStrategy.default(backoff_multiplier=1),
    error_strategy=ErrorStrategy.always_continue(),
)
for event in client.events:
    report_event(event.event, event.id, event.data, lambda: json.loads(event.data))
