"""The async clients, for asyncio: a thin shell around the core."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
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

Token = str | Callable[[], str | Awaitable[str]] | None
"""A token, or what gives the one that is valid now: it is called for each request."""


class _Items:
    """The iterable of an upload."""

    def __init__(self, items: Iterable[Item] | AsyncIterable[Item], *, at_once: bool) -> None:
        self._at_once = at_once
        self._items = aiter(items) if isinstance(items, AsyncIterable) else iter(items)

    async def draw(self, batch: Batch) -> None:
        items = self._items
        try:
            item = await anext(items) if isinstance(items, AsyncIterator) else next(items)
        except (StopAsyncIteration, StopIteration):
            batch.end()
        except Exception as error:
            batch.end(error)
        else:
            batch.take(item)

    async def body(self, batch: Batch) -> AsyncIterator[bytes]:
        outgoing = Outgoing(batch, at_once=self._at_once)
        while not outgoing.is_complete:
            piece = outgoing.piece()
            if piece:
                yield piece
            else:
                await self.draw(batch)


class _Exchange:
    """Carries out the commands of a flow, or of several, one after the other."""

    def __init__(
        self, client: httpx.AsyncClient, url: str, token: Token, *, items: _Items | None = None
    ) -> None:
        self._client = client
        self._url = url
        self._token = token
        self._items = items
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def run(self, flow: Flow[T]) -> T:
        result: Result = None
        try:
            while True:
                try:
                    command = flow.send(result)
                except StopIteration as finished:
                    return finished.value  # type: ignore[no-any-return]
                result = await self._perform(command)
        except RejoinError:
            # What is left of the answer is of no use.
            await self.close()
            raise
        finally:
            flow.close()

    async def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()

    async def _perform(self, command: Command) -> Result:
        match command:
            case Open(request):
                await self.close()
                return await self._open(request)
            case Read():
                return await self._read()
            case Close():
                await self.close()
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Draw(batch):
                if self._items is not None:
                    await self._items.draw(batch)
        return None

    async def _open(self, request: Request) -> Head | Failure:
        token = self._token() if callable(self._token) else self._token
        if token is not None and not isinstance(token, str):
            token = await token
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
            response = await self._client.send(sent, stream=True, follow_redirects=False)
        except httpx.RequestError as error:
            return _http.failure_of(error)
        self._response, self._chunks = response, response.aiter_bytes()
        return Head(response.status_code, _http.answer_headers(response))

    async def _read(self) -> bytes | Failure:
        if self._chunks is None:
            return b""
        try:
            return await anext(self._chunks, b"")
        except httpx.RequestError as error:
            await self.close()
            return _http.failure_of(error)


class _Client:
    """A server, and how it is reached."""

    def __init__(self, url: str, token: Token, client: httpx.AsyncClient | None) -> None:
        self._url = _http.base_url(url)
        self._token = _http.checked_token(token) if isinstance(token, str) else token
        self._client = httpx.AsyncClient() if client is None else client
        self._owns_client = client is None
        self._chance = Chance()

    def _exchange(self, **options: Any) -> _Exchange:
        return _Exchange(self._client, self._url, self._token, **options)

    async def _run(self, flow: Flow[T], **options: Any) -> T:
        exchange = self._exchange(**options)
        try:
            return await exchange.run(flow)
        finally:
            await exchange.close()

    async def aclose(self) -> None:
        """Closes its connections. A ``client`` that was given is left open."""
        if self._owns_client:
            await self._client.aclose()


class _ClosingClient(_Client):
    """One that is closed when its block is left."""

    async def __aenter__(self: SelfT) -> SelfT:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class AsyncPublisher(_ClosingClient):
    """``Publisher`` for asyncio. It may be shared by tasks.

    ``client`` is an ``httpx.AsyncClient``; ``token`` may be an async function. An iterable that is not async,
    and waits for its items, holds up the event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        retry: RetryPolicy | None = None,
        timeout_seconds: float = 10.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(url, token, client)
        self._retry = retry or RetryPolicy()
        self._timeout_seconds = timeout_seconds

    async def publish(
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
        """As ``Publisher.publish``. After a cancellation the event may or may not have been published."""
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
        return await self._run(
            publish(publication, idempotency_key, self._retry, self._timeout_seconds, self._chance)
        )

    async def publish_many(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        idempotency_key: str | None = None,
        first_line: int = 1,
        at_once: bool = False,
        batch_lines: int = 1000,
        batch_bytes: int = 1024 * 1024,
        failures_max: int = 1000,
    ) -> UploadResult:
        """As ``Publisher.publish_many``, also of an async iterable."""
        options = UploadOptions(
            self._retry,
            self._timeout_seconds,
            batch_lines,
            batch_bytes,
            failures_max,
            fresh_tokens=callable(self._token),
        )
        upload = Upload(options, idempotency_key, first_line, self._chance)
        return await self._run(upload.run(), items=_Items(items, at_once=at_once))


class _Stream(Generic[ItemT]):
    """An async iterator over a stream that rejoins by itself."""

    _stream_exchange: _Exchange
    _core: StreamCore[ItemT]

    @property
    def cursor(self) -> str | None:
        """Where the stream goes on: keep it, and give it to a later reader.

        It moves when an item is handed over, so it stands behind the item that was got last.
        """
        return self._core.cursor

    async def connect(self) -> None:
        """Connects now, and not when the first item is asked for.

        What is published after this has returned is not missed: connect, then fetch the state, then iterate.
        Raises as iterating does.
        """
        await self._stream_exchange.run(self._core.connect())

    def __aiter__(self: StreamT) -> StreamT:
        return self

    async def __anext__(self) -> ItemT:
        item = await self._stream_exchange.run(self._core.next())
        if item is None:
            raise StopAsyncIteration
        return item


class AsyncMessageReader(_Stream[MessageEvent | Truncated | ProducerStale]):
    """An async iterator over a message, to its end. Made by ``AsyncReader.read_message``."""

    def __init__(
        self, exchange: _Exchange, core: StreamCore[MessageEvent | Truncated | ProducerStale]
    ) -> None:
        self._stream_exchange = exchange
        self._core = core

    async def aclose(self) -> None:
        """Closes the connection. The reader can be iterated again, and goes on behind its cursor."""
        await self._stream_exchange.close()

    async def __aenter__(self) -> AsyncMessageReader:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class AsyncReader(_ClosingClient, _Stream[Event | Truncated]):
    """``Reader`` for asyncio: an async iterator over the events of the token's user. It is of one task.

    A cancellation loses nothing: the next item that is asked for makes a new connection, behind the cursor.
    ``client`` is an ``httpx.AsyncClient``; ``token`` may be an async function.
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
        client: httpx.AsyncClient | None = None,
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

    def read_message(self, message_id: str, *, cursor: str | None = None) -> AsyncMessageReader:
        """As ``Reader.read_message``."""
        return AsyncMessageReader(self._exchange(), self._follow(MessageTopic(message_id), cursor))

    async def stop_message(self, message_id: str) -> None:
        """As ``Reader.stop_message``."""
        timeout = self._options.connect_timeout_seconds
        await self._run(stop_message(message_id, self._retry, timeout, self._chance))

    async def aclose(self) -> None:
        """Closes its connections. A ``client`` that was given is left open."""
        await self._stream_exchange.close()
        await super().aclose()

    def _follow(self, topic: Topic[T], cursor: str | None) -> StreamCore[T]:
        return StreamCore(topic, cursor, self._options, self._chance)


class AsyncMessageProducer(_Client):
    """``MessageProducer`` for asyncio, as an async context manager. A task sends the heartbeats.

    ``on_stop`` is a plain function. ``client`` is an ``httpx.AsyncClient``; ``token`` may be an async
    function. A cancellation of the block ends the message as failed.
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
        client: httpx.AsyncClient | None = None,
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
        self._appending = asyncio.Lock()
        self._heart: asyncio.Task[None] | None = None

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

    async def append(
        self,
        type: str,
        *,
        payload: Any = UNSET,
        data: str | None = None,
        event: str | None = None,
        last: bool | None = None,
        status: EndStatus | None = None,
    ) -> Appended:
        """As ``MessageProducer.append``. A cancellation is as an error: the event may have been appended."""
        try:
            async with self._appending:
                flow = self._core.append(type, payload, data, event, last=last, status=status)
                return await self._run(flow)
        finally:
            self._tell_stop()

    async def end(self, status: EndStatus = "complete") -> None:
        """Ends the message without an event of its own, if it has not ended. A retry is harmless."""
        async with self._appending:
            await self._run(self._core.end(status))

    async def __aenter__(self) -> AsyncMessageProducer:
        try:
            await self._run(self._core.open())
            self._tell_stop()
        except BaseException:
            await self.aclose()
            raise
        self._heart = asyncio.create_task(self._beat(), name="rejoin-heartbeat")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._end_heart()
            if self._core.needs_end:
                await self._end_at_exit(error)
        finally:
            await self.aclose()

    async def _end_heart(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])

    async def _end_at_exit(self, error: BaseException | None) -> None:
        if error is None or isinstance(error, Stopped):
            await self.end()
            return
        try:
            async with self._appending:
                await self._run(self._core.end("failed", LAST_WORDS))
        except RejoinError as also:
            logger.warning("message %s could not be ended as failed: %s", self.message_id, also)

    def _tell_stop(self) -> None:
        if self._core.take_stop() and self._on_stop is not None:
            self._on_stop()

    async def _beat(self) -> None:
        while self._core.needs_heartbeat:
            seconds = self._core.seconds_to_heartbeat()
            if seconds > 0:
                await asyncio.sleep(seconds)
                continue
            try:
                await self._run(self._core.heartbeat())
                self._tell_stop()
            except Exception:
                # A token that can't be had, or the application's `on_stop`.
                logger.exception("message %s: the heartbeat failed", self.message_id)
                self._core.postpone_heartbeat()
