from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from _script import BROKEN, Played, Step, head
from rejoin import (
    Appended,
    ConnectionFailed,
    Fenced,
    MessageEnded,
    ProtocolError,
    RejoinError,
    RetryPolicy,
    Stopped,
)
from rejoin._produce import ProducerCore
from rejoin.models import UNSET

POLICY = RetryPolicy(attempts=2, total_seconds=30, first_delay_seconds=1)


def answer(status: int = 200, /, **fields: object) -> list[Step]:
    return [head(status), json.dumps(fields).encode()]


def opened(**fields: object) -> list[Step]:
    view: dict[str, object] = {"epoch": 1, "last_sequence_no": None, "status": "streaming", "stop": False}
    return answer(201, **(view | fields))


def took(number: int, *, stop: bool = False, duplicate: bool = False) -> list[Step]:
    more = {"duplicate": True} if duplicate else {}
    return answer(201, success=True, sequence_no=number, stop=stop, **more)


def refused(status: int, code: str, /, **more: object) -> list[Step]:
    return answer(status, success=False, message="m", code=code, **more)


class Producer:
    """A producer and its script."""

    def __init__(self, *script: list[Step], opening: list[Step] | None = None, **options: Any) -> None:
        self.played = Played([opening or opened(), *script])
        options = {"takeover": False, "raise_on_stop": False, "heartbeat_seconds": 30} | options
        self.core = ProducerCore(
            "m", "u", policy=POLICY, timeout_seconds=10, chance=self.played.chance, **options
        )
        self.played.run(self.core.open())

    def append(
        self, type: str = "chunk", payload: Any = UNSET, data: str | None = None, **options: Any
    ) -> Appended:
        options = {"event": None, "last": None, "status": None} | options
        event = options.pop("event")
        return self.played.run(self.core.append(type, payload, data, event, **options))

    def end(self) -> None:
        self.played.run(self.core.end("complete"))

    def sent(self) -> list[Any]:
        return [json.loads(body) if body else None for body in self.played.bodies]

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.played.requests]


def test_events_are_numbered_and_carry_the_epoch() -> None:
    producer = Producer(took(0), took(1), took(2), answer(200), opening=opened(epoch=3))
    producer.append(payload={"text": "a"})
    producer.append(data="b", event="e")
    producer.append("odd", last=False)
    producer.end()
    producer.end()
    assert producer.sent() == [
        {"user_id": "u"},
        {"type": "chunk", "payload": {"text": "a"}, "sequence_no": 0},
        {"type": "chunk", "data": "b", "event": "e", "sequence_no": 1},
        {"type": "odd", "last": False, "sequence_no": 2},
        {"status": "complete"},
    ]
    epochs = [request.headers.get("producer-epoch") for request in producer.played.requests]
    assert epochs == [None, "3", "3", "3", "3"]
    assert producer.paths()[-1] == "POST /api/messages/m/end"


def test_numbers_go_on_where_the_message_stands() -> None:
    producer = Producer(took(8), opening=opened(last_sequence_no=7, epoch=2), takeover=True)
    assert producer.append().sequence_no == 8
    assert producer.sent()[0] == {"user_id": "u", "takeover": True}


def test_an_event_keeps_its_number_over_all_tries() -> None:
    producer = Producer([BROKEN], took(0, duplicate=True), took(1))
    assert producer.append() == Appended(0, stop=False, duplicate=True)
    assert producer.append() == Appended(1, stop=False, duplicate=False)
    assert [fields.get("sequence_no") for fields in producer.sent()[1:]] == [0, 0, 1]


def test_after_an_event_whose_outcome_is_unknown_the_next_finds_its_number() -> None:
    # It had been taken: its number is.
    producer = Producer([BROKEN], [BROKEN], refused(409, "sequence_conflict"), took(1), took(2))
    with pytest.raises(ConnectionFailed):
        producer.append(data="lost?")
    assert producer.append(data="next").sequence_no == 1
    assert producer.append().sequence_no == 2
    # It had not been taken: its number is free.
    producer = Producer([BROKEN], [BROKEN], took(0))
    with pytest.raises(ConnectionFailed):
        producer.append(data="lost?")
    assert producer.append(data="next").sequence_no == 0
    # The same once more is recognised.
    producer = Producer([BROKEN], [BROKEN], took(0, duplicate=True))
    with pytest.raises(ConnectionFailed):
        producer.append(data="lost?")
    assert producer.append(data="lost?").duplicate


def test_an_append_that_is_interrupted_is_one_whose_outcome_is_unknown() -> None:
    producer = Producer(refused(409, "sequence_conflict"), took(1))
    interrupted = producer.core.append("chunk", UNSET, "a", None, last=None, status=None)
    interrupted.send(None)
    interrupted.close()
    assert producer.append(data="b").sequence_no == 1


def test_a_number_that_another_producer_took_is_an_error() -> None:
    producer = Producer(
        refused(409, "sequence_conflict"), refused(409, "sequence_gap", expected_sequence_no=5)
    )
    with pytest.raises(RejoinError, match="sequence_conflict"):
        producer.append()
    with pytest.raises(RejoinError) as raised:
        producer.append()
    assert raised.value.expected_sequence_no == 5


