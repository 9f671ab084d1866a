"""What is tried again, when, and for how long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace

from ._wire import Answer, Failure, Flow, Request, Sleep, error_of, open_exchange, read_answer
from .errors import RejoinError

PASSING_STATUSES = frozenset({408, 429, 502, 503, 504})
"""Statuses of refusals that may pass: the server's own, and those of proxies before it."""
PASSING_CODES = frozenset({"incomplete_body", "results_not_read"})
"""Codes of others, which say to send the request again."""
REFUSED_WHOLE = frozenset(
    {
        "auth_unavailable",
        "broadcasts_full",
        "draining",
        "incomplete_body",
        "request_timeout",
        "server_full",
    }
)
"""Codes of refusals by a server that has certainly not carried anything out."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and for how long, a request is tried.

    A try is repeated after a connection that failed or broke, and after the statuses 408, 429, 502, 503 and
    504; not before the server's ``Retry-After`` is over. Where that would be after ``total_seconds``, the
    error is raised at once.
    """

    _: KW_ONLY
    attempts: int = 5
    """Most tries."""
    total_seconds: float = 30.0
    """Seconds, counted from the first try, after which no other begins; of ``publish_many`` they are counted
    from a batch's first failure. Keep it below the server's ``events.idempotency_window_seconds`` (600 by
    default): a later repeat is not recognised."""
    first_delay_seconds: float = 0.2
    """The pause before the second try. Each is twice as long as the one before, and shortened at random by
    up to a half."""
    longest_delay_seconds: float = 5.0
    """The longest such pause."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("`attempts` is at least 1")
        if min(self.total_seconds, self.first_delay_seconds, self.longest_delay_seconds) < 0:
            raise ValueError("seconds are not negative")


@dataclass
class Chance:
    """Time and randomness, which tests replace."""

    now: Callable[[], float] = time.monotonic
    between: Callable[[float, float], float] = random.uniform


@dataclass
class Attempts:
    """The tries of one request."""

    policy: RetryPolicy
    chance: Chance = field(default_factory=Chance)
    made: int = 0
    began_at: float | None = None

    def begin(self) -> None:
        """Starts the clock, if it does not run."""
        if self.began_at is None:
            self.began_at = self.chance.now()

    def seconds_left(self) -> float:
        """How much of the total time is left."""
        if self.began_at is None:
            return self.policy.total_seconds
        return self.began_at + self.policy.total_seconds - self.chance.now()

    def pause(self, retry_after_seconds: float | None) -> float | None:
        """A try has failed: the seconds before the next, or None where there is none."""
        self.begin()
        self.made += 1
        if self.made >= self.policy.attempts:
            return None
        longest = backoff(self.made, self.policy.first_delay_seconds, self.policy.longest_delay_seconds)
        pause = self.chance.between(longest / 2, longest) + (retry_after_seconds or 0.0)
        return pause if pause < self.seconds_left() else None

    def limit(self, request: Request) -> Request:
        """The request, with timeouts that end with the total time."""
        # Not shorter than a moment, which a server that is well needs.
        left = max(self.seconds_left(), 0.5)
        return replace(
            request,
            timeout_seconds=min(request.timeout_seconds, left),
            read_timeout_seconds=min(request.read_timeout_seconds, left),
        )


def backoff(failures: int, first: float, longest: float) -> float:
    """The pause after so many failures: twice as long after each."""
    # The exponent is bounded, since floats are.
    return min(longest, first * 2.0 ** min(failures - 1, 60))


def may_pass(error: RejoinError) -> bool:
    """Whether a refusal is one that another try may not meet."""
    return error.status in PASSING_STATUSES or error.code in PASSING_CODES


def call(request: Request, attempts: Attempts, *, repeatable: bool = True) -> Flow[Answer]:
    """Sends a request until it is carried out, and gives the answer, whose status is 2xx.

    What is not ``repeatable`` is sent again only if it was certainly not carried out. Raises RejoinError.
    """
    attempts.begin()
    while True:
        head = yield from open_exchange(attempts.limit(request))
        answer = head if isinstance(head, Failure) else (yield from read_answer(head))
        if isinstance(answer, Failure):
            error = answer.error()
            again = answer.may_pass and (repeatable or answer.not_sent)
        elif 200 <= answer.status < 300:
            return answer
        else:
            error = error_of(answer)
            again = may_pass(error) and (repeatable or error.status == 429 or error.code in REFUSED_WHOLE)
        pause = attempts.pause(error.retry_after_seconds) if again else None
        if pause is None:
            raise error
        yield Sleep(pause)
