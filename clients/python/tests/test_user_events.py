"""Publishing and reading, against a server."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from _servers import PATIENCE_SECONDS, Server, proxying
from conftest import Aside, Shell
from rejoin import Event, Publication, RejoinError, Truncated

CUT_BYTES = [1000, 90, 390, 700, 1300, 2047, 1777, 1111]


@pytest.fixture
def mine() -> str:
    """A type that no other test's events have."""
    return f"t.{uuid.uuid4().hex}"


def events_of(reader: Any, type: str, count: int) -> list[Event]:
    """The next events of that type: the servers' only reader is the user `local`."""
    ours = (item for item in reader if isinstance(item, Event) and item.type == type)
    return list(itertools.islice(ours, count))


def numbers(events: list[Event]) -> list[int]:
    return [event.payload["n"] for event in events]


def test_what_is_published_is_read(shell: Shell, server: Server, mine: str) -> None:
    reader, publisher = shell.reader(server.url), shell.publisher(server.url)
    reader.connect()
    first = publisher.publish(
        mine, user_id="local", payload={"a": [1, None, "\u00e9\u2028"]}, scope={"kind": "s"}
    )
    second = publisher.publish(mine, user_id="local", data="a\r\nb\n", event="e", category="ai")
    third = publisher.publish(mine, user_ids=["local", "other"])
    got = events_of(reader, mine, 3)
    # Broadcasts and users' own events are not kept in order with each other.
    publisher.publish(mine, broadcast=True, payload=None)
    got += events_of(reader, mine, 1)
    assert [(event.payload, event.data, event.event) for event in got] == [
        ({"a": [1, None, "\u00e9\u2028"]}, None, None),
        (None, "a\r\nb\n", "e"),
        ({}, None, None),
        (None, None, None),
    ]
    assert [event.id for event in got] == [first.id, second.id, third.ids[0], None]
    assert (got[0].scope, got[1].category, got[0].user_id, got[3].user_id) == (
        {"kind": "s"},
        "ai",
        "local",
        None,
    )
    assert len(third.ids) == 2
    assert reader.cursor == third.ids[0]


def test_a_key_of_ones_own_is_recognised(shell: Shell, server: Server, mine: str) -> None:
    publisher = shell.publisher(server.url)
    first = publisher.publish(mine, user_id="local", idempotency_key=mine)
    again = publisher.publish(mine, user_id="local", idempotency_key=mine)
    assert (again.id, first.duplicate, again.duplicate) == (first.id, False, True)


def test_a_refusal_names_the_field(shell: Shell, server: Server) -> None:
    with pytest.raises(RejoinError) as raised:
        shell.publisher(server.url).publish("a b", user_id="local")
    error = raised.value
    assert (error.status, error.code, error.field) == (422, "invalid_field", "type")
    assert error.request_id
    with pytest.raises(RejoinError) as raised:
        shell.reader(server.url, categories=["nonsense"]).connect()
    assert (raised.value.status, raised.value.code) == (400, "invalid_category")


def test_a_reader_goes_on_where_another_stopped(shell: Shell, server: Server, mine: str) -> None:
    publisher, reader = shell.publisher(server.url), shell.reader(server.url)
    reader.connect()
    head = reader.cursor
    for n in range(5):
        publisher.publish(mine, user_id="local", payload={"n": n})
    assert numbers(events_of(reader, mine, 2)) == [0, 1]
    later = shell.reader(server.url, cursor=reader.cursor)
    assert numbers(events_of(later, mine, 3)) == [2, 3, 4]
    from_the_head = shell.reader(server.url, cursor=head)
    assert numbers(events_of(from_the_head, mine, 5)) == [0, 1, 2, 3, 4]


def test_a_long_backlog_comes_in_several_parts(shell: Shell, server: Server, mine: str) -> None:
    publisher = shell.publisher(server.url)
    first = publisher.publish(mine, user_id="local")
    items = ({"user_id": "local", "type": mine, "payload": {"n": n}} for n in range(450))
    publisher.publish_many(items)
    # The server gives 200 at once, and closes the connection.
    reader = shell.reader(server.url, cursor=first.id)
    assert numbers(events_of(reader, mine, 450)) == list(range(450))


def test_a_cursor_that_is_none_is_told_of(shell: Shell, server: Server, mine: str) -> None:
    reader = shell.reader(server.url, cursor="nonsense")
    assert isinstance(next(reader), Truncated)
    assert reader.cursor == "nonsense", "who stops here is told again"
    publisher = shell.publisher(server.url)
    # The reader has the head by then, or this is the next event.
    publisher.publish(mine, user_id="local", payload={"n": 1})
    assert numbers(events_of(reader, mine, 1)) == [1]


def test_only_the_categories_that_are_wanted_come(shell: Shell, server: Server, mine: str) -> None:
    reader, publisher = shell.reader(server.url, categories=["ai", "import"]), shell.publisher(server.url)
    reader.connect()
    for n, category in enumerate(["ai", "security", "import", "security", "ai"]):
        publisher.publish(mine, user_id="local", category=category, payload={"n": n})
    assert numbers(events_of(reader, mine, 3)) == [0, 2, 4]


def test_every_event_comes_once_in_order_though_connections_are_cut(
    shell: Shell, server: Server, mine: str, aside: Aside
) -> None:
    with proxying(server) as proxy:
        proxy.answer_bytes = lambda number: CUT_BYTES[number % len(CUT_BYTES)]
        publisher = shell.publisher(server.url)
        first = publisher.publish(mine, user_id="local", payload={"n": 0})
        reader = shell.reader(proxy.url, cursor=first.id)

        def publish() -> None:
            for n in range(1, 51):
                publisher.publish(mine, user_id="local", payload={"n": n})

        published = aside.submit(publish)
        assert numbers(events_of(reader, mine, 50)) == list(range(1, 51))
        published.result(PATIENCE_SECONDS)
        assert proxy.accepted > 5


