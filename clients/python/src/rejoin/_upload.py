"""Publishing many events: an iterable becomes batches, each of which is one upload of NDJSON.

Invariants: a batch is held until its outcome is known, and no more than a batch is; where batches begin and
end depends on the lines alone, so a repeat of the whole sends the same batches, and each line has the same
idempotency key again: the server makes it of the batch's key and the line's number within the batch. A
broadcast is a request of its own between two batches, since its repeats are not recognised.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._publish import IDEMPOTENCY_KEY_MAX, PATH, call_for_receipt, checked_key
from ._retry import Attempts, Chance, RetryPolicy, may_pass
from ._wire import (
    ANSWER_BYTES_MAX,
    Draw,
    Failure,
    Flow,
    Request,
    Sleep,
    error_of,
    json_body,
    json_of,
    number_member,
    open_exchange,
    read_answer,
    read_some,
    text_member,
)
from .errors import ProtocolError, RejoinError, UploadBroken
from .models import LineFailure, Publication, UploadResult

Item = Publication | Mapping[str, Any]
PIECE_BYTES = 64 * 1024
"""Lines are sent in pieces of about this size,"""
PIECE_SECONDS = 0.05
"""or after this time."""
LINE_NUMBER_DIGITS = 20
"""Room in a batch's key for a dot and the number of its first line."""


@dataclass(frozen=True)
class UploadOptions:
    """How an upload is cut into batches, and tried."""

    policy: RetryPolicy
    timeout_seconds: float
    batch_lines: int
    batch_bytes: int
    failures_max: int
    fresh_tokens: bool
    """Whether a further try may have another token."""

    def __post_init__(self) -> None:
        if min(self.batch_lines, self.batch_bytes) < 1 or self.failures_max < 0:
            raise ValueError("`batch_lines` and `batch_bytes` are at least 1, `failures_max` is at least 0")


@dataclass
class Batch:
    """The lines of one upload. The shell draws items into it while it sends them."""

    first_line: int
    lines_max: int
    bytes_max: int
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    broadcast: dict[str, Any] | None = None
    """The item behind the last line, if it is a broadcast: it ends the batch."""
    exhausted: bool = False
    """Whether the iterable has ended, or failed."""
    source_error: Exception | None = None
    """What the iterable raised, or what an item can't be sent for."""

    @property
    def is_open(self) -> bool:
        """Whether more items belong to it."""
        return (
            not self.exhausted
            and self.broadcast is None
            and len(self.lines) < self.lines_max
            and self.size < self.bytes_max
        )

    def take(self, item: Item) -> None:
        """An item was drawn."""
        try:
            fields = item.fields() if isinstance(item, Publication) else dict(item)
            line = json_body(fields) + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            self.end(error)
            return
        if fields.get("broadcast") is True:
            # What the application changes later is not to change this.
            self.broadcast = json.loads(line)
            return
        self.lines.append(line)
        self.size += len(line)

    def end(self, source_error: Exception | None = None) -> None:
        """The iterable has ended, or failed."""
        self.exhausted = True
        self.source_error = source_error

    def pending(self) -> list[dict[str, Any]]:
        """What was drawn."""
        drawn = [json.loads(line) for line in self.lines]
        return drawn if self.broadcast is None else [*drawn, self.broadcast]


