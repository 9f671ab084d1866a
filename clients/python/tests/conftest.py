"""Fixtures: servers, and both shells behind one sync interface."""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx
import pytest

import rejoin
from _servers import PATIENCE_SECONDS, Server, running

# All servers are on this machine, and without this some machines would ask a proxy for them.
os.environ["NO_PROXY"] = "*"

T = TypeVar("T")

RETRY_MS = "20"
HANGS_AFTER_SECONDS = 60
CERTIFICATES = httpx.create_ssl_context()
"""Reading them takes longer than most tests, so the clients share them."""
QUICK = rejoin.RetryPolicy(attempts=8, total_seconds=20, first_delay_seconds=0.01, longest_delay_seconds=0.1)


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """A test that hangs ends the run, and shows where."""
    faulthandler.dump_traceback_later(HANGS_AFTER_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that keeps all in memory, and has its clients come back at once."""
    settings = {
        "REJOIN_SSE__RETRY_MS": RETRY_MS,
        "REJOIN_SSE__MAX_CONCURRENT_PER_USER": "0",
        "REJOIN_SSE__KEEPALIVE_SECONDS": "1",
        "REJOIN_EVENTS__REPLAY_BUDGET_REQUESTS_PER_WINDOW": "0",
        "REJOIN_EVENTS__STREAM_MAXLEN": "100000",
        "REJOIN_MESSAGES__OPEN_WAIT_SECONDS": "0",
    }
    with running(settings) as started:
        yield started


@pytest.fixture
def message_id() -> str:
    """An id that no other message has."""
    return str(uuid.uuid4())


class Aside:
    """Threads for what happens at the same time. None of them is waited for at the end."""

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Calls a function on a thread of its own."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(call(*arguments))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def map(self, call: Callable[[int], T], numbers: range) -> list[T]:
        """Calls a function with each number, all at the same time."""
        futures = [self.submit(call, number) for number in numbers]
        return [future.result(PATIENCE_SECONDS) for future in futures]


@pytest.fixture
def aside() -> Aside:
    """Threads."""
    return Aside()


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        """The result of a coroutine, which another thread waits for."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Ends it."""
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Blocking:
    """An async client with the interface of the sync one."""

    def __init__(self, client: Any, loop: Loop) -> None:
        self.client = client
        self._loop = loop

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self.client, {"close": "aclose"}.get(attribute, attribute))
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            result = value(*arguments, **named)
            if inspect.isawaitable(result):
                return self._loop.run(result)
            return Blocking(result, self._loop)

        return call

    def __enter__(self) -> Blocking:
        self._loop.run(self.client.__aenter__())
        return self

    def __exit__(self, *details: Any) -> None:
        self._loop.run(self.client.__aexit__(*details))

    def __iter__(self) -> Blocking:
        return self

    def __next__(self) -> Any:
        try:
            return self._loop.run(self.client.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None


class Shell:
    """The clients of one shell, behind the sync interface; all are closed at the end of the test."""

    def __init__(self, loop: Loop | None) -> None:
        self._loop = loop
        self._made: list[Any] = []

    def publisher(self, url: str, **options: Any) -> Any:
        """A publisher that retries quickly."""
        return self._made_by(rejoin.Publisher, rejoin.AsyncPublisher, url, {"retry": QUICK} | options)

    def reader(self, url: str, **options: Any) -> Any:
        """A reader."""
        return self._made_by(rejoin.Reader, rejoin.AsyncReader, url, {"retry": QUICK} | options)

    def producer(self, url: str, message_id: str | None = None, **options: Any) -> Any:
        """A producer of a message of the user `local`."""
        options = {"retry": QUICK, "user_id": "local", "message_id": message_id} | options
        return self._made_by(rejoin.MessageProducer, rejoin.AsyncMessageProducer, url, options)

    def _made_by(
        self, sync: Callable[..., Any], asynchronous: Callable[..., Any], url: str, options: dict[str, Any]
    ) -> Any:
        if self._loop is None:
            own = httpx.Client(verify=CERTIFICATES)
            client = sync(url, client=own, **options)
            self._made += [client, own]
        else:
            loop = self._loop
            own_async = Blocking(httpx.AsyncClient(verify=CERTIFICATES), loop)
            client = Blocking(
                loop.run(_made(asynchronous, url, options | {"client": own_async.client})), loop
            )
            self._made += [client, own_async]
        return client

    def close(self) -> None:
        """Closes all clients."""
        for client in self._made:
            client.close()


async def _made(asynchronous: Callable[..., Any], url: str, options: dict[str, Any]) -> Any:
    return asynchronous(url, **options)


@pytest.fixture(params=["sync", "async"])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """Either shell: what is tested by it is tested of both."""
    loop = Loop() if request.param == "async" else None
    made = Shell(loop)
    yield made
    made.close()
    if loop is not None:
        loop.close()
