"""Producing a message: numbers, epoch, stop and end.

Invariant: an event keeps its number over all tries, so it is appended once. An append whose outcome is not
known does not use its number up: either the next event gets it, or the server says that it is taken.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any

from ._retry import Attempts, Chance, RetryPolicy, call
from ._stream import TERMINAL_TYPES, message_path
from ._wire import Answer, Flow, Request, json_body, number_member, text_member
from .errors import Fenced, MessageEnded, ProtocolError, RejoinError, Stopped
from .models import Appended, EndStatus, content_fields

logger = logging.getLogger("rejoin")

REFUSED_CONTENT = frozenset({400, 413, 415, 422})
"""Statuses that are of what was sent, whatever became of earlier tries."""


LAST_WORDS = RetryPolicy(attempts=3, total_seconds=5.0)
"""For the end of a message whose producer has failed, and wants to be gone."""


def stop_message(message_id: str, policy: RetryPolicy, timeout_seconds: float, chance: Chance) -> Flow[None]:
    """Asks the producer of a message to stop. A retry is harmless."""
    request = Request(
        "POST",
        message_path(message_id, "/stop"),
        timeout_seconds=timeout_seconds,
        read_timeout_seconds=timeout_seconds,
    )
    yield from call(request, Attempts(policy, chance))


class ProducerCore:
    """One producer of one message."""

    def __init__(
        self,
        message_id: str | None,
        user_id: str,
        *,
        takeover: bool,
        raise_on_stop: bool,
        policy: RetryPolicy,
        timeout_seconds: float,
        heartbeat_seconds: float,
        chance: Chance,
    ) -> None:
        self.message_id = str(uuid.uuid4()) if message_id is None else message_id
        message_path(self.message_id)
        if heartbeat_seconds <= 0:
            raise ValueError("`heartbeat_seconds` is above 0")
        self._user_id = user_id
        self._takeover = takeover
        self._raise_on_stop = raise_on_stop
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._chance = chance
        self._epoch: int | None = None
        self.next_sequence_no = 0
        self.stop_requested = False
        self._stop_was_told = False
        self.is_ended = False
        self.fenced: Fenced | None = None
        self._fence_was_told = False
        # Whether an event may have been appended under the next number already.
        self._is_unsure = False
        self._beat_at = 0.0

    def open(self) -> Flow[None]:
        """Opens the message, or takes it over."""
        fields: dict[str, Any] = {"user_id": self._user_id}
        if self._takeover:
            fields["takeover"] = True
        answer = yield from self._call("PUT", "", json_body(fields))
        view = answer.object()
        epoch = number_member(view, "epoch")
        if epoch is None:
            raise ProtocolError("the answer has no `epoch`", code="protocol_error", status=answer.status)
        if text_member(view, "status") in ("complete", "failed"):
            raise MessageEnded("this message has ended already", code="message_complete")
        last = number_member(view, "last_sequence_no")
        self._epoch = epoch
        self.next_sequence_no = 0 if last is None else last + 1
        self._note_stop(view)

    def append(
        self,
        type: str,
        payload: Any,
        data: str | None,
        event: str | None,
        *,
        last: bool | None,
        status: EndStatus | None,
    ) -> Flow[Appended]:
        """Appends an event."""
        self._check_open()
        ends = last if last is not None else type in TERMINAL_TYPES
        if self._raise_on_stop and self.stop_requested and not ends:
            raise Stopped("the reader wants no more of this message")
        fields = {"type": type} | content_fields(payload, data, event)
        if last is not None:
            fields["last"] = last
        if status is not None:
            fields["status"] = status
        appended = yield from self._append(fields)
        self.is_ended = self.is_ended or ends
        if self._raise_on_stop and appended.stop and not ends:
            raise Stopped("the reader wants no more of this message")
        return appended

    def _append(self, fields: dict[str, Any]) -> Flow[Appended]:
        while True:
            body = json_body(fields | {"sequence_no": self.next_sequence_no})
            was_unsure, self._is_unsure = self._is_unsure, True
            try:
                answer = yield from self._call("POST", "/events", body)
            except RejoinError as error:
                if error.code == "sequence_conflict" and was_unsure:
                    # It is our own earlier event that has the number.
                    self.next_sequence_no += 1
                    self._is_unsure = False
                    continue
                if error.status in REFUSED_CONTENT:
                    self._is_unsure = was_unsure
                raise
            receipt = answer.object()
            number = number_member(receipt, "sequence_no")
            if number is None:
                raise ProtocolError("the answer has no `sequence_no`", code="protocol_error")
            self.next_sequence_no = number + 1
            self._is_unsure = False
            self._note_stop(receipt)
            return Appended(number, self.stop_requested, receipt.get("duplicate") is True)

    def end(self, status: EndStatus, policy: RetryPolicy | None = None) -> Flow[None]:
        """Ends the message, if it has not ended."""
        if self.is_ended:
            return
        self._check_open()
        yield from self._call("POST", "/end", json_body({"status": status}), policy)
        self.is_ended = True

    def heartbeat(self) -> Flow[None]:
        """Says that the producer lives. What fails is not raised: the next append or the end finds it too."""
        policy = RetryPolicy(attempts=2, total_seconds=self._heartbeat_seconds / 2)
        try:
            answer = yield from self._call("POST", "/heartbeat", None, policy)
            self._note_stop(answer.object())
        except RejoinError as error:
            logger.debug("message %s: no heartbeat: %s", self.message_id, error)
            self.postpone_heartbeat()

    def postpone_heartbeat(self) -> None:
        """A heartbeat failed: the next is due sooner than usual, so that the producer counts as alive."""
        self._beat_at = self._chance.now() + self._heartbeat_seconds / 4

    @property
    def needs_end(self) -> bool:
        """Whether the message has yet to be ended, or the application to be told that it can't be."""
        return self._epoch is not None and not self.is_ended and not self._fence_was_told

    @property
    def needs_heartbeat(self) -> bool:
        """Whether the producer is still in charge of a message that has not ended."""
        return not self.is_ended and self.fenced is None

    def seconds_to_heartbeat(self) -> float:
        """How long until a heartbeat is due, if nothing is appended; 0 where it is due."""
        return max(0.0, self._beat_at - self._chance.now())

    def take_stop(self) -> bool:
        """Whether a stop has become known since the last call."""
        is_news = self.stop_requested and not self._stop_was_told
        self._stop_was_told = self.stop_requested
        return is_news

    def _note_stop(self, fields: dict[str, Any]) -> None:
        self.stop_requested = self.stop_requested or fields.get("stop") is True

    def _check_open(self) -> None:
        if self.fenced is not None:
            self._fence_was_told = True
            raise self.fenced
        if self.is_ended:
            raise MessageEnded("this message has ended", code="message_complete")
        if self._epoch is None:
            raise RuntimeError("the message is not open: use the producer as a context manager")

    def _call(
        self, method: str, path: str, body: bytes | None, policy: RetryPolicy | None = None
    ) -> Flow[Answer]:
        headers = {"producer-epoch": str(self._epoch)} if self._epoch is not None else {}
        if body is not None:
            headers["content-type"] = "application/json"
        request = Request(
            method,
            message_path(self.message_id, path),
            headers,
            body=body,
            timeout_seconds=self._timeout_seconds,
            read_timeout_seconds=self._timeout_seconds,
        )
        began_at = self._chance.now()
        try:
            answer = yield from call(request, Attempts(policy or self._policy, self._chance))
        except Fenced as error:
            self.fenced = error
            self._fence_was_told = path != "/heartbeat"
            raise
        except MessageEnded:
            self.is_ended = self._epoch is not None
            raise
        self._beat_at = began_at + self._heartbeat_seconds
        return answer
