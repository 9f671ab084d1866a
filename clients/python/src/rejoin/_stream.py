"""Following a stream: a user's events, or a message.

Invariants: the cursor moves only when an item is handed over, or where the stream moves it without one; a
connection begins behind the cursor, and only when all that came by the one before was handed over, so that
nothing is lost or given twice, wherever a connection is cut and whenever the application stops.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from ._retry import Chance, backoff, may_pass
from ._sse import Block, Comment, Parser, Retry
from ._wire import (
    Close,
    Failure,
    Flow,
    Head,
    Request,
    Sleep,
    error_of,
    header_text,
    json_of,
    open_exchange,
    read_answer,
    read_some,
    text_member,
)
from .errors import ProtocolError, RejoinError
from .models import Event, MessageEvent, ProducerStale, Truncated

logger = logging.getLogger("rejoin")

ItemT = TypeVar("ItemT")

FIRST_RETRY_MS = 1000
"""The delay before the stream has named one."""
LEAST_DELAY_SECONDS = 0.05
TERMINAL_TYPES = frozenset({"end", "error"})
"""Types of events that end a message, unless their producer says otherwise."""
_MESSAGE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def message_path(message_id: str, call: str = "") -> str:
    """The path of a message, or of a call on it. Raises ValueError for what is no id."""
    # Clients and proxies take `.` and `..` for steps in a path.
    if not _MESSAGE_ID.fullmatch(message_id) or message_id in (".", ".."):
        raise ValueError("a message id is 1 to 128 of A-Z a-z 0-9 . _ : -, and not `.` or `..`")
    return f"/api/messages/{quote(message_id)}{call}"


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is followed."""

    connect_timeout_seconds: float
    idle_timeout_seconds: float
    """Seconds without a byte after which a connection counts as dead."""
    give_up_after_seconds: float | None
    """Seconds without a connection after which the last error is raised; None: never."""
    longest_delay_seconds: float
    event_bytes_max: int

    def __post_init__(self) -> None:
        if min(self.connect_timeout_seconds, self.idle_timeout_seconds, self.event_bytes_max) <= 0:
            raise ValueError("timeouts and `event_bytes_max` are above 0")


class Topic(ABC, Generic[ItemT]):
    """What is followed, and how its blocks are read."""

    path: str
    starts_at_head: bool
    """Whether a stream without a cursor begins with what comes next, and says where that is."""

    @abstractmethod
    def query(self) -> dict[str, str]:
        """The query of a subscribe request."""

    @abstractmethod
    def item(self, block: Block) -> ItemT | None:
        """What the application gets of a block, if anything. Raises ProtocolError."""

    def ends_with(self, block: Block) -> bool:
        """Whether nothing comes behind this block, if the connection ends well behind it."""
        return False

    def may_be_over(self, block: Block) -> bool:
        """Whether it may be so."""
        return False


