"""Producing and reading messages, against a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from _servers import PATIENCE_SECONDS, Server, proxying, running
from conftest import RETRY_MS, Aside, Shell
from rejoin import Fenced, MessageEnded, MessageEvent, ProducerStale, RejoinError, Stopped


def soon(is_so: Callable[[], object]) -> None:
    """Waits until something is so."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < until, "it never came to be so"
        time.sleep(0.01)


def view(server: Server, message_id: str) -> Any:
    return server.get(f"/api/messages/{message_id}").json()


def read(shell: Shell, url: str, message_id: str, **options: Any) -> list[Any]:
    with shell.reader(url).read_message(message_id, **options) as reader:
        return list(reader)


def texts(items: list[Any]) -> list[Any]:
    return [item.payload.get("text", item.type) for item in items]


def test_what_is_produced_is_read_to_its_end(
    shell: Shell, server: Server, message_id: str, aside: Aside
) -> None:
    with shell.producer(server.url, message_id) as producer:
        reading = aside.submit(read, Shell(None), server.url, message_id)
        assert producer.message_id == message_id
        assert producer.append("chunk", payload={"text": "a"}).sequence_no == 0
        producer.append("chunk", payload=[1, None])
        producer.append("chunk", data="line\r\nline", event="e")
        producer.append("note")
        assert producer.next_sequence_no == 4
    items = reading.result(PATIENCE_SECONDS)
    assert [(item.sequence_no, item.type) for item in items] == [
        (0, "chunk"),
        (1, "chunk"),
        (2, "chunk"),
        (3, "note"),
        (4, "end"),
    ]
    assert [(item.payload, item.data, item.event) for item in items] == [
        ({"text": "a"}, None, None),
        ([1, None], None, None),
        (None, "line\r\nline", "e"),
        ({}, None, None),
        ({}, None, None),
    ]
    assert view(server, message_id)["status"] == "complete"
    # Later readers get all of it, or what they lack.
    assert read(shell, server.url, message_id) == items
    assert read(shell, server.url, message_id, cursor="3") == items[4:]
    assert read(shell, server.url, message_id, cursor="4") == []


