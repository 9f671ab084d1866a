from __future__ import annotations

import json
from typing import Any

import pytest

from _script import BROKEN, EVENTS, UNREACHABLE, Played, Step, head
from rejoin import (
    ConnectionFailed,
    Event,
    MessageEvent,
    ProducerStale,
    ProtocolError,
    RejoinError,
    Truncated,
)
from rejoin._retry import Chance
from rejoin._stream import MessageTopic, StreamCore, StreamOptions, Topic, UserTopic, content_of, message_path
from rejoin._wire import Request

GREETING = b": connected\nretry: 1000\n"
OPTIONS = StreamOptions(10, 60, None, 30, 1_000_000)


def frame(data: object, own_id: str | None = None, event: str | None = None) -> bytes:
    lines = [f"event: {event}"] if event else []
    lines.append(f"data: {json.dumps(data)}")
    lines += [] if own_id is None else [f"id: {own_id}"]
    return ("\n".join(lines) + "\n\n").encode()


def envelope(number: int, **more: object) -> bytes:
    own_id = f"{number}-0"
    fields: dict[str, object] = {"id": own_id, "type": "t", "ts": "2026-11-22T12:11:43.266Z", "scope": {}}
    return frame(fields | {"payload": {"n": number}} | more, own_id)


def position(own_id: str) -> bytes:
    return frame({"type": "stream.position", "payload": {}}, own_id, "stream.position")


def truncated(oldest: str | None) -> bytes:
    return frame({"type": "backlog.truncated", "payload": {"oldest_retained_id": oldest}})


def follow(
    played: Played,
    topic: Topic[Any] | None = None,
    cursor: str | None = None,
    options: StreamOptions = OPTIONS,
) -> StreamCore[Any]:
    chance: Chance = played.chance
    return StreamCore(topic or UserTopic(None), cursor, options, chance)


def take(played: Played, core: StreamCore[Any], count: int) -> list[Any]:
    return [played.run(core.next()) for _ in range(count)]


def numbers(items: list[Event]) -> list[int]:
    return [item.payload["n"] for item in items]


def cursors(played: Played) -> list[str | None]:
    return [request.headers.get("last-event-id") for request in played.requests]


