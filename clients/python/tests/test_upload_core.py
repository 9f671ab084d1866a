from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from _script import BROKEN, UNREACHABLE, Played, Step, head
from rejoin import LineFailure, Publication, RetryPolicy, UploadBroken, UploadResult
from rejoin._upload import PIECE_BYTES, Batch, Item, Outgoing, Upload, UploadOptions

POLICY = RetryPolicy(attempts=3, total_seconds=30, first_delay_seconds=1, longest_delay_seconds=3)


def upload(
    played: Played, *, key: str | None = "k", first_line: int = 1, fresh_tokens: bool = False, **sizes: int
) -> UploadResult:
    sizes = {"batch_lines": 3, "batch_bytes": 10_000, "failures_max": 100} | sizes
    options = UploadOptions(POLICY, 10, fresh_tokens=fresh_tokens, **sizes)
    return played.run(Upload(options, key, first_line, played.chance).run())


def line(number: int, **more: Any) -> dict[str, Any]:
    return {"user_id": "u", "type": f"t{number}"} | more


def lines(count: int, first: int = 1) -> list[dict[str, Any]]:
    return [line(number) for number in range(first, first + count)]


def summary(count: int, *, duplicates: int = 0, failed: int = 0) -> bytes:
    fields = {
        "success": failed == 0,
        "lines": count,
        "taken": count - failed,
        "duplicates": duplicates,
        "failed": failed,
    }
    return json.dumps(fields).encode() + b"\n"


def failure(number: int, status: int = 422, code: str = "invalid_field") -> bytes:
    fields = {"line": number, "status": status, "success": False, "message": "m", "code": code, "field": "f"}
    return json.dumps(fields).encode() + b"\n"


def taken(count: int) -> list[Step]:
    return [head(200), summary(count)]


def types(body: bytes) -> list[str]:
    return [json.loads(text)["type"] for text in body.splitlines()]


def keys(played: Played) -> list[str]:
    return [request.headers["idempotency-key"] for request in played.requests]


def test_it_is_cut_into_batches_each_with_a_key_of_its_own() -> None:
    played = Played([taken(3), taken(3), taken(1)], items=lines(7))
    assert upload(played) == UploadResult(lines=7, taken=7)
    assert [types(body) for body in played.bodies] == [["t1", "t2", "t3"], ["t4", "t5", "t6"], ["t7"]]
    assert keys(played) == ["k.1", "k.4", "k.7"]
    assert played.requests[0].query == {"results": "failures"}
    assert played.requests[0].headers["content-type"] == "application/x-ndjson"


def test_a_batch_ends_by_its_bytes_too() -> None:
    played = Played([taken(2), taken(1)], items=lines(3))
    upload(played, batch_bytes=40)
    assert [len(types(body)) for body in played.bodies] == [2, 1]


def test_of_nothing_nothing_is_sent() -> None:
    played = Played([], items=[])
    assert upload(played) == UploadResult()
    assert upload(Played([taken(3)], items=lines(3))) == UploadResult(lines=3, taken=3)


def test_refused_lines_are_told_by_their_numbers_in_the_whole() -> None:
    first: list[Step] = [head(200), failure(2)[:20], failure(2)[20:] + summary(3, failed=1)]
    second: list[Step] = [head(200), failure(1, 413, "event_too_large") + summary(2, failed=1).rstrip()]
    result = upload(Played([first, second], items=lines(5)))
    assert (result.lines, result.taken, result.failed, result.success) == (5, 3, 2, False)
    assert result.failures == [
        LineFailure(2, 422, "invalid_field", "m", "f"),
        LineFailure(4, 413, "event_too_large", "m", "f"),
    ]


def test_only_so_many_failures_are_kept() -> None:
    answer: list[Step] = [head(200), failure(1) + failure(2) + failure(3) + summary(3, failed=3)]
    result = upload(Played([list(answer), list(answer)], items=lines(6)), failures_max=4)
    assert (result.failed, [one.line for one in result.failures]) == (6, [1, 2, 3, 4])


def test_a_batch_that_breaks_is_sent_again_as_it_was() -> None:
    played = Played(
        [
            taken(3),
            [UNREACHABLE],
            [head(200), failure(1), BROKEN],
            [head(200), failure(1) + summary(3, duplicates=2, failed=1)],
            [head(200)],
            taken(1),
        ],
        items=lines(7),
    )
    result = upload(played)
    assert (result.lines, result.taken, result.duplicates, result.failed) == (7, 6, 2, 1)
    assert [one.line for one in result.failures] == [4]
    assert keys(played) == ["k.1", "k.4", "k.4", "k.4", "k.7", "k.7"]
    assert played.bodies[1] == played.bodies[2] == played.bodies[3]
    assert played.slept == [1, 2, 1]


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "backend_unavailable"), (503, "draining"), (400, "results_not_read"), (400, "incomplete_body")],
)
def test_a_batch_with_a_line_that_failed_for_a_while_is_sent_again(status: int, code: str) -> None:
    first: list[Step] = [head(200), failure(1) + failure(2, status, code) + summary(2, failed=2)]
    second: list[Step] = [head(200), failure(1) + summary(3, failed=1)]
    played = Played([first, second], items=lines(3))
    result = upload(played)
    assert (result.taken, [one.line for one in result.failures]) == (2, [1])


