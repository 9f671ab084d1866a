"""What is sent for a publish, and what is tried again."""

from __future__ import annotations

import json
import pickle
from typing import Any

import httpx
import pytest

from _script import BROKEN, UNREACHABLE, Played, Step, head
from rejoin import (
    ConnectionFailed,
    Fenced,
    ProtocolError,
    Publication,
    RejoinError,
    RetryPolicy,
    UploadBroken,
    UploadResult,
)
from rejoin._http import base_url, checked_token
from rejoin._publish import publish
from rejoin._wire import Failure, retry_after

POLICY = RetryPolicy(attempts=4, total_seconds=30, first_delay_seconds=1, longest_delay_seconds=3)
TAKEN: list[Step] = [head(201), b'{"success":true,"id":"7-0"}']


def send(played: Played, *, key: str | None = None, policy: RetryPolicy = POLICY, **fields: Any) -> Any:
    fields = fields or {"user_id": "u"}
    return played.run(publish(Publication("t", **fields), key, policy, 10, played.chance))


def refusal(status: int, code: str = "c", **headers: str) -> list[Step]:
    return [head(status, **headers), json.dumps({"success": False, "message": "m", "code": code}).encode()]


def test_all_tries_have_one_key_and_two_calls_have_two() -> None:
    played = Played([[BROKEN], [head(201), b'{"succ', BROKEN], refusal(503), TAKEN, TAKEN])
    assert send(played).id == "7-0"
    send(played)
    keys = [request.headers["idempotency-key"] for request in played.requests]
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[3]
    assert played.slept == [1, 2, 3]
    assert json.loads(played.bodies[0]) == {"user_id": "u", "type": "t"}
    assert len(set(played.bodies)) == 1


def test_it_is_tried_so_often_and_no_more() -> None:
    played = Played([[UNREACHABLE]] * 4)
    with pytest.raises(ConnectionFailed, match="connection_failed: ConnectError: refused") as raised:
        send(played)
    assert isinstance(raised.value.__cause__, httpx.ConnectError)
    assert raised.value.status is None
    assert len(played.requests) == 4


def test_it_is_tried_for_so_long_and_no_longer() -> None:
    played = Played([[UNREACHABLE]] * 20)
    with pytest.raises(ConnectionFailed):
        send(played, policy=RetryPolicy(attempts=20, total_seconds=8, first_delay_seconds=3))
    assert (played.slept, len(played.requests)) == ([3], 2)
    assert played.requests[0].read_timeout_seconds == 8
    assert played.requests[1].read_timeout_seconds == 5


def test_retry_after_is_waited_for_or_told() -> None:
    played = Played([refusal(429, retry_after="5"), TAKEN])
    send(played)
    assert played.slept == [6]
    played = Played([refusal(503, retry_after="30")])
    with pytest.raises(RejoinError) as raised:
        send(played)
    assert (raised.value.status, raised.value.retry_after_seconds, played.slept) == (503, 30, [])


@pytest.mark.parametrize(
    ("status", "code"),
    [(408, "request_timeout"), (429, "c"), (502, "c"), (503, "c"), (504, "c"), (400, "incomplete_body")],
)
def test_what_may_pass_is_tried_again(status: int, code: str) -> None:
    played = Played([refusal(status, code), TAKEN])
    assert send(played).id == "7-0"


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 501])
def test_what_does_not_pass_is_raised_at_once(status: int) -> None:
    played = Played([refusal(status)])
    with pytest.raises(RejoinError) as raised:
        send(played)
    assert (raised.value.status, raised.value.code, str(raised.value)) == (status, "c", f"{status} c: m")


def test_a_broadcast_is_only_tried_again_where_it_was_certainly_not_sent() -> None:
    again: list[list[Step]] = [
        [UNREACHABLE],
        refusal(503, "draining"),
        refusal(503, "broadcasts_full"),
        refusal(429),
        refusal(408, "request_timeout"),
    ]
    for first in again:
        send(Played([first, TAKEN]), broadcast=True)
    raised: list[list[Step]] = [[BROKEN], refusal(503, "backend_unavailable"), refusal(502), refusal(504)]
    for first in raised:
        played = Played([first])
        with pytest.raises(RejoinError):
            send(played, broadcast=True)
        assert played.slept == []


