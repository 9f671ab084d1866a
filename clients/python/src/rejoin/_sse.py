"""Parser of Server-Sent Events: WHATWG HTML, section 9.2.6.

It differs from a browser's in what it tells: comments, and blocks that have an id and no data, which move a
cursor. An event is told when its blank line has come, and its id with it: of a block that was cut off nothing
is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import ProtocolError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
RETRY_MS_MAX = 3_600_000


@dataclass(frozen=True)
class Block:
    """An event, or the move of a cursor."""

    data: str | None
    """Its ``data:`` lines, joined; None where it has none."""
    event: str
    """Its ``event:``; empty where it has none."""
    id: str | None
    """The ``id:`` that this block itself has; None where it has none."""


@dataclass(frozen=True)
class Comment:
    """A line that begins with a colon, without it."""

    text: str


@dataclass(frozen=True)
class Retry:
    """The delay before the client is to reconnect, at most an hour."""

    ms: int


Piece = Block | Comment | Retry


class Parser:
    """Takes a stream in pieces of any size, and gives what they complete.

    It holds one event at the most: more than ``event_bytes_max`` of it is a ProtocolError.
    """

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        # The line that has yet to end, and how many bytes the block has so far.
        self._unfinished: list[bytes] = []
        self._held = 0
        self._at_start = True
        self._ended_in_cr = False
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """Takes the next bytes. What it gives has to be taken before the next call."""
        if self._ended_in_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._ended_in_cr = False
        if not chunk:
            return
        self._ended_in_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *others = chunk.split(b"\n")
        self._hold(first)
        for rest in others:
            line = b"".join(self._unfinished)
            self._unfinished = []
            piece = self._line(line)
            if piece is not None:
                yield piece
            self._hold(rest)

    def _hold(self, part: bytes) -> None:
        self._held += len(part)
        if self._held > self._event_bytes_max:
            raise ProtocolError(
                f"an event of the stream is larger than {self._event_bytes_max} bytes", code="protocol_error"
            )
        if part:
            self._unfinished.append(part)

    def _line(self, line: bytes) -> Piece | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        text = line.decode("utf-8", "replace")
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            return None
        # Only data is held for longer than its line.
        self._held -= len(line)
        match name:
            case "":
                return Comment(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                return Retry(min(int(value), RETRY_MS_MAX) if len(value) < 20 else RETRY_MS_MAX)
        return None

    def _dispatch(self) -> Block | None:
        data, event, own_id = self._data, self._event, self._id
        self._data, self._event, self._id, self._held = [], "", None, 0
        if not data and own_id is None:
            return None
        return Block("\n".join(data) if data else None, event, own_id)
