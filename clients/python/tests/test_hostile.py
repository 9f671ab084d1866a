"""Answers that no Rejoin server gives, but proxies and accidents do."""

from __future__ import annotations

import gzip
import json
import threading
from typing import Any

import pytest

from _servers import PATIENCE_SECONDS, answer, scripted, stream
from conftest import Aside, Shell
from rejoin import ConnectionFailed, Event, ProtocolError, RejoinError, RetryPolicy, UploadBroken

TAKEN = answer("201 Created", b'{"success":true,"id":"7-0"}')
SUMMED_UP = answer("200 OK", b'{"success":true,"lines":1,"taken":1,"duplicates":0,"failed":0}\n')
GREETING = ": connected\nretry: 10\n"
ONE_LINE = [{"user_id": "u", "type": "t"}]


def event(number: int) -> str:
    fields = {"type": "t", "ts": "2026-11-22T12:11:43.266Z", "scope": {}, "payload": {"n": number}}
    return f"data: {json.dumps(fields)}\nid: {number}-0\n\n"


def publish(shell: Shell, url: str, **options: Any) -> Any:
    return shell.publisher(url, **options).publish("t", user_id="u")


def test_a_server_that_asks_to_wait_is_waited_for(shell: Shell) -> None:
    busy = answer("503 Service Unavailable", b'{"code":"draining","message":"m"}', retry_after="0")
    with scripted(busy, answer("429 Too Many Requests", b"slow down"), TAKEN) as server:
        assert publish(shell, server.url).id == "7-0"
        keys = {server.header(number, "idempotency-key") for number in range(3)}
        assert (len(server.requests), len(keys)) == (3, 1)
    with scripted(answer("503 Service Unavailable", b"", retry_after="3600")) as server:
        with pytest.raises(RejoinError) as raised:
            publish(shell, server.url)
        assert (raised.value.retry_after_seconds, len(server.requests)) == (3600, 1)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 201 Crea",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{",
        b'HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"suc\r\n',
        b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 201 Created\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
    ],
)
@pytest.mark.parametrize("resets", [True, False], ids=["broken", "closed"])
def test_an_answer_that_breaks_off_is_asked_for_again(shell: Shell, broken: bytes, resets: bool) -> None:
    with scripted(broken, broken, TAKEN) as server:
        server.resets = resets
        assert publish(shell, server.url).id == "7-0"
        assert len({server.header(number, "idempotency-key") for number in range(3)}) == 1
    with scripted(broken, SUMMED_UP) as server:
        server.resets = resets
        assert shell.publisher(server.url).publish_many(ONE_LINE).taken == 1


def test_a_server_that_never_answers_is_given_up(shell: Shell) -> None:
    policy = RetryPolicy(attempts=3, total_seconds=20, first_delay_seconds=0.01)
    with scripted(b"") as server:
        server.holds.clear()
        with pytest.raises(ConnectionFailed, match="Timeout"):
            publish(shell, server.url, retry=policy, timeout_seconds=0.1)
        assert server.accepted == 3
        server.holds.set()


def test_an_answer_that_is_compressed_all_the_same_is_read(shell: Shell) -> None:
    body = gzip.compress(b'{"success":true,"id":"7-0"}')
    with scripted(answer("201 Created", body, content_encoding="gzip")) as server:
        assert publish(shell, server.url).id == "7-0"
        assert server.header(0, "accept-encoding") == "identity"


def test_nothing_is_sent_where_an_answer_points_to(shell: Shell) -> None:
    with scripted(TAKEN) as elsewhere:
        moved = answer("307 Temporary Redirect", b"", location=f"{elsewhere.url}/api/events")
        with scripted(moved) as server:
            with pytest.raises(RejoinError) as raised:
                publish(shell, server.url, token="secret")
            assert (raised.value.status, raised.value.code) == (307, "http_307")
            with pytest.raises(UploadBroken, match="http_307"):
                shell.publisher(server.url).publish_many(ONE_LINE)
            with pytest.raises(RejoinError, match="http_307"):
                next(shell.reader(server.url))
        assert elsewhere.requests == []


def test_a_stream_that_breaks_in_any_way_goes_on_behind_its_cursor(shell: Shell) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    with scripted(
        stream(GREETING, event(1), whole=False),
        b"nonsense\r\n\r\n",
        stream(GREETING, event(2), event(3)[:-20], whole=False),
        stream(GREETING, event(3), event(4)[:-1]),
        stream(GREETING, event(4)) + b"more than the last chunk",
        head + b"zz\r\n",
        answer("502 Bad Gateway", b"<html>"),
        answer("503 Service Unavailable", b"", retry_after="0"),
        stream(": \xe9\n" + GREETING, "nonsense: 1\nevent: stream.unheard.of\ndata: x\n\n", event(5)),
    ) as server:
        reader = shell.reader(server.url, longest_delay_seconds=0.1)
        got = [next(reader) for _ in range(5)]
        assert [one.payload["n"] for one in got] == [1, 2, 3, 4, 5]
        cursors = [server.header(number, "last-event-id") for number in range(9)]
        assert cursors == [None, "1-0", "1-0", "2-0", "3-0", "4-0", "4-0", "4-0", "4-0"]


