"""Per-minute roll-ups: workers insert deltas, a scheduled task folds them. Charts and metrics read nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from messaging import failpoints
from messaging.database.statements import Delta
from messaging.models import Rollup, RollupDelta, Total

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 300000)
"""Upper bounds of the critical-time histogram, in milliseconds; what is longer counts as "inf"."""
FOLD_BATCH = 5_000
BATCHES = "batches"
"""Outcome of the rows that count calls of batch handlers instead of deliveries."""


def bucket_of(microseconds: int) -> str:
    """Return the histogram bucket of a duration: its upper bound in milliseconds, as text."""
    return next((str(bound) for bound in BOUNDS_MS if microseconds <= bound * 1000), "inf")


def deltas_of(outcomes: Iterable[tuple[str, str, int, int]]) -> list[Delta]:
    """Sum (consumer, outcome, duration_us, critical_us) into one delta for each consumer and outcome."""
    deltas: dict[tuple[str, str], Delta] = {}
    for consumer, outcome, duration_us, critical_us in outcomes:
        delta = deltas.setdefault((consumer, outcome), Delta(consumer, outcome))
        delta.count += 1
        delta.duration_us += duration_us
        delta.critical_us += critical_us
        bucket = bucket_of(critical_us)
        delta.buckets[bucket] = delta.buckets.get(bucket, 0) + 1
    return list(deltas.values())


def fold(limit: int = FOLD_BATCH) -> int:
    """Move up to ``limit`` deltas into minutes and totals, in one transaction; return how many were moved."""
    with failpoints.atomic("fold"):
        rows = list(RollupDelta.objects.select_for_update(skip_locked=True).order_by("id")[:limit])
        if not rows:
            return 0
        _add(Rollup, ("minute", "consumer", "outcome"), rows)
        _add(Total, ("consumer", "outcome"), rows)
        RollupDelta.objects.filter(id__in=[row.id for row in rows]).delete()
    return len(rows)


def _add(model: Any, key: tuple[str, ...], rows: list[RollupDelta]) -> None:
    sums: dict[tuple[Any, ...], list[RollupDelta]] = defaultdict(list)
    for row in rows:
        sums[tuple(getattr(row, name) for name in key)].append(row)
    for values, group in sorted(sums.items()):
        found, _ = model.objects.select_for_update().get_or_create(
            **dict(zip(key, values, strict=True)),
            defaults={"count": 0, "duration_us": 0, "critical_us": 0, "buckets": {}},
        )
        buckets = dict(found.buckets)
        for row in group:
            for bound, count in row.buckets.items():
                buckets[bound] = buckets.get(bound, 0) + count
        found.count += sum(row.count for row in group)
        found.duration_us += sum(row.duration_us for row in group)
        found.critical_us += sum(row.critical_us for row in group)
        found.buckets = buckets
        found.save()
