"""A program that uses the package, for mypy: it is checked against what was installed, and never run."""

from __future__ import annotations

from rejoin import (
    Appended,
    AsyncMessageProducer,
    AsyncPublisher,
    AsyncReader,
    Event,
    MessageProducer,
    Publication,
    Publisher,
    Reader,
    Receipt,
    Truncated,
    UploadResult,
)


def publish(url: str) -> tuple[Receipt, UploadResult]:
    with Publisher(url, token=lambda: "t") as publisher:
        return publisher.publish("t", user_id="u", payload={}), publisher.publish_many(
            [Publication("t", broadcast=True), {"user_id": "u", "type": "t"}]
        )


def read(url: str) -> str | None:
    with Reader(url, categories=["ai"]) as reader:
        for item in reader:
            if isinstance(item, Truncated):
                return item.oldest_retained_id
            event: Event = item
            return event.type
        for part in reader.read_message("m"):
            match part:
                case Truncated():
                    pass
                case _:
                    return reader.cursor
    return None


def produce(url: str) -> Appended:
    with MessageProducer(url, user_id="u") as producer:
        return producer.append("chunk", data="x", event="e")


async def asynchronously(url: str) -> Appended:
    async with AsyncPublisher(url) as publisher, AsyncReader(url) as reader:
        receipt: Receipt = await publisher.publish("t", user_ids=["u"])
        item: Event | Truncated = await anext(reader)
        assert receipt.ids, item
    async with AsyncMessageProducer(url, user_id="u") as producer:
        return await producer.append("end", status="failed")