class Outgoing:
    """A batch's lines as they are sent: once for each try.

    A line goes at once where none has gone for a moment; those that follow in that moment go together. With
    ``at_once`` each goes before the next is drawn.
    """

    def __init__(self, batch: Batch, *, at_once: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._batch = batch
        self._at_once = at_once
        self._now = now
        self._sent = 0
        self._sent_bytes = 0
        self._sent_at: float | None = None

    def piece(self) -> bytes:
        """What is to be sent now; empty where an item is to be drawn first, or the batch is complete."""
        if self._may_wait():
            return b""
        lines, piece = self._batch.lines, bytearray()
        while self._sent < len(lines) and len(piece) < PIECE_BYTES:
            piece += lines[self._sent]
            self._sent += 1
        self._sent_bytes += len(piece)
        self._sent_at = self._now()
        return bytes(piece)

    def _may_wait(self) -> bool:
        unsent = self._batch.size - self._sent_bytes
        if self._at_once or not self._batch.is_open or unsent >= PIECE_BYTES:
            return False
        return not unsent or (self._sent_at is not None and self._now() < self._sent_at + PIECE_SECONDS)

    @property
    def is_complete(self) -> bool:
        """Whether all was sent, and no more comes."""
        return self._sent == len(self._batch.lines) and not self._batch.is_open


class Lines:
    """Cuts an answer that arrives in pieces into its lines."""

    def __init__(self) -> None:
        self._unfinished = b""

    def feed(self, some: bytes) -> list[bytes]:
        """The lines that these bytes complete."""
        *lines, self._unfinished = (self._unfinished + some).split(b"\n")
        if len(self._unfinished) > ANSWER_BYTES_MAX:
            raise ProtocolError(
                f"a line of the answer is larger than {ANSWER_BYTES_MAX} bytes", code="protocol_error"
            )
        return lines


@dataclass
class Outcome:
    """The answer to a batch."""

    result: UploadResult = field(default_factory=UploadResult)
    summed_up: bool = False
    passing: LineFailure | None = None
    """The last failure that another try may not meet."""
    last: LineFailure | None = None
    """The last failure of all."""

    def hear(self, line: bytes, first_line: int, failures_max: int) -> None:
        """A line of the answer."""
        if not line.strip():
            return
        fields = json_of(line)
        if not isinstance(fields, dict):
            raise ProtocolError("a line of the answer is no JSON object", code="protocol_error")
        number = number_member(fields, "line")
        if number is not None:
            self._hear_failure(fields, first_line + number - 1, failures_max)
        elif "taken" in fields:
            self.summed_up = True
            for name in ("lines", "taken", "duplicates", "failed"):
                setattr(self.result, name, number_member(fields, name) or 0)

    def _hear_failure(self, fields: dict[str, Any], line: int, failures_max: int) -> None:
        failure = LineFailure(
            line,
            number_member(fields, "status") or 0,
            text_member(fields, "code") or "unknown",
            text_member(fields, "message") or "",
            text_member(fields, "field"),
        )
        self.last = failure
        if may_pass(error_of_line(failure)):
            self.passing = failure
        if len(self.result.failures) < failures_max:
            self.result.failures.append(failure)


def error_of_line(failure: LineFailure) -> RejoinError:
    """A line's failure as an exception."""
    return RejoinError(
        f"line {failure.line}: {failure.message}",
        code=failure.code,
        status=failure.status,
        field=failure.field,
    )


class Upload:
    """Publishes the items of an iterable."""

    def __init__(self, options: UploadOptions, key: str | None, first_line: int, chance: Chance) -> None:
        if first_line < 1:
            raise ValueError("lines are counted from 1")
        self._options = options
        self._key = checked_key(key, IDEMPOTENCY_KEY_MAX - LINE_NUMBER_DIGITS)
        self._next_line = first_line
        self._chance = chance
        self._result = UploadResult()

    def run(self) -> Flow[UploadResult]:
        """Publishes them all. Raises UploadBroken, or what the iterable raised."""
        while True:
            options = self._options
            batch = Batch(self._next_line, options.batch_lines, options.batch_bytes)
            # Nothing is sent before there is something to send.
            yield Draw(batch)
            if batch.lines:
                yield from self._settle(batch)
            if batch.broadcast is not None:
                yield from self._broadcast(batch.broadcast)
            if batch.source_error is not None:
                raise batch.source_error
            if batch.exhausted:
                return self._result

    def _settle(self, batch: Batch) -> Flow[None]:
        """Uploads a batch until the outcome of each of its lines is known."""
        attempts = Attempts(self._options.policy, self._chance)
        request = Request(
            "POST",
            PATH,
            self._headers("application/x-ndjson", batch.first_line),
            {"results": "failures"},
            batch,
            self._options.timeout_seconds,
            self._options.timeout_seconds,
        )
        while True:
            outcome = yield from self._upload(attempts.limit(request), batch)
            if isinstance(outcome, Outcome):
                self._count(outcome.result)
                self._next_line += len(batch.lines)
                return
            error, again = outcome
            pause = attempts.pause(error.retry_after_seconds) if again else None
            if pause is None:
                raise self._broken(error, batch.pending()) from error
            yield Sleep(pause)

    def _upload(self, request: Request, batch: Batch) -> Flow[Outcome | tuple[RejoinError, bool]]:
        """One try: what came of it, or why it is not complete and whether to try again."""
        head = yield from open_exchange(request)
        if isinstance(head, Failure):
            return head.error(), head.may_pass
        if head.status != 200:
            answer = yield from read_answer(head)
            if isinstance(answer, Failure):
                return answer.error(), answer.may_pass
            error = error_of(answer)
            return error, may_pass(error)
        try:
            outcome = yield from self._read_outcome(batch)
        except ProtocolError as error:
            return error, False
        if isinstance(outcome, Failure):
            return outcome.error(), outcome.may_pass
        if outcome.passing is not None:
            # The lines that were taken are recognised, and those that were refused are refused again.
            return error_of_line(outcome.passing), True
        if not outcome.summed_up:
            return ProtocolError("the answer ended without its summary", code="protocol_error"), True
        if outcome.result.lines < len(batch.lines):
            if outcome.last is None:
                return ProtocolError("the answer is not of all lines", code="protocol_error"), False
            return error_of_line(outcome.last), self._options.fresh_tokens
        if outcome.last is not None and outcome.last.status == 401:
            return error_of_line(outcome.last), self._options.fresh_tokens
        return outcome

    def _read_outcome(self, batch: Batch) -> Flow[Outcome | Failure]:
        outcome, lines = Outcome(), Lines()
        while True:
            some = yield from read_some()
            if isinstance(some, Failure):
                return some
            for line in lines.feed(some or b"\n"):
                outcome.hear(line, batch.first_line, self._options.failures_max)
            if not some:
                return outcome

    def _broadcast(self, fields: dict[str, Any]) -> Flow[None]:
        line = self._next_line
        request = Request(
            "POST",
            PATH,
            self._headers("application/json", line),
            body=json_body(fields),
            timeout_seconds=self._options.timeout_seconds,
            read_timeout_seconds=self._options.timeout_seconds,
        )
        attempts = Attempts(self._options.policy, self._chance)
        counted = UploadResult(lines=1, taken=1)
        try:
            yield from call_for_receipt(request, attempts, repeatable=False)
        except RejoinError as error:
            if error.status not in (400, 413, 422):
                raise self._broken(error, [fields]) from error
            failure = LineFailure(line, error.status, error.code, error.message, error.field)
            counted = UploadResult(lines=1, failed=1, failures=[failure])
        self._count(counted)
        self._next_line += 1

    def _headers(self, content_type: str, first_line: int) -> dict[str, str]:
        return {"content-type": content_type, "idempotency-key": f"{self._key}.{first_line}"}

    def _count(self, result: UploadResult) -> None:
        total = self._result
        total.lines += result.lines
        total.taken += result.taken
        total.duplicates += result.duplicates
        total.failed += result.failed
        room = self._options.failures_max - len(total.failures)
        total.failures += result.failures[:room]

    def _broken(self, error: RejoinError, pending: list[dict[str, Any]]) -> UploadBroken:
        broken = UploadBroken(
            error.message,
            code=error.code,
            status=error.status,
            field=error.field,
            retry_after_seconds=error.retry_after_seconds,
            request_id=error.request_id,
        )
        broken.result = self._result
        broken.first_line = self._next_line
        broken.pending = pending
        broken.idempotency_key = self._key
        return broken
