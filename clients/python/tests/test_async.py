"""What only the async clients have: cancellation, tasks and async iterables."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from _servers import PATIENCE_SECONDS, Server, scripted
from conftest import QUICK
from rejoin import AsyncMessageProducer, AsyncPublisher, AsyncReader, Event, RejoinError


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(test(), PATIENCE_SECONDS)

    asyncio.run(limited())


async def events_of(reader: AsyncReader, type: str, count: int) -> list[Any]:
    got: list[Any] = []
    while len(got) < count:
        item = await anext(reader)
        if isinstance(item, Event) and item.type == type:
            got.append(item.payload["n"])
    return got


def test_a_cancelled_wait_loses_nothing(server: Server) -> None:
    async def test() -> None:
        mine = uuid.uuid4().hex
        async with AsyncReader(server.url) as reader, AsyncPublisher(server.url, retry=QUICK) as publisher:
            await reader.connect()
            for n in range(3):
                waiting = asyncio.create_task(events_of(reader, mine, 1))
                # Up to where it waits for the server.
                for _ in range(20):
                    await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await publisher.publish(mine, user_id="local", payload={"n": n})
                assert await events_of(reader, mine, 1) == [n]

    run(test)


def test_many_tasks_may_share_a_publisher_and_a_producer(server: Server) -> None:
    async def test() -> None:
        async with AsyncPublisher(server.url) as publisher:
            receipts = await asyncio.gather(*(publisher.publish("t", user_id="local") for _ in range(30)))
            assert len({receipt.id for receipt in receipts}) == 30
        async with AsyncMessageProducer(server.url, user_id="local") as producer:
            appended = await asyncio.gather(*(producer.append("chunk", data="x") for _ in range(30)))
            assert sorted(one.sequence_no for one in appended) == list(range(30))

    run(test)


def test_an_async_iterable_is_published(server: Server) -> None:
    async def test() -> None:
        mine = uuid.uuid4().hex
        seen = asyncio.Queue[int]()

        async def items() -> AsyncIterator[dict[str, Any]]:
            for n in range(3):
                yield {"user_id": "local", "type": mine, "payload": {"n": n}}
                # It goes on when the event was read: lines are sent as they are drawn.
                assert await seen.get() == n

        async def read(reader: AsyncReader) -> None:
            for _ in range(3):
                seen.put_nowait(*await events_of(reader, mine, 1))

        async with AsyncReader(server.url) as reader, AsyncPublisher(server.url) as publisher:
            await reader.connect()
            reading = asyncio.create_task(read(reader))
            assert (await publisher.publish_many(items(), at_once=True)).taken == 3
            await reading

    run(test)


def test_what_an_async_iterable_raises_is_raised(server: Server) -> None:
    async def test() -> None:
        async def items() -> AsyncIterator[dict[str, Any]]:
            yield {"user_id": "local", "type": "t"}
            raise ZeroDivisionError

        async with AsyncPublisher(server.url) as publisher:
            with pytest.raises(ZeroDivisionError):
                await publisher.publish_many(items())

    run(test)


def test_a_cancelled_block_ends_its_message_as_failed(server: Server) -> None:
    async def test() -> None:
        appended = asyncio.Event()
        message_id = str(uuid.uuid4())

        async def produce() -> None:
            async with AsyncMessageProducer(server.url, message_id, user_id="local") as producer:
                await producer.append("chunk", data="x")
                appended.set()
                await asyncio.Event().wait()

        producing = asyncio.create_task(produce())
        await appended.wait()
        producing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await producing
        assert server.get(f"/api/messages/{message_id}").json()["status"] == "failed"
        async with AsyncReader(server.url) as reader:
            items = [item async for item in reader.read_message(message_id)]
        assert [getattr(item, "type", None) for item in items] == ["chunk", "error"]
        assert [task for task in asyncio.all_tasks() if task.get_name() == "rejoin-heartbeat"] == []

    run(test)


def test_a_token_may_come_from_an_async_function(server: Server) -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return "secret"

    async def test() -> None:
        with scripted(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n") as refusing:
            async with AsyncPublisher(refusing.url, token=token) as publisher:
                with pytest.raises(RejoinError, match="http_403"):
                    await publisher.publish("t", user_id="u")
            assert refusing.header(0, "authorization") == "Bearer secret"

    run(test)
