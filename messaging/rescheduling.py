"""A changed retry policy applies to what is already waiting."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, assert_never

from django.utils.module_loading import import_string

from messaging import policy
from messaging.consumers import Consumer
from messaging.models import Delivery


def reschedule(consumer: Consumer, before: dict[str, Any], now: datetime) -> int:
    """Move the waiting retries to where the policy of this release puts them; return how many moved.

    ``before`` describes the policy of the release before: if it is the same, nothing moves.

    Counted from when they failed. What the new policy would have given up gets one last try now. Deliveries that a
    handler put off, and those that an operator hastened, stay. Needs a transaction.
    """
    if before == consumer.retry.describe():
        return 0
    moved = 0
    waiting = Delivery.objects.filter(
        consumer=consumer.name, claim_token=None, failed_at__isnull=False, available_at__gt=now
    )  # fmt: skip
    for row in waiting.iterator():
        due = _due(consumer, row, now)
        if due != row.available_at:
            # A worker may have claimed it, or an operator moved it, since it was read.
            moved += Delivery.objects.filter(
                message_id=row.message_id, consumer=row.consumer, run=row.run, claim_token=None,
                available_at=row.available_at,
            ).update(available_at=due)  # fmt: skip
    return moved


def _due(consumer: Consumer, row: Delivery, now: datetime) -> datetime:
    assert row.failed_at is not None
    failures = max(0, row.failures - 1)
    decision = policy.decide_for(
        _kind(row.error_type or ""), failures=failures, retry=consumer.retry,
        luck=policy.luck_of(row.message_id, failures),
    )  # fmt: skip
    match decision:
        case policy.TryAgain(after=after):
            return row.failed_at + timedelta(seconds=after)
        case policy.GiveUp() | policy.Ignore():
            return now
        case _:
            assert_never(decision)


def _kind(path: str) -> type[BaseException]:
    """Return the class of an error; one that this release does not know counts as any other."""
    try:
        kind = import_string(path)
    except ImportError:
        return Exception
    return kind if isinstance(kind, type) and issubclass(kind, BaseException) else Exception