def test_what_can_not_go_on_tells_from_where_it_can() -> None:
    source = iter(lines(9))
    broken: list[list[Step]] = [[BROKEN]] * 3
    played = Played([taken(3), *broken], items=source)
    with pytest.raises(UploadBroken, match="connection_failed") as raised:
        upload(played, key=None)
    error = raised.value
    assert (error.result, error.first_line) == (UploadResult(lines=3, taken=3), 4)
    assert error.pending == lines(3, first=4)
    assert list(source) == lines(3, first=7)

    again = Played([taken(3), taken(3)], items=[*error.pending, *lines(3, first=7)])
    upload(again, key=error.idempotency_key, first_line=error.first_line)
    assert keys(again)[0] == keys(played)[3], "the server recognises what it has taken"
    assert again.bodies[0] == played.bodies[3]


def test_a_token_that_ends_is_replaced_if_it_can_be() -> None:
    ended: list[Step] = [head(200), failure(2, 401, "token_expired") + summary(2, failed=1)]
    with pytest.raises(UploadBroken) as raised:
        upload(Played([list(ended)], items=lines(3)))
    assert (raised.value.code, raised.value.status, raised.value.first_line) == ("token_expired", 401, 1)
    assert upload(Played([list(ended), taken(3)], items=lines(3)), fresh_tokens=True).taken == 3


@pytest.mark.parametrize(
    "answer",
    [
        [head(401), b"{}"],
        [head(200), b"nonsense\n"],
        [head(200), b"[]\n"],
        [head(200), summary(2)],
        [head(200), b"x" * 3_000_000],
    ],
)
def test_what_does_not_pass_is_not_tried_again(answer: list[Step]) -> None:
    with pytest.raises(UploadBroken) as raised:
        upload(Played([answer], items=lines(3)))
    assert raised.value.pending == lines(3)


def test_a_broadcast_goes_by_itself_between_its_neighbours() -> None:
    everybody = {"broadcast": True, "type": "b"}
    items: list[Item] = [line(1), Publication("b", broadcast=True), everybody, line(2)]
    single: list[Step] = [head(201), b'{"success":true,"id":null}']
    refused: list[Step] = [head(422), b'{"code":"invalid_field","message":"m","field":"type"}']
    played = Played([taken(1), single, refused, taken(1)], items=items)
    result = upload(played)
    assert (result.lines, result.taken, result.failed) == (4, 3, 1)
    assert result.failures == [LineFailure(3, 422, "invalid_field", "m", "type")]
    assert keys(played) == ["k.1", "k.2", "k.3", "k.4"]
    assert json.loads(played.bodies[1]) == everybody


def test_a_broadcast_that_may_have_been_sent_is_not_sent_again() -> None:
    played = Played([taken(1), [BROKEN]], items=[line(1), {"broadcast": True, "type": "b"}, line(2)])
    with pytest.raises(UploadBroken) as raised:
        upload(played)
    error = raised.value
    assert (error.first_line, error.pending) == (2, [{"broadcast": True, "type": "b"}])
    assert error.result.lines == 1


def test_what_the_iterable_raises_is_raised_behind_what_it_gave() -> None:
    def items() -> Iterator[Item]:
        yield from lines(4)
        raise httpx.ReadError("the source's own")

    played = Played([taken(3), taken(1)], items=items())
    with pytest.raises(httpx.ReadError, match="the source's own"):
        upload(played)
    assert [len(types(body)) for body in played.bodies] == [3, 1]
    for bad in [{"type": {1, 2}}, 7, "text"]:
        with pytest.raises((TypeError, ValueError)):
            upload(Played([taken(1)], items=[line(1), bad]))  # type: ignore[list-item]


def test_what_is_changed_behind_its_back_is_sent_as_it_was() -> None:
    reused: dict[str, Any] = {}

    def items() -> Iterator[Item]:
        for number in range(3):
            reused.update(line(number))
            yield reused

    played = Played([[BROKEN], taken(3)], items=items())
    upload(played)
    assert types(played.bodies[1]) == ["t0", "t1", "t2"]


def sent(batch: Batch, source: Iterator[Item], *, at_once: bool, seconds: float = 0.0) -> list[bytes]:
    """The pieces of a batch whose items take so long to be drawn."""
    clock, pieces = 0.0, []
    outgoing = Outgoing(batch, at_once=at_once, now=lambda: clock)
    while not outgoing.is_complete:
        piece = outgoing.piece()
        if piece:
            pieces.append(piece)
        else:
            clock += seconds
            batch.take(next(source))
    return pieces


def test_lines_go_out_once_each_in_pieces_of_some_size_or_time() -> None:
    for at_once, seconds, least, most in [
        (False, 0.0, 2, 4),
        (True, 0.0, 3000, 3000),
        # What was drawn in 50 milliseconds.
        (False, 0.01, 500, 700),
        (False, 1.0, 3000, 3000),
    ]:
        batch = Batch(1, 3000, 10_000_000)
        pieces = sent(batch, iter(lines(3000)), at_once=at_once, seconds=seconds)
        assert len(batch.lines) == 3000
        assert b"".join(pieces) == b"".join(batch.lines)
        assert all(len(piece) < PIECE_BYTES + 100 for piece in pieces)
        assert least <= len(pieces) <= most
        again = sent(batch, iter([]), at_once=at_once)
        assert (len(again) <= 4, b"".join(again)) == (True, b"".join(pieces))


def test_options_are_checked() -> None:
    wrong: list[dict[str, Any]] = [{"batch_lines": 0}, {"batch_bytes": 0}, {"failures_max": -1}]
    for sizes in wrong:
        with pytest.raises(ValueError, match="at least"):
            upload(Played([]), **sizes)
    with pytest.raises(ValueError, match="from 1"):
        upload(Played([]), first_line=0)
    with pytest.raises(ValueError, match="idempotency key"):
        upload(Played([]), key="x" * 237)
