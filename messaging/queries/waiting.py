"""Deliveries that wait for their time: delayed retries, and what handlers put off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from messaging import clock
from messaging.models import Attempt, ConsumerState, Delivery, Message
from messaging.queries.due_pages import DuePage, after_cursor, cursor_of, split
from messaging.queries.pages import CappedCount, capped_count, is_storable


@dataclass(frozen=True, kw_only=True)
class WaitingRow:
    """One delivery, why it waits and until when."""

    id: str
    """Message, run and consumer, as the operations on deliveries take it."""
    message_id: UUID
    consumer: str
    run: int
    type: str
    key: str | None
    failures: int
    due_at: datetime
    outcome: str
    """Of its last attempt: retried, postponed; empty without one."""
    error_type: str
    error_message: str


def list_waiting(*, consumer: str = "", limit: int = 50, after: str = "") -> DuePage[WaitingRow]:
    """Return waiting deliveries, the next due first."""
    if not is_storable(consumer):
        return DuePage(rows=(), next=None)
    rows = after_cursor(_waiting(consumer), "available_at", after).order_by("available_at", "message_id", "consumer")
    found, more = split(rows, limit)
    last = _last_attempts(found)
    messages = dict(Message.objects.filter(id__in={row.message_id for row in found}).values_list("id", "type"))
    return DuePage(
        rows=tuple(
            _row(row, messages.get(row.message_id, ""), last.get((row.message_id, row.consumer))) for row in found
        ),
        next=cursor_of(found[-1].available_at, found[-1].message_id) if more else None,
    )


def count_waiting() -> CappedCount:
    return capped_count(_waiting(""))


def _waiting(consumer: str) -> QuerySet[Delivery]:
    # By consumer, whose index holds the times: what is due already, however much, is not even looked at.
    names = [consumer] if consumer else list(ConsumerState.objects.values_list("name", flat=True))
    return Delivery.objects.filter(consumer__in=names, claim_token=None, available_at__gt=clock.now())


def _last_attempts(rows: Sequence[Delivery]) -> dict[tuple[UUID, str], Attempt]:
    attempts = Attempt.objects.filter(message_id__in={row.message_id for row in rows}).defer("traceback")
    return {(each.message_id, each.consumer): each for each in attempts.order_by("id")}


def _row(row: Delivery, type_: str, last: Attempt | None) -> WaitingRow:
    return WaitingRow(
        id=f"{row.message_id}/{row.run}/{row.consumer}", message_id=row.message_id, consumer=row.consumer, run=row.run,
        type=type_, key=row.key, failures=row.failures, due_at=row.available_at, outcome=last.outcome if last else "",
        error_type=(last.error_type or "") if last else "", error_message=(last.error_message or "") if last else "",
    )  # fmt: skip
