"""What the application gives and gets."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any, Final, Literal


class Unset(enum.Enum):
    """The type of ``UNSET``."""

    UNSET = "UNSET"


UNSET: Final = Unset.UNSET
"""No payload was given. (A payload of None is one: JSON's null.)"""

EndStatus = Literal["complete", "failed"]
"""How a message ended."""


def content_fields(payload: Any, data: str | None, event: str | None) -> dict[str, Any]:
    """The members of an event's JSON that carry its content."""
    if data is None:
        if event is not None:
            raise ValueError("`event` names a text: give `data` with it")
        return {} if payload is UNSET else {"payload": payload}
    if payload is not UNSET:
        raise ValueError("give only one of `payload` and `data`")
    return {"data": data} if event is None else {"data": data, "event": event}


@dataclass(frozen=True)
class Publication:
    """An event to publish to users.

    Exactly one of ``user_id``, ``user_ids`` and ``broadcast`` is given, and at most one of ``payload`` and
    ``data``. Raises ValueError or TypeError otherwise.
    """

    type: str
    """What happened: 1 to 128 of ``A-Z a-z 0-9 . _ : -``."""
    _: KW_ONLY
    user_id: str | None = None
    """Who gets it: 1 to 256 bytes of UTF-8 without control characters."""
    user_ids: Sequence[str] | None = None
    """Who get it, each as an event of their own."""
    broadcast: bool = False
    """Everybody who is connected now. Nothing is kept of it."""
    payload: Any = UNSET
    """Its content: any JSON value. Floats that JSON has no number for (NaN, infinity) are refused."""
    data: str | None = None
    """Its content as a text, carried as it is."""
    event: str | None = None
    """The name that the format ``data`` writes; only with ``data``."""
    scope: Mapping[str, Any] | None = None
    """What it is about."""
    category: str | None = None
    """One of the server's categories; without one the type decides."""

    def __post_init__(self) -> None:
        if isinstance(self.user_ids, str):
            raise TypeError("`user_ids` is a list of strings, not one string")
        if (self.user_id is not None) + (self.user_ids is not None) + bool(self.broadcast) != 1:
            raise ValueError("give one of `user_id`, `user_ids` and `broadcast`")
        content_fields(self.payload, self.data, self.event)

    def fields(self) -> dict[str, Any]:
        """The event as the HTTP API takes it."""
        if self.broadcast:
            recipients: dict[str, Any] = {"broadcast": True}
        elif self.user_ids is not None:
            recipients = {"user_ids": list(self.user_ids)}
        else:
            recipients = {"user_id": self.user_id}
        fields = recipients | {"type": self.type} | content_fields(self.payload, self.data, self.event)
        if self.scope is not None:
            fields["scope"] = self.scope
        if self.category is not None:
            fields["category"] = self.category
        return fields


@dataclass(frozen=True)
class Receipt:
    """An event that was published."""

    id: str | None
    """Its id; None for several users, for a broadcast, and where nothing was stored."""
    ids: tuple[str, ...]
    """The id of each user's event, in the order of ``user_ids``."""
    duplicate: bool
    """Whether the same idempotency key had published it before."""
    stored: bool
    """False where the server has pushing switched off: nothing was stored."""


@dataclass(frozen=True)
class LineFailure:
    """A line of an upload that was refused."""

    line: int
    """Its number, counted from 1, or from ``first_line`` where that was given."""
    status: int
    """The HTTP status that an answer to it alone would have had."""
    code: str
    """The stable name of what is wrong."""
    message: str
    """What is wrong, for people."""
    field: str | None = None
    """The field that is wrong."""


@dataclass
class UploadResult:
    """What became of an upload."""

    lines: int = 0
    """Lines that were sent."""
    taken: int = 0
    """Lines that were taken, with the duplicates."""
    duplicates: int = 0
    """Lines that the server had taken before: by an earlier upload with the same key, or by an attempt whose
    answer was lost."""
    failed: int = 0
    """Lines that were refused."""
    failures: list[LineFailure] = field(default_factory=list)
    """They, in their order: the first ``failures_max`` of them."""

    @property
    def success(self) -> bool:
        """Whether every line was taken."""
        return self.failed == 0


@dataclass(frozen=True)
class Event:
    """An event of a user's stream."""

    id: str | None
    """Its id, which is a cursor; None for a broadcast, which is kept nowhere."""
    type: str
    """What happened."""
    payload: Any
    """Its content, if that is JSON: ``{}`` where the publisher gave none. None for a text."""
    data: str | None
    """Its content, if that is a text."""
    event: str | None
    """The name that the publisher gave for the format ``data``."""
    ts: datetime
    """When the server took it, in UTC."""
    scope: dict[str, Any]
    """What it is about."""
    category: str | None
    """Its category."""
    user_id: str | None
    """Whose it is; None for a broadcast."""
    raw: str = field(repr=False)
    """The envelope as it came, in which numbers and the order of keys are the publisher's own."""


@dataclass(frozen=True)
class MessageEvent:
    """An event of a message."""

    sequence_no: int
    """Its number, from 0 without holes."""
    type: str
    """What it is."""
    payload: Any
    """Its content, if that is JSON, without the member ``type``: ``{}`` where the producer gave none. None
    for a text. An object that has no member but a string ``data`` can't be told from a text, nor one that has
    no member but ``payload``, where that is no object, from that value alone."""
    data: str | None
    """Its content, if that is a text."""
    event: str | None
    """The name that the producer gave for the format ``data``."""
    raw: str = field(repr=False)
    """The JSON object as it came, with its ``type``."""

    @property
    def id(self) -> str:
        """Its number as a cursor."""
        return str(self.sequence_no)


@dataclass(frozen=True)
class Truncated:
    """Events behind the cursor are gone, or may be: fetch the state anew.

    Of a message: it was deleted, and maybe opened anew; what follows is all of it from the start.
    """

    oldest_retained_id: str | None
    """The oldest event that is retained, if any is."""


@dataclass(frozen=True)
class ProducerStale:
    """The producer of a message has been silent for too long.

    The reader comes back by itself, after the server's longer delay (30 seconds by default), if it is asked
    for the next item: it may be given up here.
    """

    message: str
    """The server's words, for people."""


@dataclass(frozen=True)
class Appended:
    """An event that was appended to a message."""

    sequence_no: int
    """Its number."""
    stop: bool
    """Whether the reader wants no more."""
    duplicate: bool
    """Whether it had been appended before, by an attempt whose answer was lost."""