def test_what_can_not_be_a_stream_is_an_error(shell: Shell) -> None:
    with (
        scripted(answer("200 OK", b"<html>", content_type="text/html")) as server,
        pytest.raises(ProtocolError, match="text/html"),
    ):
        next(shell.reader(server.url))
    huge = stream(GREETING, event(1), *["data: " + "x" * 60_000] * 20)
    with scripted(huge, stream(*["x" * 60_000] * 20)) as server:
        reader = shell.reader(server.url, event_bytes_max=1_000_000)
        assert isinstance(next(reader), Event)
        with pytest.raises(ProtocolError, match="larger than 1000000 bytes"):
            next(reader)
        assert reader.cursor == "1-0"
    with (
        scripted(answer("201 Created", b"x" * 3_000_000)) as server,
        pytest.raises(ProtocolError, match="larger"),
    ):
        publish(shell, server.url)
    with (
        scripted(answer("200 OK", b'{"line":1,"message":"' + b"x" * 3_000_000)) as server,
        pytest.raises(UploadBroken, match="larger"),
    ):
        shell.publisher(server.url).publish_many(ONE_LINE)


def test_a_reader_gives_up_after_a_time_if_asked_to(shell: Shell) -> None:
    with scripted(b"") as server:
        url = server.url
    with pytest.raises(ConnectionFailed, match="ConnectError"):
        next(shell.reader(url, give_up_after_seconds=0.5))


def test_204_ends_the_iteration(shell: Shell) -> None:
    with scripted(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        assert list(shell.reader(server.url)) == []
        assert list(shell.reader(server.url).read_message("m", cursor="7")) == []
        assert server.header(1, "last-event-id") == "7"


def test_a_reader_that_is_closed_closes_its_connection_and_can_go_on(shell: Shell, aside: Aside) -> None:
    first = stream(GREETING, "data: " + json.dumps({"type": "chunk", "n": 0}) + "\nid: 0\n\n", whole=False)
    last = stream(GREETING, 'data: {"type":"end"}\nid: 1\n\n')
    with scripted(first, last) as server:
        server.holds.clear()
        with shell.reader(server.url).read_message("m") as message:
            assert next(message).payload == {"n": 0}
        server.holds.set()
        assert [item.type for item in message] == ["end"]
        assert server.header(1, "last-event-id") == "0"


def test_the_token_is_sent_and_not_shown(shell: Shell) -> None:
    with scripted(TAKEN) as server:
        publisher = shell.publisher(server.url, token="secret")
        publisher.publish("t", user_id="u")
        assert server.header(0, "authorization") == "Bearer secret"
        assert "secret" not in repr(publisher)
    with scripted(TAKEN) as server:
        tokens = iter(["one", "two", "bad\n"])
        publisher = shell.publisher(f"{server.url}/below/", token=lambda: next(tokens))
        for number, given in enumerate(["one", "two"]):
            publisher.publish("t", user_id="u")
            assert server.header(number, "authorization") == f"Bearer {given}"
        assert server.requests[0][0].startswith(b"POST /below/api/events HTTP/1.1\r\n")
        with pytest.raises(ValueError, match="a token has"):
            publisher.publish("t", user_id="u")
    with pytest.raises(ValueError, match="a token has"):
        shell.publisher("http://127.0.0.1:1", token="secret\n")


def test_an_upload_holds_one_batch_at_the_most(shell: Shell) -> None:
    """The iterable is not drawn from while the server has yet to answer for the batch before."""
    drawn: list[int] = []

    def items() -> Any:
        for number in range(25):
            drawn.append(number)
            yield {"user_id": "u", "type": "t", "payload": number}

    seen = threading.Event()
    many = answer("200 OK", b'{"success":true,"lines":10,"taken":10,"duplicates":0,"failed":0}\n')
    few = answer("200 OK", b'{"success":true,"lines":5,"taken":5,"duplicates":0,"failed":0}\n')
    with scripted(many, many, few) as server:
        most: list[int] = []
        serve = server.serve

        def watched(connection: Any, number: int) -> None:
            serve(connection, number)
            most.append(len(drawn))
            seen.set()

        server.serve = watched  # type: ignore[method-assign]
        assert shell.publisher(server.url).publish_many(items(), batch_lines=10).lines == 25
        assert seen.wait(PATIENCE_SECONDS)
    # The first item of the next batch may have been drawn by then.
    assert most[0] <= 11
    assert [len(body.splitlines()) for _, body in server.requests] == [10, 10, 5]


OPENED = answer("201 Created", b'{"epoch":1,"last_sequence_no":null,"status":"streaming","stop":false}')
AWAY = answer("503 Service Unavailable", b'{"code":"backend_unavailable","message":"m"}')


def test_a_block_that_fails_raises_its_own_error_though_the_end_fails_too(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    def produce(url: str, failure: type[Exception] | None) -> None:
        with shell.producer(url, "m"):
            if failure is not None:
                raise failure

    with scripted(OPENED, AWAY) as server:
        with pytest.raises(ZeroDivisionError):
            produce(server.url, ZeroDivisionError)
        assert "could not be ended as failed: 503 backend_unavailable" in caplog.text
        assert len(server.requests) == 4
    with scripted(OPENED, AWAY) as server, pytest.raises(RejoinError, match="503 backend_unavailable"):
        produce(server.url, None)


def test_a_heartbeat_that_fails_is_logged_and_is_not_the_last(
    shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []
    beaten = threading.Event()

    def token() -> str:
        asked.append(1)
        if len(asked) == 4:
            beaten.set()
        if len(asked) == 2:
            raise ZeroDivisionError
        return "secret"

    with scripted(OPENED, answer("200 OK", b'{"success":true,"stop":false}')) as server:
        with shell.producer(server.url, "m", token=token, heartbeat_seconds=0.05):
            assert beaten.wait(PATIENCE_SECONDS)
        assert "message m: the heartbeat failed" in caplog.text
        assert server.requests[1][0].startswith(b"POST /api/messages/m/heartbeat ")
        assert any(head.startswith(b"POST /api/messages/m/end ") for head, _ in server.requests)
