"""Counters against history: what the roll-ups counted is what a recount of the attempts gives (invariant I11)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q, Sum

from messaging.ids import id_at, time_of
from messaging.models import Attempt, Rollup, RollupDelta

Counts = dict[tuple[str, str], int]
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


def wrong_counters() -> Iterator[str]:
    """Yield in words each consumer's outcome that was counted more or less often than it stands in history.

    Where retention has removed attempts, it counts from the first day on that certainly is whole. An attempt gets its
    id before its minute is noted, so at that edge a minute's worth may be on either side.
    """
    since = _whole_since()
    counted = _counted(since)
    surely, perhaps = _attempts(since and since + _MINUTE), _attempts(since and since - _MINUTE)
    for consumer, outcome in sorted(counted.keys() | perhaps.keys()):
        found = counted.get((consumer, outcome), 0)
        low, high = surely.get((consumer, outcome), 0), perhaps.get((consumer, outcome), 0)
        if not low <= found <= high:
            wanted = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            yield f"{consumer}: {found:,} times {outcome} in the roll-ups, {wanted} in history"


def _whole_since() -> datetime | None:
    """Return from when on all attempts are there; None when none was removed yet."""
    oldest = Attempt.objects.order_by("id").values_list("id", flat=True).first()
    earliest = Rollup.objects.aggregate(minute=Min("minute"))["minute"]
    began = time_of(oldest) if oldest else None
    if earliest is None or began is None:
        return None
    day = began.replace(hour=0, minute=0, second=0, microsecond=0)
    return None if earliest >= day else day + _DAY


def _counted(since: datetime | None) -> Counts:
    counts: Counts = {}
    where = Q(outcome__in=Attempt.Outcome.values) & (Q(minute__gte=since) if since else Q())
    for model in (Rollup, RollupDelta):
        rows = model.objects.filter(where).values_list("consumer", "outcome").annotate(sum=Sum("count")).order_by()
        for consumer, outcome, count in rows:
            counts[consumer, outcome] = counts.get((consumer, outcome), 0) + count
    return counts


def _attempts(since: datetime | None) -> Counts:
    rows = Attempt.objects.filter(id__gte=id_at(since)) if since else Attempt.objects.all()
    found = rows.values_list("consumer", "outcome").annotate(count=Count("id")).order_by()
    return {(consumer, outcome): count for consumer, outcome, count in found}
