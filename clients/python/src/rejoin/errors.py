"""What can go wrong, as exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import UploadResult


class RejoinError(Exception):
    """The server refused a request, or it could not be made.

    All of its attributes but ``code`` and ``message`` are None where the server did not say.
    """

    status: int | None
    """The HTTP status of the answer; None where there was no answer."""
    code: str
    """The stable name of what is wrong, as the HTTP API lists them. An answer that has none, such as a
    proxy's, gets ``http_<status>``."""
    message: str
    """What is wrong, for people."""
    field: str | None
    """The field of the request's body that is wrong."""
    retry_after_seconds: float | None
    """Seconds after which another try may succeed."""
    expected_sequence_no: int | None
    """The number that a producer should go on with."""
    request_id: str | None
    """The request's id, which the server's log has too."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "unknown",
        status: int | None = None,
        field: str | None = None,
        retry_after_seconds: float | None = None,
        expected_sequence_no: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.expected_sequence_no = expected_sequence_no
        self.request_id = request_id

    def __str__(self) -> str:
        status = "" if self.status is None else f"{self.status} "
        return f"{status}{self.code}: {self.message}"


class ConnectionFailed(RejoinError):
    """The server could not be reached, or the connection broke before the answer was complete.

    Whether the request was carried out is not known. The cause is in ``__cause__``. ``code`` is
    ``connection_failed``.
    """


class ProtocolError(RejoinError):
    """What came is not what a Rejoin server sends. ``code`` is ``protocol_error``. A retry does not help."""


class Fenced(RejoinError):
    """Another producer has taken the message over: stop producing. ``code`` is ``producer_fenced``."""


class MessageEnded(RejoinError):
    """The message has ended: nothing can be appended to it. ``code`` is ``message_complete``."""


class UploadBroken(RejoinError):
    """``publish_many`` could not go on. The other attributes are those of what stopped it.

    Lines before ``first_line`` were settled: taken, or among ``result.failures``. Of the lines from
    ``first_line`` on, those in ``pending`` may or may not have been published; the rest was not sent. To go
    on, so that no event is published twice (except broadcasts, whose repeats the server does not recognise),
    within the server's ``events.idempotency_window_seconds``::

        publisher.publish_many(
            itertools.chain(error.pending, rest),
            idempotency_key=error.idempotency_key,
            first_line=error.first_line,
        )
    """

    result: UploadResult
    """What became of the lines before ``first_line``."""
    first_line: int
    """The number, counted from 1, of the first line whose outcome is not known."""
    pending: list[dict[str, Any]]
    """The lines from there on that had been drawn from the iterable."""
    idempotency_key: str
    """The key of the upload."""


class Stopped(Exception):
    """The reader wants no more of this message. Only with ``raise_on_stop``.

    It is no failure: a producer's ``with`` block that it leaves ends the message as complete.
    """
