"""The sync clients: a thin shell around the core."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

import httpx

from . import _http
from ._produce import LAST_WORDS, ProducerCore, stop_message
from ._publish import publish
from ._retry import Chance, RetryPolicy
from ._stream import MessageTopic, StreamCore, StreamOptions, Topic, UserTopic
from ._upload import Batch, Item, Outgoing, Upload, UploadOptions
from ._wire import Close, Command, Draw, Failure, Flow, Head, Open, Read, Request, Result, Sleep
from .errors import RejoinError, Stopped
from .models import (
    UNSET,
    Appended,
    EndStatus,
    Event,
    MessageEvent,
    ProducerStale,
    Publication,
    Receipt,
    Truncated,
    UploadResult,
)

logger = logging.getLogger("rejoin")

T = TypeVar("T")
ItemT = TypeVar("ItemT")
SelfT = TypeVar("SelfT", bound="_ClosingClient")
StreamT = TypeVar("StreamT", bound="_Stream[Any]")

Token = str | Callable[[], str] | None
"""A token, or what gives the one that is valid now: it is called for each request."""


class _Items:
    """The iterable of an upload."""

    def __init__(self, items: Iterable[Item], *, at_once: bool) -> None:
        self._at_once = at_once
        self._items = iter(items)

    def draw(self, batch: Batch) -> None:
        try:
            item = next(self._items)
        except StopIteration:
            batch.end()
        except Exception as error:
            batch.end(error)
        else:
            batch.take(item)

    def body(self, batch: Batch) -> Iterator[bytes]:
        outgoing = Outgoing(batch, at_once=self._at_once)
        while not outgoing.is_complete:
            piece = outgoing.piece()
            if piece:
                yield piece
            else:
                self.draw(batch)


class _Exchange:
    """Carries out the commands of a flow, or of several, one after the other."""

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        token: Token,
        *,
        items: _Items | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._url = url
        self._token = token
        self._items = items
        self._sleep = sleep
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def run(self, flow: Flow[T]) -> T:
        result: Result = None
        try:
            while True:
                try:
                    command = flow.send(result)
                except StopIteration as finished:
                    return finished.value  # type: ignore[no-any-return]
                result = self._perform(command)
        except RejoinError:
            # What is left of the answer is of no use.
            self.close()
            raise
        finally:
            flow.close()

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def _perform(self, command: Command) -> Result:
        match command:
            case Open(request):
                self.close()
                return self._open(request)
            case Read():
                return self._read()
            case Close():
                self.close()
            case Sleep(seconds):
                self._sleep(seconds)
            case Draw(batch):
                if self._items is not None:
                    self._items.draw(batch)
        return None

    def _open(self, request: Request) -> Head | Failure:
        token = self._token() if callable(self._token) else self._token
        body = request.body
        content = self._items.body(body) if isinstance(body, Batch) and self._items is not None else body
        sent = self._client.build_request(
            request.method,
            self._url + request.path,
            params=dict(request.query) or None,
            headers=_http.headers(request, token),
            content=content,  # type: ignore[arg-type]
            timeout=_http.timeout(request),
        )
        try:
            response = self._client.send(sent, stream=True, follow_redirects=False)
        except httpx.RequestError as error:
            return _http.failure_of(error)
        self._response, self._chunks = response, response.iter_bytes()
        return Head(response.status_code, _http.answer_headers(response))

    def _read(self) -> bytes | Failure:
        try:
            return next(self._chunks, b"")
        except httpx.RequestError as error:
            self.close()
            return _http.failure_of(error)


class _Client:
    """A server, and how it is reached."""

    def __init__(self, url: str, token: Token, client: httpx.Client | None) -> None:
        self._url = _http.base_url(url)
        self._token = _http.checked_token(token) if isinstance(token, str) else token
        self._client = httpx.Client() if client is None else client
        self._owns_client = client is None
        self._chance = Chance()

    def _exchange(self, **options: Any) -> _Exchange:
        return _Exchange(self._client, self._url, self._token, **options)

    def _run(self, flow: Flow[T], **options: Any) -> T:
        exchange = self._exchange(**options)
        try:
            return exchange.run(flow)
        finally:
            exchange.close()

    def close(self) -> None:
        """Closes its connections. A ``client`` that was given is left open."""
        if self._owns_client:
            self._client.close()


class _ClosingClient(_Client):
    """One that is closed when its block is left."""

    def __enter__(self: SelfT) -> SelfT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Publisher(_ClosingClient):
    """Publishes events to users. It may be shared by threads.

    ``url`` is the server's, maybe with a path before its own. ``token`` needs the scope ``events:publish``;
    where it is a function, it is called for each request. ``client`` is an ``httpx.Client`` with settings of
    your own (proxies, certificates); it stays yours to close.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        retry: RetryPolicy | None = None,
        timeout_seconds: float = 10.0,
        client: httpx.Client | None = None,
    ) -> None:
        super().__init__(url, token, client)
        self._retry = retry or RetryPolicy()
        self._timeout_seconds = timeout_seconds

    def publish(
        self,
        type: str,
        *,
        user_id: str | None = None,
        user_ids: Sequence[str] | None = None,
        broadcast: bool = False,
        payload: Any = UNSET,
        data: str | None = None,
        event: str | None = None,
        scope: Mapping[str, Any] | None = None,
        category: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Publishes an event; the arguments are those of ``Publication``.

        It is tried as the ``RetryPolicy`` says, with one idempotency key, so that each user gets it once.
        To repeat the call itself without harm give it an ``idempotency_key`` (1 to 256 visible ASCII
        characters) of your own. A broadcast has no such protection: it is only tried again where the server
        has certainly not sent it.

        Raises RejoinError: ConnectionFailed if there was no answer at last, so that the event may or may not
        have been published. Raises ValueError or TypeError for what can't be sent.
        """
        publication = Publication(
            type,
            user_id=user_id,
            user_ids=user_ids,
            broadcast=broadcast,
            payload=payload,
            data=data,
            event=event,
            scope=scope,
            category=category,
        )
        return self._run(
            publish(publication, idempotency_key, self._retry, self._timeout_seconds, self._chance)
        )

    def publish_many(
        self,
        items: Iterable[Item],
        *,
        idempotency_key: str | None = None,
        first_line: int = 1,
        at_once: bool = False,
        batch_lines: int = 1000,
        batch_bytes: int = 1024 * 1024,
        failures_max: int = 1000,
    ) -> UploadResult:
        """Publishes any number of events: ``Publication`` objects, or mappings as the HTTP API takes them.

        They are sent while they are drawn from the iterable, in uploads of at most ``batch_lines`` lines and
        about ``batch_bytes`` bytes, one after the other; no more than one such batch is held. Items that are
        drawn within a moment go together, so the last of them may wait for the one behind it; with
        ``at_once`` each is sent before the next is drawn, which is slower. A line that the server refuses
        leaves the others alone, and is in the result, whose ``failures`` are at most ``failures_max``.

        A batch that breaks is sent again as the ``RetryPolicy`` says; the server recognises the lines that it
        has taken before, so that each user gets each event once. A broadcast is sent by itself, between its
        neighbours, and only tried again where the server has certainly not sent it. The whole call can be
        repeated without harm with the same ``idempotency_key`` (at most 236 visible ASCII characters) and the
        same lines and batch sizes, within the server's ``events.idempotency_window_seconds``.

        Raises UploadBroken, which tells from where to go on: ``first_line`` is the number of the first item
        then. What the iterable raises is raised when the items before it have been published.
        """
        options = UploadOptions(
            self._retry,
            self._timeout_seconds,
            batch_lines,
            batch_bytes,
            failures_max,
            fresh_tokens=callable(self._token),
        )
        upload = Upload(options, idempotency_key, first_line, self._chance)
        return self._run(upload.run(), items=_Items(items, at_once=at_once))


class _Stream(Generic[ItemT]):
    """An iterator over a stream that rejoins by itself."""

    _stream_exchange: _Exchange
    _core: StreamCore[ItemT]

    @property
    def cursor(self) -> str | None:
        """Where the stream goes on: keep it, and give it to a later reader.

        It moves when an item is handed over, so it stands behind the item that was got last.
        """
        return self._core.cursor

    def connect(self) -> None:
        """Connects now, and not when the first item is asked for.

        What is published after this has returned is not missed: connect, then fetch the state, then iterate.
        Raises as iterating does.
        """
        self._stream_exchange.run(self._core.connect())

    def __iter__(self: StreamT) -> StreamT:
        return self

    def __next__(self) -> ItemT:
        item = self._stream_exchange.run(self._core.next())
        if item is None:
            raise StopIteration
        return item


class MessageReader(_Stream[MessageEvent | Truncated | ProducerStale]):
    """An iterator over a message, to its end. Made by ``Reader.read_message``."""

    def __init__(
        self, exchange: _Exchange, core: StreamCore[MessageEvent | Truncated | ProducerStale]
    ) -> None:
        self._stream_exchange = exchange
        self._core = core

    def close(self) -> None:
        """Closes the connection. The reader can be iterated again, and goes on behind its cursor."""
        self._stream_exchange.close()

    def __enter__(self) -> MessageReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Reader(_ClosingClient, _Stream[Event | Truncated]):
    """An iterator over the events of the token's user, without an end. It is of one thread.

    It rejoins by itself behind its cursor, as often as it has to: when the connection is cut, when the server
    ends it, when nothing has come for ``idle_timeout_seconds`` (about three of the server's
    ``sse.keepalive_seconds``, or more), and when it is refused with 408, 429, 502, 503 or 504; it waits as
    ``retry:`` and ``Retry-After`` say, longer after each failure, up to ``longest_delay_seconds``. It gives
    ``Event`` objects, each once, in order, and ``Truncated`` where some are gone.

    ``categories`` are those that are wanted; without any, all are. Without a ``cursor`` it begins with what
    comes next; ``"0"`` asks for all that is retained. A ``token`` that is a function is called for each
    connection: give one where tokens expire.

    Raises RejoinError for any other refusal (such as 400, 401 and 403), and after
    ``give_up_after_seconds`` without a connection; iterating again tries again. An event of more than
    ``event_bytes_max`` bytes is a ProtocolError.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        categories: Iterable[str] | None = None,
        cursor: str | None = None,
        retry: RetryPolicy | None = None,
        connect_timeout_seconds: float = 10.0,
        idle_timeout_seconds: float = 60.0,
        give_up_after_seconds: float | None = None,
        longest_delay_seconds: float = 30.0,
        event_bytes_max: int = 16 * 1024 * 1024,
        client: httpx.Client | None = None,
    ) -> None:
        super().__init__(url, token, client)
        self._retry = retry or RetryPolicy()
        self._options = StreamOptions(
            connect_timeout_seconds,
            idle_timeout_seconds,
            give_up_after_seconds,
            longest_delay_seconds,
            event_bytes_max,
        )
        self._stream_exchange = self._exchange()
        self._core = self._follow(UserTopic(categories), cursor)

    def read_message(self, message_id: str, *, cursor: str | None = None) -> MessageReader:
        """An iterator over a message, from its start or behind a cursor, to its end.

        It rejoins as the reader does, and gives ``MessageEvent`` objects, ``Truncated``, and
        ``ProducerStale`` where the producer has been silent for too long. The reader has to own the message,
        or needs the scope ``messages:read``; otherwise, and where the message is not opened in time (the
        server waits ``messages.open_wait_seconds``), iterating raises RejoinError with
        ``message_not_found``.
        """
        return MessageReader(self._exchange(), self._follow(MessageTopic(message_id), cursor))

    def stop_message(self, message_id: str) -> None:
        """Asks the producer of a message to stop. A retry is harmless. Raises RejoinError."""
        timeout = self._options.connect_timeout_seconds
        self._run(stop_message(message_id, self._retry, timeout, self._chance))

    def close(self) -> None:
        """Closes its connections. A ``client`` that was given is left open."""
        self._stream_exchange.close()
        super().close()

    def _follow(self, topic: Topic[T], cursor: str | None) -> StreamCore[T]:
        return StreamCore(topic, cursor, self._options, self._chance)


