"""What the core asks of a shell, and what it is told.

The core never does IO. Its flows are generators: they yield commands, and are sent their results. A shell,
sync or async, carries the commands out. Each flow has one exchange at a time: a request and its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ConnectionFailed, Fenced, MessageEnded, ProtocolError, RejoinError

if TYPE_CHECKING:
    from ._upload import Batch

T = TypeVar("T")

ANSWER_BYTES_MAX = 1024 * 1024
"""Most bytes of an answer that is read as a whole, and of one line of an upload's answer."""
WORDS_MAX = 200
"""Most characters of an answer that is no JSON which an error repeats."""


@dataclass(frozen=True)
class Request:
    """A request. The shell adds the token."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Batch | None = None
    timeout_seconds: float = 10.0
    """Longest wait for a connection, and for the connection to take something of the body."""
    read_timeout_seconds: float = 10.0
    """Longest wait for something of the answer."""


@dataclass(frozen=True)
class Open:
    """Send the request, and receive the answer's head: a Head, or a Failure.

    An exchange that was open before is closed.
    """

    request: Request


@dataclass(frozen=True)
class Read:
    """Receive more of the answer's body: bytes, which are empty at its end, or a Failure."""


@dataclass(frozen=True)
class Close:
    """End the exchange. The result is None."""


@dataclass(frozen=True)
class Sleep:
    """Wait. The result is None."""

    seconds: float


@dataclass(frozen=True)
class Draw:
    """Draw one item from the application's iterable into the batch. The result is None."""

    batch: Batch


@dataclass(frozen=True)
class Head:
    """Status and headers of an answer."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""


@dataclass(frozen=True)
class Failure:
    """There was no answer, or it broke off."""

    cause: Exception
    not_sent: bool
    """Whether the server can't have received the request."""
    may_pass: bool = True
    """Whether another try may succeed."""

    def error(self) -> RejoinError:
        """The failure as an exception."""
        error = ConnectionFailed(
            f"{type(self.cause).__name__}: {self.cause}" if str(self.cause) else type(self.cause).__name__,
            code="connection_failed",
        )
        error.__cause__ = self.cause
        return error


Command = Open | Read | Close | Sleep | Draw
Result = Head | Failure | bytes | None
Flow = Generator[Command, Result, T]


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def object(self) -> dict[str, Any]:
        """The JSON object that it holds. Raises ProtocolError where it holds something else."""
        value = json_of(self.body)
        if not isinstance(value, dict):
            raise ProtocolError(
                f"the answer is no JSON object: {words_of(self.body)!r}",
                code="protocol_error",
                status=self.status,
            )
        return value


def open_exchange(request: Request) -> Flow[Head | Failure]:
    """Sends a request."""
    result = yield Open(request)
    if not isinstance(result, (Head, Failure)):
        raise TypeError(result)
    return result


def read_some() -> Flow[bytes | Failure]:
    """Receives more of the body."""
    result = yield Read()
    if not isinstance(result, (bytes, Failure)):
        raise TypeError(result)
    return result


def read_answer(head: Head) -> Flow[Answer | Failure]:
    """Receives the rest of an answer."""
    body = bytearray()
    while True:
        some = yield from read_some()
        if isinstance(some, Failure):
            return some
        if not some:
            yield Close()
            return Answer(head.status, head.headers, bytes(body))
        body += some
        if len(body) > ANSWER_BYTES_MAX:
            raise ProtocolError(
                f"the answer is larger than {ANSWER_BYTES_MAX} bytes",
                code="protocol_error",
                status=head.status,
            )


def json_of(text: bytes | str) -> Any:
    """The JSON value of a text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def words_of(body: bytes) -> str:
    """The beginning of an answer that is no JSON, for people."""
    return body[: 4 * WORDS_MAX].decode("utf-8", "replace").strip()[:WORDS_MAX]


def text_member(fields: Mapping[str, Any], name: str) -> str | None:
    """A member that is a text."""
    value = fields.get(name)
    return value if isinstance(value, str) else None


def number_member(fields: Mapping[str, Any], name: str) -> int | None:
    """A member that is a whole number."""
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def error_of(answer: Answer, wall_clock: Callable[[], float] = time) -> RejoinError:
    """The error that an answer is."""
    value = json_of(answer.body)
    fields = value if isinstance(value, dict) else {}
    code = text_member(fields, "code") or f"http_{answer.status}"
    kind = {"producer_fenced": Fenced, "message_complete": MessageEnded}.get(code, RejoinError)
    return kind(
        text_member(fields, "message") or words_of(answer.body) or "no message",
        code=code,
        status=answer.status,
        field=text_member(fields, "field"),
        retry_after_seconds=retry_after(answer.headers.get("retry-after"), wall_clock),
        expected_sequence_no=number_member(fields, "expected_sequence_no"),
        request_id=answer.headers.get("x-request-id"),
    )


def retry_after(value: str | None, wall_clock: Callable[[], float] = time) -> float | None:
    """The seconds of a ``Retry-After``, which may be a date."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall_clock())
    except ValueError:
        return None


def header_text(name: str, value: str, longest: int = 4096) -> str:
    """A value that a header can carry. The value is not repeated in the error: it may be a secret."""
    if not 1 <= len(value) <= longest or not all("!" <= character <= "~" for character in value):
        raise ValueError(
            f"{name} has 1 to {longest} visible ASCII characters"
            + (": it ends with a line break or a space" if value != value.rstrip() else "")
        )
    return value


def json_body(fields: Mapping[str, Any]) -> bytes:
    """JSON on one line. Raises ValueError or TypeError for what JSON has no form for."""
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