def test_what_can_never_be_sent_is_not_tried_again() -> None:
    played = Played([[Failure(httpx.LocalProtocolError("no"), not_sent=False, may_pass=False)]])
    with pytest.raises(ConnectionFailed):
        send(played)


def test_receipts() -> None:
    receipt = send(
        Played([[head(200), b'{"success":true,"ids":["1-0","2-0"],"duplicate":true}']]), user_ids=["a", "b"]
    )
    assert (receipt.id, receipt.ids, receipt.duplicate, receipt.stored) == (None, ("1-0", "2-0"), True, True)
    receipt = send(Played([[head(202), b'{"success":true,"id":null}']]))
    assert (receipt.id, receipt.ids, receipt.stored) == (None, (), False)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"ids":7}', b'{"ids":[1]}', b"\xff", b"[" * 100_000]
)
def test_an_answer_that_no_server_gives_is_an_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        send(Played([[head(201), body]]))


def test_no_answer_is_held_that_is_too_large() -> None:
    with pytest.raises(ProtocolError, match="larger"):
        send(Played([[head(201), *[b"x" * 65536] * 100]]))


def test_the_answer_of_a_proxy_is_told() -> None:
    with pytest.raises(RejoinError, match="<html>bad") as raised:
        send(Played([[head(403), b"<html>bad" + b"x" * 5000]]))
    assert raised.value.code == "http_403"
    assert len(raised.value.message) == 200


def test_what_is_wrong_in_the_program_is_told_before_anything_is_sent() -> None:
    wrong: list[dict[str, Any]] = [
        {},
        {"user_id": "u", "broadcast": True},
        {"user_id": "u", "payload": 1, "data": "x"},
        {"user_id": "u", "event": "x"},
    ]
    for fields in wrong:
        with pytest.raises(ValueError, match="give"):
            Publication("t", **fields)
    with pytest.raises(TypeError):
        Publication("t", user_ids="u")
    for key in ["", "a b", "a\n", "\u00e9", "x" * 257]:
        with pytest.raises(ValueError, match="idempotency key"):
            send(Played([]), key=key)
    for payload, error in [(float("nan"), ValueError), ({1, 2}, TypeError), ("\ud800", ValueError)]:
        with pytest.raises(error):
            send(Played([]), user_id="u", payload=payload)


def test_content_is_sent_as_it_was_given() -> None:
    cases: list[dict[str, Any]] = [
        {"payload": None},
        {"payload": {"a": [1, 2.5, "\u00e9\0\u2028"]}},
        {"data": "a\r\nb"},
        {"data": "x", "event": "e"},
        {"scope": {}, "category": "ai"},
        {},
    ]
    for fields in cases:
        played = Played([TAKEN])
        send(played, user_id="u", **fields)
        assert json.loads(played.bodies[0]) == {"user_id": "u", "type": "t"} | fields


def test_retry_after_may_be_a_date() -> None:
    cases = {
        "7": 7.0,
        " 7 ": 7.0,
        "Thu, 01 Jan 1970 00:00:30 GMT": 20.0,
        "Thu, 01 Jan 1970 00:00:05 GMT": 0.0,
        "soon": None,
        "-1": None,
        "": None,
    }
    for text, seconds in cases.items():
        assert retry_after(text, lambda: 10.0) == seconds
    assert retry_after(None) is None


def test_urls_and_tokens() -> None:
    assert base_url("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
    assert base_url("https://example.com/rejoin/") == "https://example.com/rejoin"
    for url in ["127.0.0.1:8080", "ftp://example.com", "http://", "http://a?b=c", ""]:
        with pytest.raises(ValueError, match="`url`"):
            base_url(url)
    with pytest.raises(ValueError, match="line break") as raised:
        checked_token("secret\n")
    assert "secret" not in str(raised.value)


def test_errors_survive_being_passed_between_processes() -> None:
    error = Fenced("m", code="producer_fenced", status=409, field="f", expected_sequence_no=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.__dict__, str(copy)) == (Fenced, error.__dict__, str(error))
    broken = UploadBroken("m")
    broken.result, broken.first_line = UploadResult(lines=1), 7
    assert pickle.loads(pickle.dumps(broken)).first_line == 7


def test_policies_are_checked() -> None:
    with pytest.raises(ValueError, match="attempts"):
        RetryPolicy(attempts=0)
    with pytest.raises(ValueError, match="negative"):
        RetryPolicy(total_seconds=-1)
