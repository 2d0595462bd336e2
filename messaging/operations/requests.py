"""Idempotency: what a request id was answered with, stored in the transaction of what the request did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection

from messaging import clock, failpoints
from messaging.actors import Actor
from messaging.errors import OperationRefused, TransactionRequired
from messaging.models import RequestRecord

_LONGEST = 200

_is_replayed: ContextVar[bool] = ContextVar("is_replayed", default=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What ``act`` returned, now or when the request id was first seen. ``value`` is plain JSON."""

    value: Any
    is_replayed: bool


def once(*, actor_name: str, request_id: str, fingerprint: str, act: Callable[[], Any]) -> Answer:
    """Run ``act`` unless this actor's request id was carried out before, then give the first answer again.

    Belongs inside the transaction of the effect: both are stored or neither. A second request at the same time waits
    at the insert until the first one's transaction ends; if that rolls back, the second runs.

    Raises:
        OperationRefused: "request_id_reused", the id came before with another question; "invalid", it cannot be stored.
    """
    if not connection.in_atomic_block:
        raise TransactionRequired("once() needs the open transaction of the effect it guards.")
    if not 0 < len(request_id) <= _LONGEST or "\x00" in request_id:
        raise OperationRefused(f"A request id has 1 to {_LONGEST} characters.", code="invalid", field="request_id")
    if not _reserve(actor_name, request_id, fingerprint):
        return _first_answer(actor_name, request_id, fingerprint)
    value = json.loads(json.dumps(act(), cls=DjangoJSONEncoder))
    if value is not None:  # reserved as JSON null; None here would be SQL NULL
        RequestRecord.objects.filter(actor=actor_name, request_id=request_id).update(answer=value)
    return Answer(value=value, is_replayed=False)


def once_committed(*, actor_name: str, request_id: str, fingerprint: str, act: Callable[[], Any]) -> Answer:
    """Do ``once`` in a transaction of its own, for what no operation opens one for.

    Raises:
        OperationRefused: as ``once`` does.
    """
    with failpoints.atomic("request"):
        return once(actor_name=actor_name, request_id=request_id, fingerprint=fingerprint, act=act)


def fingerprint(*question: Any) -> str:
    """Return the hash of what is asked, the same for the same question."""
    asked = json.dumps(question, sort_keys=True, cls=DjangoJSONEncoder)
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()


def asker(actor: Actor) -> str:
    """Return whose request ids these are: a person and a token of the same name do not share them."""
    return f"{actor.kind}:{actor.name}"[:_LONGEST]


@contextmanager
def watch() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether anything in the block was answered from an earlier request."""
    token = _is_replayed.set(False)
    try:
        yield _is_replayed.get
    finally:
        _is_replayed.reset(token)


def _reserve(actor_name: str, request_id: str, asked: str) -> bool:
    table = connection.ops.quote_name(RequestRecord._meta.db_table)
    # The unique key decides between two at once: a look before an insert would let both run.
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (actor, request_id, fingerprint, answer, created_at)"
            " VALUES (%s, %s, %s, 'null', %s) ON CONFLICT DO NOTHING",
            [actor_name, request_id, asked, connection.ops.adapt_datetimefield_value(clock.now())],
        )
        return bool(cursor.rowcount == 1)


def _first_answer(actor_name: str, request_id: str, asked: str) -> Answer:
    record = RequestRecord.objects.get(actor=actor_name, request_id=request_id)
    if record.fingerprint != asked:
        raise OperationRefused(
            "This request id was used before for another request; use a new one.",
            code="request_id_reused",
            field="request_id",
        )
    _is_replayed.set(True)
    return Answer(value=record.answer, is_replayed=True)