def test_what_is_refused_for_its_content_leaves_its_number_free() -> None:
    producer = Producer(refused(422, "invalid_field", field="type"), refused(409, "sequence_conflict"))
    with pytest.raises(RejoinError) as raised:
        producer.append("a b")
    assert raised.value.field == "type"
    with pytest.raises(TypeError):
        producer.append(payload={1})
    with pytest.raises(ValueError, match="only one"):
        producer.append(payload=1, data="x")
    # So this number is not thought to be ours.
    with pytest.raises(RejoinError, match="sequence_conflict"):
        producer.append()


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({"type": "end"}, True),
        ({"type": "error"}, True),
        ({"type": "finish", "last": True, "status": "failed"}, True),
        ({"type": "error", "last": False}, False),
        ({"type": "finish"}, False),
    ],
)
def test_a_terminal_event_ends_the_message(options: dict[str, Any], ends: bool) -> None:
    producer = Producer(took(0))
    producer.append(**options)
    assert producer.core.is_ended is ends
    assert producer.core.needs_end is not ends
    if ends:
        producer.end()
        with pytest.raises(MessageEnded):
            producer.append()
        assert len(producer.played.requests) == 2


def test_a_fenced_producer_says_so_for_good() -> None:
    producer = Producer(refused(409, "producer_fenced"))
    for _ in range(2):
        with pytest.raises(Fenced):
            producer.append()
    with pytest.raises(Fenced):
        producer.end()
    assert len(producer.played.requests) == 2
    assert not producer.core.needs_end
    assert not producer.core.needs_heartbeat


def test_a_heartbeat_finds_that_it_is_fenced_that_it_is_to_stop_or_that_the_message_ended() -> None:
    calls: list[Callable[[Producer], object]] = [Producer.append, Producer.end]
    for call in calls:
        producer = Producer(refused(409, "producer_fenced"))
        producer.played.run(producer.core.heartbeat())
        assert producer.core.needs_end, "the application has yet to hear of it"
        with pytest.raises(Fenced):
            call(producer)
        assert not producer.core.needs_end

    producer = Producer(answer(200, success=True, stop=True))
    producer.played.run(producer.core.heartbeat())
    assert producer.core.stop_requested

    producer = Producer(refused(409, "message_complete"))
    producer.played.run(producer.core.heartbeat())
    assert not producer.core.needs_end


def test_heartbeats_are_due_while_nothing_is_appended() -> None:
    producer = Producer(took(0), [BROKEN], [BROKEN], answer(200, success=True, stop=False))
    assert producer.core.seconds_to_heartbeat() == 30
    producer.played.clock += 20
    assert producer.core.seconds_to_heartbeat() == 10
    producer.append()
    assert producer.core.seconds_to_heartbeat() == 30
    producer.played.clock += 40
    assert producer.core.seconds_to_heartbeat() == 0
    producer.played.run(producer.core.heartbeat())
    assert producer.core.seconds_to_heartbeat() == 7.5, "one that failed is repeated sooner"
    producer.played.run(producer.core.heartbeat())
    assert producer.core.seconds_to_heartbeat() == 30


def test_a_stop_is_known_and_is_told_once() -> None:
    producer = Producer(took(0), took(1, stop=True), took(2, stop=True))
    producer.append()
    assert not producer.core.take_stop()
    assert producer.append().stop
    assert producer.core.take_stop()
    producer.append()
    assert not producer.core.take_stop()
    assert producer.core.stop_requested


def test_a_stop_is_raised_if_asked_for_but_not_at_the_end() -> None:
    producer = Producer(took(0, stop=True), took(1, stop=True), raise_on_stop=True)
    with pytest.raises(Stopped):
        producer.append()
    with pytest.raises(Stopped):
        producer.append()
    assert len(producer.played.requests) == 2, "a stop that is known sends nothing"
    producer.append("end")
    assert producer.core.is_ended


def test_a_stop_of_before_a_takeover_is_known() -> None:
    assert Producer(opening=opened(stop=True)).core.take_stop()


def test_a_message_that_has_ended_is_not_opened() -> None:
    for status in ["complete", "failed"]:
        with pytest.raises(MessageEnded):
            Producer(opening=opened(status=status))
    with pytest.raises(MessageEnded):
        Producer(opening=refused(409, "message_complete"))
    with pytest.raises(ProtocolError):
        Producer(opening=answer(200, success=True))
    Producer(opening=opened(status="stale"))


def test_what_is_wrong_in_the_program_is_told() -> None:
    played = Played([])
    options: dict[str, Any] = {
        "takeover": False,
        "raise_on_stop": False,
        "policy": POLICY,
        "timeout_seconds": 1,
        "chance": played.chance,
    }
    core = ProducerCore(None, "u", heartbeat_seconds=1, **options)
    assert len(core.message_id) == 36
    with pytest.raises(RuntimeError, match="context manager"):
        played.run(core.append("chunk", UNSET, None, None, last=None, status=None))
    with pytest.raises(ValueError, match="heartbeat_seconds"):
        ProducerCore(None, "u", heartbeat_seconds=0, **options)
    with pytest.raises(ValueError, match="message id"):
        ProducerCore("a/b", "u", heartbeat_seconds=1, **options)
