"""Keys of ordered consumers that must wait, and what they wait for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from messaging.models import DeadLetter, Delivery
from messaging.queries.pages import is_storable

# Written as the partial index of unresolved dead letters is: SQLite uses that index for this very expression only.
IS_UNRESOLVED = ~Q(state__in=["resolved", "discarded"])
LONGEST_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class BlockedKey:
    """A key at an ordered consumer that waits for the repair of a dead letter."""

    id: UUID
    """The dead letter that blocks: the earliest of the key."""
    key: str
    since: datetime
    state: str
    message_id: UUID
    type: str
    error_type: str
    error_message: str
    waiting: int
    """Deliveries of the key that wait."""


@dataclass(frozen=True, kw_only=True)
class WaitsFor:
    """What a delivery of an ordered consumer waits for: an earlier message with the same key."""

    message_id: UUID
    key: str
    dead_letter_id: UUID | None
    """Set when the earlier one is dead and its consumer's policy blocks."""


def blocked_keys(
    consumer: str, *, limit: int = 50, after: UUID | None = None, key: str | None = None
) -> list[BlockedKey]:
    """Return blocked keys of a consumer, the longest blocked first, or one of them.

    ``after`` is the last id of the page before.
    """
    if key is not None and not is_storable(key):
        return []
    wanted = {"id__gt": after, "key": key}
    rows = _first_blockers(consumer).filter(**{k: v for k, v in wanted.items() if v is not None}).order_by("id")
    lane = Delivery.objects.filter(consumer=consumer, key=OuterRef("key"), position__isnull=False).order_by()
    waiting = Subquery(lane.values("key").annotate(rows=Count("message_id")).values("rows"))
    found = list(rows.annotate(waiting=Coalesce(waiting, 0))[: min(limit, LONGEST_PAGE)])
    return [
        BlockedKey(
            id=row.id, key=row.key or "", since=row.dead_at, state=row.state, message_id=row.message_id, type=row.type,
            error_type=row.error_type, error_message=row.error_message, waiting=row.waiting,
        )
        for row in found
    ]  # fmt: skip


def waits_for(deliveries: Sequence[Delivery]) -> dict[tuple[UUID, str], WaitsFor]:
    """Return what each of these deliveries waits for, by message and consumer; two queries each, and few are asked."""
    found = {}
    for row in deliveries:
        if row.position is None or row.key is None or row.claim_token is not None:
            continue
        lane = {"consumer": row.consumer, "key": row.key, "position__lt": row.position}
        blocker = _blockers().filter(**lane).order_by("position").first()
        earlier = Delivery.objects.filter(**lane).order_by("position").first()
        first = blocker or earlier
        if first is not None:
            dead_letter_id = blocker.id if blocker else None
            found[row.message_id, row.consumer] = WaitsFor(
                message_id=first.message_id, key=row.key, dead_letter_id=dead_letter_id
            )
    return found


def overtaken(ids: Collection[UUID]) -> int:
    """Count those of these dead letters whose key did not wait: replayed now, they come behind newer messages."""
    return DeadLetter.objects.filter(id__in=ids, position__isnull=False, blocks=False).count()


def _blockers() -> QuerySet[DeadLetter]:
    return DeadLetter.objects.filter(IS_UNRESOLVED, blocks=True)


def _first_blockers(consumer: str) -> QuerySet[Any, Any]:
    """Return one dead letter for each blocked key: the one with the lowest position, of several the oldest."""
    earlier = _blockers().filter(consumer=consumer, key=OuterRef("key"))
    is_behind = Q(position__lt=OuterRef("position")) | Q(position=OuterRef("position"), id__lt=OuterRef("id"))
    return _blockers().filter(consumer=consumer).exclude(Exists(earlier.filter(is_behind)))