class Journal:
    """A server of user events, whose connections are cut after so many bytes."""

    def __init__(self, events: int, cuts: list[int]) -> None:
        self._events = events
        self._cuts = cuts

    def __call__(self, request: Request) -> list[Step]:
        cursor = request.headers.get("last-event-id")
        behind = int(cursor.partition("-")[0]) if cursor else 0
        text = GREETING + (b"" if cursor else position("0-0"))
        for number in range(behind + 1, self._events + 1):
            text += envelope(number)
            if number % 3 == 0:
                text += b": keepalive\n" + position(f"{number}-0")
        if not self._cuts:
            return [EVENTS, text]
        at = self._cuts.pop(0)
        # In two pieces, so that something may be waiting when the cut comes.
        return [EVENTS, text[: at // 2], text[at // 2 : at], BROKEN]


def test_every_event_comes_once_in_order_wherever_the_first_connection_is_cut() -> None:
    whole = Journal(7, [])(Request("GET", "/"))[1]
    assert isinstance(whole, bytes)
    for at in range(len(whole) + 1):
        played = Played(Journal(7, [at]))
        core = follow(played)
        assert numbers(take(played, core, 7)) == [1, 2, 3, 4, 5, 6, 7], f"cut at {at}"
        assert core.cursor == "7-0"


def test_every_event_comes_once_in_order_over_many_cuts() -> None:
    for seed in range(50):
        cuts = [(seed * 7919 + step * 104729) % 900 for step in range(40)]
        played = Played(Journal(30, cuts))
        core = follow(played)
        assert numbers(take(played, core, 30)) == list(range(1, 31)), f"cuts {seed}"


def test_the_cursor_moves_when_an_item_is_handed_over_and_not_before() -> None:
    text = GREETING + position("1-0") + envelope(2) + envelope(3) + position("9-9")
    played = Played([[EVENTS, text], [EVENTS, envelope(10)]])
    core = follow(played)
    seen = []
    for _ in range(2):
        event = take(played, core, 1)[0]
        seen.append((event.id, core.cursor))
    assert seen == [("2-0", "2-0"), ("3-0", "3-0")]
    assert numbers(take(played, core, 1)) == [10]
    assert cursors(played) == [None, "9-9"]


def test_connecting_waits_for_the_head_only_without_a_cursor() -> None:
    played = Played([[EVENTS, GREETING, position("5-1"), envelope(6)]])
    core = follow(played)
    played.run(core.connect())
    assert core.cursor == "5-1"
    played.run(core.connect())
    assert len(played.requests) == 1
    assert numbers(take(played, core, 1)) == [6]

    played = Played([[EVENTS]])
    core = follow(played, cursor="4-0")
    played.run(core.connect())
    assert (core.cursor, cursors(played)) == ("4-0", ["4-0"])


def test_a_broadcast_has_no_id_and_leaves_the_cursor() -> None:
    text = envelope(1) + frame(
        {"type": "b", "ts": "2026-11-22T12:11:43.266Z", "scope": {}, "data": "hi", "event": "e"}
    )
    played = Played([[EVENTS, text]])
    core = follow(played)
    first, second = take(played, core, 2)
    assert (first.id, second.id, core.cursor) == ("1-0", None, "1-0")
    assert (second.data, second.event, second.payload) == ("hi", "e", None)


def test_truncation_is_an_item_of_its_own_and_the_cursor_follows_with_the_next_id() -> None:
    text = GREETING + truncated("3-0") + envelope(3) + truncated(None) + position("8-0")
    played = Played([[EVENTS, text], [EVENTS, envelope(9)]])
    core = follow(played, cursor="1-0")
    assert take(played, core, 1) == [Truncated("3-0")]
    assert core.cursor == "1-0", "who stops here is told again"
    assert numbers(take(played, core, 1)) == [3]
    assert take(played, core, 1) == [Truncated(None)]
    take(played, core, 1)
    assert cursors(played) == ["1-0", "8-0"]


def test_what_the_server_asks_for_is_waited_for_before_the_next_connection() -> None:
    draining = b"retry: 2000\n: draining\n"
    capped = b"retry: 100\n: snapshot capped\n"
    played = Played(
        [
            [EVENTS, GREETING + envelope(1) + draining],
            [EVENTS, GREETING + envelope(2) + capped],
            [EVENTS, GREETING + envelope(3), BROKEN],
            [EVENTS, envelope(4)],
        ]
    )
    assert numbers(take(played, follow(played), 4)) == [1, 2, 3, 4]
    # With a quarter more at random, which is at its greatest here.
    assert played.slept == [2.5, 0.125, 1.25]


def test_refusals_that_pass_are_waited_for_and_longer_each_time() -> None:
    played = Played(
        [
            [UNREACHABLE],
            [UNREACHABLE],
            [head(503, retry_after="40"), b'{"code":"draining"}'],
            [head(429, retry_after="1"), b"slow down"],
            [head(502), b"<html>"],
            [EVENTS, GREETING + envelope(1), BROKEN],
            [UNREACHABLE],
            [EVENTS, GREETING + envelope(2)],
        ]
    )
    core = follow(played, cursor="0")
    assert numbers(take(played, core, 2)) == [1, 2]
    assert played.slept == [1.25, 2.5, 41.0, 10.0, 20.0, 1.25, 1.25]
    assert set(cursors(played)) == {"0", "1-0"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 307, 500])
def test_other_refusals_are_raised_and_the_next_call_tries_again(status: int) -> None:
    refusal = b'{"success":false,"message":"m","code":"c","field":"f"}'
    played = Played([[head(status, x_request_id="r1"), refusal], [EVENTS, envelope(2)]])
    core = follow(played, cursor="1-0")
    with pytest.raises(RejoinError) as raised:
        played.run(core.next())
    error = raised.value
    assert (error.status, error.code, error.message, error.field) == (status, "c", "m", "f")
    assert error.request_id == "r1"
    assert core.cursor == "1-0"
    assert numbers(take(played, core, 1)) == [2]


def test_it_gives_up_after_a_time_without_a_connection_if_asked_to() -> None:
    options = StreamOptions(10, 60, 20, 30, 1_000_000)
    played = Played(lambda request: [UNREACHABLE])
    with pytest.raises(ConnectionFailed, match="ConnectError: refused"):
        played.run(follow(played, options=options).next())
    assert played.slept == [1.25, 2.5, 5.0, 10.0]


def test_204_is_the_end() -> None:
    played = Played([[head(204)]])
    core = follow(played, cursor="9")
    assert take(played, core, 2) == [None, None]
    assert len(played.requests) == 1


def test_what_is_no_event_stream_is_an_error_and_no_reason_to_try_again() -> None:
    played = Played([[head(content_type="text/html"), b"<html>"]])
    with pytest.raises(ProtocolError, match="text/html"):
        played.run(follow(played).next())


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {\nid: 2-0\n\n",
        b"data: []\nid: 2-0\n\n",
        b"data: " + b"[" * 100_000 + b"\nid: 2-0\n\n",
        frame({"type": 7}, "2-0"),
        frame({"type": "t", "ts": "yesterday"}, "2-0"),
        b"data: x\nid: 2 0\n\n",
        "data: x\nid: \u00e9\n\n".encode(),
        b"data: " + b"x" * 1_000_001,
    ],
)
def test_what_no_server_sends_is_an_error_that_moves_nothing(bad: bytes) -> None:
    def answer(request: Request) -> list[Step]:
        first = b"" if "last-event-id" in request.headers else envelope(1)
        return [EVENTS, GREETING + first + bad + envelope(3)]

    played = Played(answer)
    core = follow(played)
    assert numbers(take(played, core, 1)) == [1]
    for _ in range(2):
        with pytest.raises(ProtocolError):
            played.run(core.next())
        assert core.cursor == "1-0"


