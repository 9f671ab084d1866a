"""Client for Rejoin, a self-hosted event server: publish events, read them without loss, produce messages.

Publishing: ``Publisher``. Reading a user's events or a message: ``Reader``. Producing a message:
``MessageProducer``. Each has an async twin for asyncio. What goes wrong is a ``RejoinError``.
"""

from ._async import AsyncMessageProducer, AsyncMessageReader, AsyncPublisher, AsyncReader
from ._http import __version__
from ._retry import RetryPolicy
from ._sync import MessageProducer, MessageReader, Publisher, Reader
from .errors import (
    ConnectionFailed,
    Fenced,
    MessageEnded,
    ProtocolError,
    RejoinError,
    Stopped,
    UploadBroken,
)
from .models import (
    UNSET,
    Appended,
    EndStatus,
    Event,
    LineFailure,
    MessageEvent,
    ProducerStale,
    Publication,
    Receipt,
    Truncated,
    UploadResult,
)

__all__ = [
    "UNSET",
    "Appended",
    "AsyncMessageProducer",
    "AsyncMessageReader",
    "AsyncPublisher",
    "AsyncReader",
    "ConnectionFailed",
    "EndStatus",
    "Event",
    "Fenced",
    "LineFailure",
    "MessageEnded",
    "MessageEvent",
    "MessageProducer",
    "MessageReader",
    "ProducerStale",
    "ProtocolError",
    "Publication",
    "Publisher",
    "Reader",
    "Receipt",
    "RejoinError",
    "RetryPolicy",
    "Stopped",
    "Truncated",
    "UploadBroken",
    "UploadResult",
    "__version__",
]