class StreamCore(Generic[ItemT]):
    """Follows a topic."""

    def __init__(
        self, topic: Topic[ItemT], cursor: str | None, options: StreamOptions, chance: Chance
    ) -> None:
        self.cursor = None if cursor is None else header_text("a cursor", cursor)
        self._topic = topic
        self._options = options
        self._chance = chance
        self._waiting: deque[Block] = deque()
        self._parser = Parser(options.event_bytes_max)
        self._connected = False
        self._is_over = False
        self._last: Block | None = None
        """The last piece of this connection, if it was an event."""
        self._retry_ms = FIRST_RETRY_MS
        self._delay = 0.0
        self._failures = 0
        self._away_since: float | None = None
        self._found_wrong: ProtocolError | None = None
        """What is wrong with the stream behind what is waiting."""

    def next(self) -> Flow[ItemT | None]:
        """The next item; None at the end. Raises RejoinError; after that it can be called again."""
        while True:
            item = self._hand_over()
            if item is not None:
                return item
            self._raise_what_was_wrong()
            if self._is_over:
                return None
            yield from self._advance()

    def connect(self) -> Flow[None]:
        """Connects, if it is not connected. From then on nothing that is published is missed."""
        while not (self._is_over or self._waiting):
            needs_cursor = self._topic.starts_at_head and self.cursor is None
            if self._connected and not needs_cursor:
                return
            yield from self._advance()
            self._skip_silent()
            if not self._waiting:
                self._raise_what_was_wrong()

    def _raise_what_was_wrong(self) -> None:
        error, self._found_wrong = self._found_wrong, None
        if error is not None:
            raise error

    def _advance(self) -> Flow[None]:
        if self._connected:
            yield from self._receive()
        else:
            yield from self._connect()

    def _hand_over(self) -> ItemT | None:
        while self._waiting:
            try:
                item = self._topic.item(self._waiting[0])
            except ProtocolError:
                # What lies behind it must not move the cursor past it.
                self._disconnect(0.0)
                self._waiting.clear()
                raise
            self._move_cursor(self._waiting.popleft())
            if item is not None:
                return item
        return None

    def _skip_silent(self) -> None:
        """Passes what the application does not get, up to what it does."""
        while self._waiting and self._topic.item(self._waiting[0]) is None:
            self._move_cursor(self._waiting.popleft())

    def _move_cursor(self, block: Block) -> None:
        if block.id is not None:
            self.cursor = block.id or None

    def _request(self) -> Request:
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if self.cursor is not None:
            headers["last-event-id"] = self.cursor
        return Request(
            "GET",
            self._topic.path,
            headers,
            self._topic.query(),
            timeout_seconds=self._options.connect_timeout_seconds,
            read_timeout_seconds=self._options.idle_timeout_seconds,
        )

    def _connect(self) -> Flow[None]:
        if self._delay > 0:
            yield Sleep(self._delay)
        head = yield from open_exchange(self._request())
        if isinstance(head, Failure):
            self._failed(head.error(), passes=head.may_pass)
        elif head.status == 204:
            yield Close()
            self._is_over = True
        elif head.status == 200:
            self._check_type(head)
            self._parser = Parser(self._options.event_bytes_max)
            self._last = None
            self._connected = True
            self._delay, self._failures, self._away_since = 0.0, 0, None
        else:
            answer = yield from read_answer(head)
            if isinstance(answer, Failure):
                self._failed(answer.error(), passes=answer.may_pass)
            else:
                error = error_of(answer)
                self._failed(error, passes=may_pass(error))

    def _check_type(self, head: Head) -> None:
        content_type = head.headers.get("content-type", "")
        if content_type.split(";")[0].strip().lower() != "text/event-stream":
            self._delay = 0.0
            raise ProtocolError(
                f"the answer is no event stream, but {content_type!r}",
                code="protocol_error",
                status=head.status,
            )

    def _receive(self) -> Flow[None]:
        # Who is interrupted while waiting has no connection any more.
        self._connected = False
        some = yield from read_some()
        if isinstance(some, Failure):
            logger.debug("the stream was cut: %s", some.cause)
            return self._disconnect(0.0 if self._has_end() else self._usual_delay())
        if not some:
            yield Close()
            return self._ended()
        self._connected = True
        try:
            for piece in self._parser.feed(some):
                self._last = None
                match piece:
                    case Block():
                        self._last = piece
                        if piece.id:
                            self._check_id(piece.id)
                        self._waiting.append(piece)
                    case Retry():
                        self._retry_ms = piece.ms
                    case Comment():
                        pass
        except ProtocolError as error:
            # What came before it is handed over first.
            self._found_wrong = error
            yield Close()
            self._disconnect(0.0)
        return None

    def _check_id(self, own_id: str) -> None:
        try:
            header_text("an id", own_id)
        except ValueError as error:
            raise ProtocolError(f"an event's id can be no cursor: {error}", code="protocol_error") from None

    def _ended(self) -> None:
        """The server ended the stream, and did not break it off."""
        if self._has_end():
            self._is_over = True
        # If an event of another type was the last of a message, the answer to the next request is 204: there
        # is no reason to wait for it.
        is_behind_event = self._last is not None and self._topic.may_be_over(self._last)
        self._disconnect(0.0 if is_behind_event else self._usual_delay())

    def _has_end(self) -> bool:
        """Whether the last thing that came is what a message ends with."""
        return self._last is not None and self._topic.ends_with(self._last)

    def _disconnect(self, delay: float) -> None:
        self._connected = False
        self._delay = delay
        self._last = None

    def _usual_delay(self) -> float:
        # Those who were cut off together do not come back together.
        retry = self._retry_ms / 1000
        return max(LEAST_DELAY_SECONDS, retry + self._chance.between(0, retry / 4))

    def _failed(self, error: RejoinError, *, passes: bool) -> None:
        """There is no connection: the delay before the next try, or the error is raised."""
        self._disconnect(0.0)
        now = self._chance.now()
        if self._away_since is None:
            self._away_since = now
        if not passes:
            self._failures, self._away_since = 0, None
            raise error
        self._failures += 1
        usual = self._usual_delay()
        longest = backoff(self._failures, usual, max(usual, self._options.longest_delay_seconds))
        delay = max(usual, self._chance.between(longest / 2, longest))
        if error.retry_after_seconds is not None:
            delay = max(delay, error.retry_after_seconds + self._chance.between(0, 1))
        give_up_after = self._options.give_up_after_seconds
        if give_up_after is not None and now - self._away_since + delay > give_up_after:
            self._failures, self._away_since = 0, None
            raise error
        logger.debug("no stream, next try in %.1f seconds: %s", delay, error)
        self._delay = delay