def test_who_is_interrupted_while_waiting_connects_anew() -> None:
    played = Played([[EVENTS, GREETING + envelope(1)], [EVENTS, envelope(2)]])
    core = follow(played)
    take(played, core, 1)
    waiting = core.next()
    waiting.send(None)
    waiting.close()
    assert numbers(take(played, core, 1)) == [2]
    assert cursors(played) == [None, "1-0"]
    assert played.slept == []


def message(number: int, type: str = "chunk", **fields: object) -> bytes:
    return frame({"type": type} | fields, str(number))


def test_a_message_ends_behind_its_end() -> None:
    played = Played([[EVENTS, GREETING + message(0, text="a") + message(1, type="end")]])
    core = follow(played, MessageTopic("m"))
    first, last, nothing = take(played, core, 3)
    assert (first.sequence_no, first.type, first.payload, first.id) == (0, "chunk", {"text": "a"}, "0")
    assert (last.type, last.payload, nothing) == ("end", {}, None)
    assert len(played.requests) == 1


def test_a_message_whose_last_event_is_of_another_type_is_asked_for_once_more_at_once() -> None:
    played = Played([[EVENTS, GREETING + message(0) + message(1, type="finish")], [head(204)]])
    core = follow(played, MessageTopic("m"))
    assert [item and item.type for item in take(played, core, 3)] == ["chunk", "finish", None]
    assert (cursors(played), played.slept) == ([None, "1"], [])


def test_a_message_that_is_cut_behind_its_end_is_asked_for_once_more_at_once() -> None:
    played = Played([[EVENTS, GREETING + message(0, type="error"), BROKEN], [head(204)]])
    core = follow(played, MessageTopic("m"))
    assert take(played, core, 2)[1] is None
    assert (cursors(played), played.slept) == ([None, "0"], [])


