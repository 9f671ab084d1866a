"""Publishing one event."""

from __future__ import annotations

import uuid

from ._retry import Attempts, Chance, RetryPolicy, call
from ._wire import Answer, Flow, Request, header_text, json_body, text_member
from .errors import ProtocolError
from .models import Publication, Receipt

IDEMPOTENCY_KEY_MAX = 256
PATH = "/api/events"


def new_key() -> str:
    """A key that no other publish has."""
    return uuid.uuid4().hex


def checked_key(key: str | None, longest: int = IDEMPOTENCY_KEY_MAX) -> str:
    """The application's key, or a new one."""
    return new_key() if key is None else header_text("an idempotency key", key, longest)


def publish(
    publication: Publication, key: str | None, policy: RetryPolicy, timeout_seconds: float, chance: Chance
) -> Flow[Receipt]:
    """Publishes an event. The key stays the same over all tries, so that it is published once."""
    request = Request(
        "POST",
        PATH,
        {"content-type": "application/json", "idempotency-key": checked_key(key)},
        body=json_body(publication.fields()),
        timeout_seconds=timeout_seconds,
        read_timeout_seconds=timeout_seconds,
    )
    return call_for_receipt(request, Attempts(policy, chance), repeatable=not publication.broadcast)


def call_for_receipt(request: Request, attempts: Attempts, *, repeatable: bool) -> Flow[Receipt]:
    """Publishes by this request."""
    # The server recognises no repeat of a broadcast: it is kept nowhere.
    answer = yield from call(request, attempts, repeatable=repeatable)
    return receipt_of(answer)


def receipt_of(answer: Answer) -> Receipt:
    """The receipt that an answer is."""
    fields = answer.object()
    ids = fields.get("ids")
    own_id = text_member(fields, "id")
    if ids is None:
        ids = [] if own_id is None else [own_id]
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise ProtocolError("the answer's `ids` are no texts", code="protocol_error", status=answer.status)
    return Receipt(own_id, tuple(ids), fields.get("duplicate") is True, answer.status != 202)
