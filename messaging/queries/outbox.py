"""The outbox: what committed and no relay has looked at yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Min

from messaging import clock
from messaging.models import OutboxEntry
from messaging.queries.pages import PAGE_CAP

STUCK = timedelta(seconds=30)
"""A row that is older should have been relayed long ago."""
COUNTED = 100_000
"""Rows looked at for the counts by type."""


@dataclass(frozen=True, kw_only=True)
class TypeCount:
    type: str
    rows: int
    oldest_at: datetime


@dataclass(frozen=True, kw_only=True)
class OutboxRow:
    id: int
    message_id: UUID
    type: str
    key: str | None
    consumer: str | None
    """The only one it goes to; null: all subscribers."""
    run: int
    created_at: datetime
    is_stuck: bool


@dataclass(frozen=True, kw_only=True)
class OutboxPage:
    """Oldest first; ``next`` continues to newer rows."""

    rows: tuple[OutboxRow, ...]
    next: int | None


@dataclass(frozen=True, kw_only=True)
class OutboxState:
    as_of: datetime
    rows: int
    is_capped: bool
    """There are more than COUNTED; the counts by type are of the oldest ones."""
    oldest_at: datetime | None
    lag_seconds: float
    stuck: int
    types: tuple[TypeCount, ...]
    """Most rows first."""


def outbox_state() -> OutboxState:
    """Count the outbox by type, in two statements."""
    now = clock.now()
    oldest = OutboxEntry.objects.order_by("id").values("id")[:COUNTED]
    counted = OutboxEntry.objects.filter(id__in=oldest).values("type").annotate(
        rows=Count("id"), oldest_at=Min("created_at")
    )  # fmt: skip
    types = [TypeCount(**row) for row in counted.order_by("-rows", "type")]
    first = min((each.oldest_at for each in types), default=None)
    total = sum(each.rows for each in types)
    return OutboxState(
        as_of=now, rows=total, is_capped=total >= COUNTED, oldest_at=first,
        lag_seconds=max(0.0, (now - first).total_seconds()) if first else 0.0,
        stuck=OutboxEntry.objects.filter(id__in=oldest, created_at__lt=now - STUCK).count(), types=tuple(types),
    )  # fmt: skip


def list_outbox(*, limit: int = 50, after: int | None = None) -> OutboxPage:
    """Return rows, oldest first."""
    limit = max(1, min(limit, PAGE_CAP))
    late_before = clock.now() - STUCK
    rows = OutboxEntry.objects.filter(**({} if after is None else {"id__gt": after})).order_by("id")
    found = list(rows[: limit + 1])
    return OutboxPage(
        rows=tuple(
            OutboxRow(
                id=row.id, message_id=row.message_id, type=row.type, key=row.key, consumer=row.consumer, run=row.run,
                created_at=row.created_at, is_stuck=row.created_at < late_before,
            )
            for row in found[:limit]
        ),
        next=found[limit - 1].id if len(found) > limit else None,
    )  # fmt: skip