def test_a_message_that_goes_on_behind_such_a_type_is_read_on() -> None:
    text = GREETING + message(0, type="error") + b"retry: 1000\n: draining\n"
    played = Played([[EVENTS, text], [EVENTS, message(1, type="end")]])
    core = follow(played, MessageTopic("m"))
    assert [item and item.sequence_no for item in take(played, core, 3)] == [0, 1, None]


def test_a_silent_producer_is_an_item_and_the_reader_comes_back_later() -> None:
    stale = {"type": "error", "code": "producer_stale", "error": "silent", "message_id": "m"}
    text = GREETING + message(0) + b"retry: 30000\n" + frame(stale)
    played = Played([[EVENTS, text], [EVENTS, GREETING + message(1, type="end")]])
    core = follow(played, MessageTopic("m"))
    assert take(played, core, 2)[1] == ProducerStale("silent")
    assert (core.cursor, played.slept) == ("0", [])
    assert take(played, core, 1)[0].type == "end"
    assert played.slept == [37.5]


def test_a_message_that_began_anew_is_read_from_its_start() -> None:
    gone = truncated(None) + position("") + message(0, type="new")
    played = Played([[EVENTS, GREETING + gone, BROKEN], [EVENTS, message(1, type="end")]])
    core = follow(played, MessageTopic("m"), cursor="7")
    assert take(played, core, 1) == [Truncated(None)]
    assert take(played, core, 1)[0].sequence_no == 0
    take(played, core, 1)
    assert cursors(played) == ["7", "0"]


def test_the_content_of_a_messages_event() -> None:
    cases: list[tuple[dict[str, Any], tuple[Any, str | None, str | None]]] = [
        ({"type": "t"}, ({}, None, None)),
        ({"type": "t", "text": "a"}, ({"text": "a"}, None, None)),
        ({"type": "t", "data": "a"}, (None, "a", None)),
        ({"type": "t", "data": "", "event": "e"}, (None, "", "e")),
        ({"type": "t", "data": "a", "x": 1}, ({"data": "a", "x": 1}, None, None)),
        ({"type": "t", "data": {"a": 1}}, ({"data": {"a": 1}}, None, None)),
        ({"type": "t", "payload": [1]}, ([1], None, None)),
        ({"type": "t", "payload": None}, (None, None, None)),
        ({"type": "t", "payload": {"a": 1}}, ({"payload": {"a": 1}}, None, None)),
        ({"type": "t", "payload": 1, "x": 2}, ({"payload": 1, "x": 2}, None, None)),
    ]
    for fields, content in cases:
        assert content_of(fields) == content


def test_message_ids_are_checked_before_they_become_a_path() -> None:
    assert message_path("a.B_9:-", "/end") == "/api/messages/a.B_9%3A-/end"
    for bad in ["", ".", "..", "a/b", "a b", "\u00e9", "a\n", "x" * 129, "%2e"]:
        with pytest.raises(ValueError, match="a message id"):
            message_path(bad)
    for bad in ["", "a\n", "a b", "\u00e9"]:
        with pytest.raises(ValueError, match="a cursor"):
            StreamCore(MessageTopic("m"), bad, OPTIONS, Chance())


def test_categories_are_a_list() -> None:
    assert UserTopic(["a", "b"]).query() == {"format": "envelope", "categories": "a,b"}
    assert UserTopic([]).query() == {"format": "envelope"}
    with pytest.raises(TypeError):
        UserTopic("ai")


def test_events_say_what_they_are() -> None:
    text = envelope(1, scope={"kind": "s"}, category="ai", user_id="u1")
    played = Played([[EVENTS, text]])
    event = take(played, follow(played), 1)[0]
    assert isinstance(event, Event)
    assert (event.type, event.category, event.user_id, event.scope) == ("t", "ai", "u1", {"kind": "s"})
    assert event.ts.isoformat() == "2026-11-22T12:11:43.266000+00:00"
    assert json.loads(event.raw)["payload"] == {"n": 1}
    assert MessageEvent(3, "t", {}, None, None, "{}").id == "3"
