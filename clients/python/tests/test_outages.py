"""A server that goes away and comes back, and one that checks tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from _servers import PATIENCE_SECONDS, Server, running
from conftest import RETRY_MS, Aside, Shell
from rejoin import RejoinError, RetryPolicy, UploadBroken

SECRET = "a secret of the tests, 32 bytes and more"
WHILE_IT_STARTS = RetryPolicy(
    attempts=1000, total_seconds=30, first_delay_seconds=0.02, longest_delay_seconds=0.05
)


def numbers(items: list[Any]) -> list[int]:
    return [item.payload["n"] for item in items]


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_events_survive_a_server_that_goes_away(shell: Shell, tmp_path: Path, end: str, aside: Aside) -> None:
    settings = {"REJOIN_SSE__RETRY_MS": RETRY_MS, "REJOIN_SERVER__DRAIN_SECONDS": "1"}
    with running(settings, disk=tmp_path) as server:
        reader = shell.reader(server.url, longest_delay_seconds=0.1)
        publisher = shell.publisher(server.url, retry=WHILE_IT_STARTS)
        producer = shell.producer(server.url, retry=WHILE_IT_STARTS)
        reader.connect()

        def publish(first: int) -> None:
            for n in range(first, first + 5):
                publisher.publish("t", user_id="local", payload={"n": n})
                producer.append("chunk", payload={"n": n})

        with producer:
            publish(0)
            assert numbers([next(reader) for _ in range(3)]) == [0, 1, 2]
            message = shell.reader(server.url, longest_delay_seconds=0.1).read_message(producer.message_id)
            assert numbers([next(message) for _ in range(2)]) == [0, 1]
            getattr(server, end)()
            # These wait for the server.
            publishing = aside.submit(publish, 5)
            server.start()
            publishing.result(PATIENCE_SECONDS)
            assert numbers([next(reader) for _ in range(7)]) == [3, 4, 5, 6, 7, 8, 9]
        assert numbers(list(message)[:-1]) == [2, 3, 4, 5, 6, 7, 8, 9]
        message.close()


def token(subject: str, *scopes: str, seconds: float = 600) -> str:
    """A token of the kind HS256."""
    claims = {"sub": subject, "scope": " ".join(scopes), "exp": int(time.time() + seconds)}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.new(SECRET.encode(), text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server that checks tokens."""
    settings = {
        "REJOIN_AUTH__MODE": "jwt",
        "REJOIN_AUTH__JWT__SECRET": SECRET,
        "REJOIN_AUTH__JWT__LEEWAY_SECONDS": "0",
        "REJOIN_SSE__RETRY_MS": RETRY_MS,
        "REJOIN_MESSAGES__OPEN_WAIT_SECONDS": "0",
    }
    with running(settings) as server:
        yield server


def test_refusals_of_tokens_are_raised(shell: Shell, guarded: Server, message_id: str) -> None:
    no_scope = token("u1")
    for given, status, code in [
        (None, 401, "missing_credentials"),
        ("nonsense", 401, "invalid_token"),
        (no_scope, 403, "forbidden"),
    ]:
        with pytest.raises(RejoinError) as raised:
            shell.publisher(guarded.url, token=given).publish("t", user_id="u1")
        assert (raised.value.status, raised.value.code) == (status, code)
        with pytest.raises(RejoinError) as raised, shell.producer(guarded.url, message_id, token=given):
            pass
        assert (raised.value.status, raised.value.code) == (status, code)
        if status == 401:
            with pytest.raises(RejoinError) as raised:
                next(shell.reader(guarded.url, token=given))
            assert (raised.value.status, raised.value.code) == (status, code)


def test_an_upload_that_is_refused_while_it_is_sent_says_why(shell: Shell, guarded: Server) -> None:
    items = [{"user_id": "u1", "type": "t", "payload": "x" * 1000} for _ in range(2000)]
    with pytest.raises(UploadBroken) as raised:
        shell.publisher(guarded.url).publish_many(items)
    assert (raised.value.status, raised.value.code, raised.value.first_line) == (
        401,
        "missing_credentials",
        1,
    )


def test_users_read_their_own_events_and_messages(shell: Shell, guarded: Server, message_id: str) -> None:
    service = token("service", "events:publish", "messages:publish")
    reader = shell.reader(guarded.url, token=token("u1"))
    reader.connect()
    publisher = shell.publisher(guarded.url, token=service)
    publisher.publish("t", user_id="u2", payload={"n": 2})
    publisher.publish("t", user_id="u1", payload={"n": 1})
    event = next(reader)
    assert (event.user_id, event.payload) == ("u1", {"n": 1})
    with shell.producer(guarded.url, message_id, user_id="u1", token=service) as producer:
        producer.append("chunk", payload={"n": 0})
    assert len(list(reader.read_message(message_id))) == 2
    with pytest.raises(RejoinError, match="message_not_found"):
        list(shell.reader(guarded.url, token=token("u2")).read_message(message_id))
    service_reader = shell.reader(guarded.url, token=token("service", "messages:read"))
    assert len(list(service_reader.read_message(message_id))) == 2


def test_a_token_that_ends_is_replaced_by_a_fresh_one(shell: Shell, guarded: Server) -> None:
    given: list[str] = []

    def fresh() -> str:
        # The first ends in a moment.
        given.append(token("u3", seconds=600 if given else 1.5))
        return given[-1]

    reader = shell.reader(guarded.url, token=fresh)
    reader.connect()
    publisher = shell.publisher(guarded.url, token=token("service", "events:publish"))
    publisher.publish("t", user_id="u3", payload={"n": 0})
    assert numbers([next(reader)]) == [0]
    ending = shell.reader(guarded.url, token=token("u3", seconds=1.5))
    with pytest.raises(RejoinError) as raised:
        list(ending)
    assert (raised.value.status, raised.value.code) == (401, "token_expired")
    publisher.publish("t", user_id="u3", payload={"n": 1})
    assert numbers([next(reader)]) == [1]
    assert len(given) >= 2