def test_a_connection_that_says_nothing_is_replaced(shell: Shell, server: Server, mine: str) -> None:
    with proxying(server) as proxy:
        proxy.stalls = True
        proxy.answer_bytes = lambda number: 340 if number < 2 else None
        publisher = shell.publisher(server.url)
        first = publisher.publish(mine, user_id="local")
        publisher.publish(mine, user_id="local", payload={"n": 1})
        reader = shell.reader(proxy.url, idle_timeout_seconds=0.3, cursor=first.id)
        assert numbers(events_of(reader, mine, 1)) == [1]
        assert proxy.accepted >= 3


def test_an_event_is_published_once_though_answers_and_requests_are_cut(
    shell: Shell, server: Server, mine: str
) -> None:
    reader = shell.reader(server.url)
    reader.connect()
    with proxying(server) as proxy:
        # Between the cuts a connection is well; the others lose requests, or answers.
        proxy.answer_bytes = lambda number: [0, None, 15, 60][number % 4]
        proxy.request_bytes = lambda number: [None, 700, None, 150][number % 4]
        publisher = shell.publisher(proxy.url)
        receipts = [publisher.publish(mine, user_id="local", payload={"n": n}) for n in range(12)]
        assert any(receipt.duplicate for receipt in receipts)
    shell.publisher(server.url).publish(mine, user_id="local", payload={"n": 12})
    assert numbers(events_of(reader, mine, 13)) == list(range(13))


def test_many_are_published(shell: Shell, server: Server, mine: str) -> None:
    reader = shell.reader(server.url)
    reader.connect()
    items = [{"user_id": "local", "type": mine, "payload": {"n": n}} for n in range(3000)]
    result = shell.publisher(server.url).publish_many(items)
    assert (result.lines, result.taken, result.duplicates, result.success) == (3000, 3000, 0, True)
    assert numbers(events_of(reader, mine, 3000)) == list(range(3000))


def test_lines_that_are_refused_leave_the_others_alone(shell: Shell, server: Server, mine: str) -> None:
    reader = shell.reader(server.url)
    reader.connect()

    def items() -> Iterator[Any]:
        yield Publication(mine, user_id="local", payload={"n": 0})
        yield {"type": mine}
        yield Publication(mine, broadcast=True, payload={"n": 1})
        yield Publication("a b", user_id="local")
        yield Publication(mine, user_ids=["local", "other"], payload={"n": 2})

    result = shell.publisher(server.url).publish_many(items(), batch_lines=2)
    assert (result.lines, result.taken, result.failed) == (5, 3, 2)
    assert [(one.line, one.status, one.field) for one in result.failures] == [
        (2, 422, "user_id"),
        (4, 422, "type"),
    ]
    assert sorted(numbers(events_of(reader, mine, 3))) == [0, 1, 2]


def test_many_are_published_once_though_connections_are_cut(shell: Shell, server: Server, mine: str) -> None:
    reader = shell.reader(server.url)
    reader.connect()
    with proxying(server) as proxy:
        # Of four uploads one gets through; of the others the server sees all, or some lines, or none.
        proxy.request_bytes = lambda number: [3000, None, None, 350][number % 4]
        proxy.answer_bytes = lambda number: [None, 20, None, None][number % 4]
        items = ({"user_id": "local", "type": mine, "payload": {"n": n}} for n in range(500))
        result = shell.publisher(proxy.url).publish_many(items, batch_lines=100)
        assert (result.lines, result.taken) == (500, 500)
        assert result.duplicates > 0
    shell.publisher(server.url).publish(mine, user_id="local", payload={"n": 500})
    assert numbers(events_of(reader, mine, 501)) == list(range(501))


def test_a_repeat_of_an_upload_with_its_key_publishes_nothing(
    shell: Shell, server: Server, mine: str
) -> None:
    publisher = shell.publisher(server.url)
    items = [{"user_id": "local", "type": mine} for _ in range(25)]
    for duplicates in [0, 25]:
        result = publisher.publish_many(items, idempotency_key=mine, batch_lines=10)
        assert (result.taken, result.duplicates) == (25, duplicates)


def test_lines_are_sent_as_they_are_drawn(shell: Shell, server: Server, mine: str, aside: Aside) -> None:
    seen = [threading.Event() for _ in range(3)]

    def items() -> Iterator[Any]:
        for n, event in enumerate(seen):
            yield {"user_id": "local", "type": mine, "payload": {"n": n}}
            assert event.wait(PATIENCE_SECONDS), f"event {n} was not read"

    def read() -> None:
        for event in seen:
            events_of(reader, mine, 1)
            event.set()

    # The iterable holds up the async publisher's loop, so the reader is not on it.
    other = Shell(None)
    reader = other.reader(server.url)
    reader.connect()
    reading = aside.submit(read)
    assert shell.publisher(server.url).publish_many(items(), at_once=True).taken == 3
    reading.result(PATIENCE_SECONDS)
    other.close()


def test_threads_may_share_a_publisher(server: Server, mine: str, aside: Aside) -> None:
    shell = Shell(None)
    publisher = shell.publisher(server.url)
    receipts = aside.map(lambda n: publisher.publish(mine, user_id="local", payload={"n": n}), range(50))
    assert len({receipt.id for receipt in receipts}) == 50
    shell.close()