def _object(block: Block) -> dict[str, Any]:
    value = json_of(block.data or "")
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise ProtocolError("an event of the stream is no JSON object with a `type`", code="protocol_error")
    return value


def _truncated(fields: dict[str, Any]) -> Truncated:
    payload = fields.get("payload")
    return Truncated(text_member(payload, "oldest_retained_id") if isinstance(payload, dict) else None)


def _is_control(block: Block) -> bool:
    return block.data is None or block.event.startswith("stream.")


class UserTopic(Topic[Event | Truncated]):
    """A user's events."""

    path = "/api/events"
    starts_at_head = True

    def __init__(self, categories: Iterable[str] | None) -> None:
        if isinstance(categories, str):
            raise TypeError("`categories` is a list of strings, not one string")
        self._categories = [] if categories is None else list(categories)

    def query(self) -> dict[str, str]:
        """The query of a subscribe request."""
        categories = {"categories": ",".join(self._categories)} if self._categories else {}
        return {"format": "envelope"} | categories

    def item(self, block: Block) -> Event | Truncated | None:
        """What the application gets of a block."""
        if _is_control(block):
            return None
        fields = _object(block)
        event_type: str = fields["type"]
        if event_type == "backlog.truncated":
            return _truncated(fields)
        if event_type.startswith("stream."):
            return None
        scope = fields.get("scope")
        return Event(
            id=block.id or None,
            type=event_type,
            payload=fields.get("payload"),
            data=text_member(fields, "data"),
            event=text_member(fields, "event"),
            ts=_time(fields),
            scope=scope if isinstance(scope, dict) else {},
            category=text_member(fields, "category"),
            user_id=text_member(fields, "user_id"),
            raw=block.data or "",
        )


def _time(fields: dict[str, Any]) -> datetime:
    # Python 3.10 does not read the `Z`.
    text = (text_member(fields, "ts") or "").replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ProtocolError(f"an event's `ts` is no time: {text!r}", code="protocol_error") from None


class MessageTopic(Topic[MessageEvent | Truncated | ProducerStale]):
    """A message."""

    starts_at_head = False

    def __init__(self, message_id: str) -> None:
        self.path = message_path(message_id, "/events")

    def query(self) -> dict[str, str]:
        """The query of a subscribe request."""
        return {"format": "payload"}

    def item(self, block: Block) -> MessageEvent | Truncated | ProducerStale | None:
        """What the application gets of a block."""
        if _is_control(block):
            return None
        fields = _object(block)
        event_type: str = fields["type"]
        if not block.id:
            return self._notice(fields)
        try:
            sequence_no = int(block.id)
        except ValueError:
            raise ProtocolError(f"a message's event has the id {block.id!r}", code="protocol_error") from None
        payload, data, event = content_of(fields)
        return MessageEvent(sequence_no, event_type, payload, data, event, raw=block.data or "")

    def _notice(self, fields: dict[str, Any]) -> Truncated | ProducerStale | None:
        if fields["type"] == "backlog.truncated":
            return _truncated(fields)
        if fields["type"] == "error" and fields.get("code") == "producer_stale":
            return ProducerStale(text_member(fields, "error") or "")
        return None

    def ends_with(self, block: Block) -> bool:
        """Events of these types end a message, unless their producer said otherwise."""
        value = json_of(block.data or "") if self.may_be_over(block) else None
        return isinstance(value, dict) and value.get("type") in TERMINAL_TYPES

    def may_be_over(self, block: Block) -> bool:
        """A message ends with an event of its producer's, which may be of any type."""
        return bool(block.id) and not _is_control(block)


def content_of(fields: dict[str, Any]) -> tuple[Any, str | None, str | None]:
    """The payload, or the text and its name, of a message's event in the format ``payload``."""
    rest = {name: value for name, value in fields.items() if name != "type"}
    data = text_member(rest, "data")
    if data is not None and rest.keys() <= {"data", "event"}:
        return None, data, text_member(rest, "event")
    if rest.keys() == {"payload"} and not isinstance(rest["payload"], dict):
        return rest["payload"], None, None
    return rest, None, None