class MessageProducer(_Client):
    """Produces one message, as a context manager.

    Entering opens the message for its reader ``user_id``, or with ``takeover`` takes it over from its
    producer, who is fenced off; numbering goes on behind what is there. Leaving ends it as complete, or as
    failed where an exception leaves the block, unless it has ended. While nothing is appended a thread sends
    a heartbeat every ``heartbeat_seconds``: choose a third of the server's ``messages.producer_idle_seconds``
    at most.

    ``message_id`` is 1 to 128 of ``A-Z a-z 0-9 . _ : -``; without one it is a new UUID. ``token`` needs the
    scope ``messages:publish``. When the reader asks for a stop, ``stop_requested`` becomes true, ``on_stop``
    is called, once, by the appending thread or by that of the heartbeat, and with ``raise_on_stop`` appending
    raises Stopped. Its methods may be called by several threads.

    Entering raises RejoinError: MessageEnded where the message has ended.
    """

    def __init__(
        self,
        url: str,
        message_id: str | None = None,
        *,
        user_id: str,
        token: Token = None,
        takeover: bool = False,
        on_stop: Callable[[], object] | None = None,
        raise_on_stop: bool = False,
        retry: RetryPolicy | None = None,
        timeout_seconds: float = 10.0,
        heartbeat_seconds: float = 30.0,
        client: httpx.Client | None = None,
    ) -> None:
        super().__init__(url, token, client)
        self._core = ProducerCore(
            message_id,
            user_id,
            takeover=takeover,
            raise_on_stop=raise_on_stop,
            policy=retry or RetryPolicy(),
            timeout_seconds=timeout_seconds,
            heartbeat_seconds=heartbeat_seconds,
            chance=self._chance,
        )
        self._on_stop = on_stop
        self._appending = threading.Lock()
        self._telling = threading.Lock()
        self._left = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def message_id(self) -> str:
        """The message's id."""
        return self._core.message_id

    @property
    def stop_requested(self) -> bool:
        """Whether the reader wants no more, as far as is known: appends and heartbeats tell it."""
        return self._core.stop_requested

    @property
    def next_sequence_no(self) -> int:
        """The number that the next event gets."""
        return self._core.next_sequence_no

    def append(
        self,
        type: str,
        *,
        payload: Any = UNSET,
        data: str | None = None,
        event: str | None = None,
        last: bool | None = None,
        status: EndStatus | None = None,
    ) -> Appended:
        """Appends an event: with a ``payload`` (any JSON value), or ``data`` (a text), or neither.

        ``event`` is the name that the format ``data`` writes, only with ``data``. ``last`` says whether the
        event ends the message (by default the types ``end`` and ``error`` do), and ``status`` how.

        It is tried as the ``RetryPolicy`` says, under one number, so that it is appended once. After an error
        other than Fenced and MessageEnded the call may be repeated, with the same event, without harm; if
        another event follows instead, readers may or may not have got the one that failed.

        Raises Fenced, MessageEnded, another RejoinError, or Stopped; ValueError or TypeError for what can't
        be sent.
        """
        try:
            with self._appending:
                return self._run(self._core.append(type, payload, data, event, last=last, status=status))
        finally:
            self._tell_stop()

    def end(self, status: EndStatus = "complete") -> None:
        """Ends the message without an event of its own, if it has not ended. A retry is harmless."""
        with self._appending:
            self._run(self._core.end(status))

    def __enter__(self) -> MessageProducer:
        try:
            self._run(self._core.open())
            self._tell_stop()
        except BaseException:
            self.close()
            raise
        self._heart = threading.Thread(target=self._beat, name="rejoin-heartbeat", daemon=True)
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left.set()
        try:
            if self._core.needs_end:
                self._end_at_exit(error)
        finally:
            if self._heart is not None:
                # One that waits for an answer ends by itself.
                self._heart.join(timeout=1.0)
            self.close()

    def _end_at_exit(self, error: BaseException | None) -> None:
        if error is None or isinstance(error, Stopped):
            self.end()
            return
        try:
            with self._appending:
                self._run(self._core.end("failed", LAST_WORDS))
        except RejoinError as also:
            logger.warning("message %s could not be ended as failed: %s", self.message_id, also)

    def _tell_stop(self) -> None:
        with self._telling:
            is_news = self._core.take_stop()
        if is_news and self._on_stop is not None:
            self._on_stop()

    def _beat(self) -> None:
        while self._core.needs_heartbeat and not self._left.wait(self._core.seconds_to_heartbeat()):
            if self._core.seconds_to_heartbeat() > 0:
                continue
            try:
                self._run(self._core.heartbeat(), sleep=self._left.wait)
                self._tell_stop()
            except Exception:
                if self._left.is_set():
                    return
                # A token that can't be had, or the application's `on_stop`.
                logger.exception("message %s: the heartbeat failed", self.message_id)
                self._core.postpone_heartbeat()