def test_a_block_that_is_left_by_an_exception_ends_the_message_as_failed(
    shell: Shell, server: Server, message_id: str
) -> None:
    def produce() -> None:
        with shell.producer(server.url, message_id) as producer:
            producer.append("chunk", payload={"text": "a"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        produce()
    assert view(server, message_id)["status"] == "failed"
    assert texts(read(shell, server.url, message_id)) == ["a", "error"]


def test_a_terminal_event_of_any_type_ends_it(shell: Shell, server: Server, message_id: str) -> None:
    with shell.producer(server.url, message_id) as producer:
        producer.append("error", payload={"text": "not the last"}, last=False)
        producer.append("finish", payload={"text": "the last"}, last=True, status="failed")
        with pytest.raises(MessageEnded):
            producer.append("chunk")
    assert view(server, message_id)["status"] == "failed"
    assert texts(read(shell, server.url, message_id)) == ["not the last", "the last"]


def test_an_id_need_not_be_a_uuid(shell: Shell, server: Server, message_id: str) -> None:
    own_id = f"chat:{message_id}.1_A"
    with shell.producer(server.url, own_id) as producer:
        producer.append("end", payload={"text": "x"})
    assert texts(read(shell, server.url, own_id)) == ["x"]


def test_a_message_that_is_not_there_or_has_ended_is_an_error(
    shell: Shell, server: Server, message_id: str
) -> None:
    with pytest.raises(RejoinError) as raised:
        read(shell, server.url, message_id)
    assert (raised.value.status, raised.value.code) == (404, "message_not_found")
    with shell.producer(server.url, message_id):
        pass
    for takeover in [False, True]:
        with pytest.raises(MessageEnded), shell.producer(server.url, message_id, takeover=takeover):
            pass
    with pytest.raises(RejoinError, match="message_owned_by_another"):
        shell.producer(server.url, message_id, user_id="other").__enter__()


def test_a_stop_is_heard_when_appending(shell: Shell, server: Server, message_id: str) -> None:
    told: list[int] = []
    with shell.producer(server.url, message_id, on_stop=lambda: told.append(1)) as producer:
        assert not producer.append("chunk").stop
        shell.reader(server.url).stop_message(message_id)
        assert producer.append("chunk").stop
        assert producer.append("chunk").stop
        assert producer.stop_requested
    assert told == [1]
    assert view(server, message_id)["status"] == "complete"


def test_a_stop_is_heard_while_nothing_is_appended(shell: Shell, server: Server, message_id: str) -> None:
    told = threading.Event()
    with shell.producer(server.url, message_id, on_stop=told.set, heartbeat_seconds=0.05) as producer:
        shell.reader(server.url).stop_message(message_id)
        assert told.wait(PATIENCE_SECONDS)
        assert producer.stop_requested


def test_a_stop_may_leave_the_block_and_is_no_failure(shell: Shell, server: Server, message_id: str) -> None:
    def produce() -> None:
        with shell.producer(server.url, message_id, raise_on_stop=True) as producer:
            producer.append("chunk")
            shell.reader(server.url).stop_message(message_id)
            for _ in range(3):
                producer.append("chunk")

    with pytest.raises(Stopped):
        produce()
    assert view(server, message_id)["status"] == "complete"
    assert len(read(shell, server.url, message_id)) == 3


def test_who_is_taken_over_from_is_fenced_off(shell: Shell, server: Server, message_id: str) -> None:
    with shell.producer(server.url, message_id) as first:
        first.append("chunk", payload={"text": "a"})
        with shell.producer(server.url, message_id, takeover=True) as second:
            assert second.append("chunk", payload={"text": "b"}).sequence_no == 1
            for _ in range(2):
                with pytest.raises(Fenced):
                    first.append("chunk", payload={"text": "lost"})
            second.append("chunk", payload={"text": "c"})
    assert texts(read(shell, server.url, message_id)) == ["a", "b", "c", "end"]


def test_who_is_fenced_off_learns_it_while_nothing_is_appended(
    shell: Shell, server: Server, message_id: str
) -> None:
    with (
        shell.producer(server.url, message_id, heartbeat_seconds=0.05) as first,
        shell.producer(server.url, message_id, takeover=True) as second,
    ):
        core = first.client._core if hasattr(first, "client") else first._core
        soon(lambda: core.fenced)
        with pytest.raises(Fenced):
            first.append("chunk")
        second.append("end")
    assert view(server, message_id)["last_sequence_no"] == 0


def test_who_was_fenced_off_unawares_learns_it_at_the_end(
    shell: Shell, server: Server, message_id: str
) -> None:
    first = shell.producer(server.url, message_id, heartbeat_seconds=0.05)

    def produce() -> None:
        with first, shell.producer(server.url, message_id, takeover=True) as second:
            core = first.client._core if hasattr(first, "client") else first._core
            soon(lambda: core.fenced)
            second.append("end")

    with pytest.raises(Fenced):
        produce()


def test_heartbeats_keep_a_quiet_message_alive_and_without_them_its_reader_is_told(
    shell: Shell, message_id: str
) -> None:
    settings = {"REJOIN_MESSAGES__PRODUCER_IDLE_SECONDS": "1", "REJOIN_SSE__RETRY_MS": RETRY_MS}
    quiet_id = f"{message_id}-quiet"
    with (
        running(settings) as server,
        shell.producer(server.url, quiet_id, heartbeat_seconds=60) as quiet,
        shell.producer(server.url, message_id, heartbeat_seconds=0.2) as alive,
    ):
        quiet.append("chunk")
        alive.append("chunk")
        reader = shell.reader(server.url).read_message(quiet_id)
        assert isinstance(next(reader), MessageEvent)
        assert isinstance(next(reader), ProducerStale)
        assert reader.cursor == "0"
        reader.close()
        statuses = [view(server, own_id)["status"] for own_id in (quiet_id, message_id)]
        assert statuses == ["stale", "streaming"]


def test_every_event_is_appended_and_read_once_though_connections_are_cut(
    shell: Shell, server: Server, message_id: str, aside: Aside
) -> None:
    with proxying(server) as up, proxying(server) as down:
        # Between the cuts a connection is well; the others lose requests, or answers.
        up.answer_bytes = lambda number: [None, 20, 0, None][number % 4]
        up.request_bytes = lambda number: [900, None, None, 150][number % 4]
        down.answer_bytes = lambda number: [731, 300, 520, 933, 1400, 411][number % 6]
        producer = shell.producer(up.url, message_id)
        with producer:
            reading = aside.submit(read, Shell(None), down.url, message_id)
            duplicates = [producer.append("chunk", payload={"text": n}).duplicate for n in range(20)]
        assert any(duplicates)
        items = reading.result(PATIENCE_SECONDS)
    assert [item.sequence_no for item in items] == list(range(21))
    assert texts(items) == [*range(20), "end"]


def test_threads_may_share_a_producer(server: Server, message_id: str, aside: Aside) -> None:
    shell = Shell(None)
    with shell.producer(server.url, message_id) as producer:
        appended = aside.map(lambda n: producer.append("chunk", payload={"text": n}), range(30))
    assert sorted(one.sequence_no for one in appended) == list(range(30))
    assert sorted(texts(read(shell, server.url, message_id))[:-1]) == list(range(30))
    shell.close()
