"""Per-minute roll-ups: workers insert deltas, a scheduled task folds them. Charts and metrics read nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from messaging import failpoints
from messaging.database import store
from messaging.database.statements import Delta
from messaging.models import Rollup, RollupDelta, Total, TypeTotal

Kind = Literal["critical", "processing", "wakeup"]
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 300000)
"""Upper bounds of the critical-time histogram, in milliseconds; what is longer counts as "inf"."""
FOLD_BATCH = 5_000
BATCHES = "batches"
"""Outcome of the rows that count calls of batch handlers instead of deliveries."""


def bucket_of(microseconds: int) -> str:
    """Return the histogram bucket of a duration: its upper bound in milliseconds, as text."""
    return next((str(bound) for bound in BOUNDS_MS if microseconds <= bound * 1000), "inf")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one execution adds to its minute. Times are microseconds."""

    consumer: str
    type: str
    outcome: str
    duration_us: int
    critical_us: int
    waited_us: int


def deltas_of(outcomes: Iterable[Outcome]) -> list[Delta]:
    """Sum outcomes into one delta for each consumer, type and outcome."""
    deltas: dict[tuple[str, str, str], Delta] = {}
    for one in outcomes:
        key = one.consumer, one.type, one.outcome
        delta = deltas.get(key) or deltas.setdefault(key, Delta(*key))
        delta.count += 1
        delta.duration_us += one.duration_us
        delta.critical_us += one.critical_us
        for prefix, microseconds in (("", one.critical_us), ("p", one.duration_us), ("w", one.waited_us)):
            bucket = prefix + bucket_of(microseconds)
            delta.buckets[bucket] = delta.buckets.get(bucket, 0) + 1
    return list(deltas.values())


def count(consumer: str, outcome: str, number: int) -> None:
    """Count something that is no execution: no time was spent. Needs a transaction."""
    minute = store().now().replace(second=0, microsecond=0)
    RollupDelta.objects.create(
        minute=minute, consumer=consumer, outcome=outcome, count=number, duration_us=0, critical_us=0, buckets={}
    )


def histogram(buckets: Mapping[str, int], kind: Kind) -> dict[str, int]:
    """Return one of the histograms that ``buckets`` hold: upper bound in milliseconds, or "inf", to count."""
    prefix = {"critical": "", "processing": "p", "wakeup": "w"}[kind]
    names = (*map(str, BOUNDS_MS), "inf")
    return {name: buckets[prefix + name] for name in names if prefix + name in buckets}


def fold(limit: int = FOLD_BATCH) -> int:
    """Move up to ``limit`` deltas into minutes and totals, in one transaction; return how many were moved."""
    with failpoints.atomic("fold"):
        rows = list(RollupDelta.objects.select_for_update(skip_locked=True).order_by("id")[:limit])
        if not rows:
            return 0
        _add(Rollup, ("minute", "consumer", "outcome"), rows)
        _add(Total, ("consumer", "outcome"), rows)
        _count_types(rows)
        RollupDelta.objects.filter(id__in=[row.id for row in rows]).delete()
    return len(rows)


def _count_types(rows: list[RollupDelta]) -> None:
    counts = Counter[tuple[str, str, str]]()
    for row in rows:
        if row.type:
            counts[row.consumer, row.type, row.outcome] += row.count
    for (consumer, type_, outcome), count in sorted(counts.items()):
        total, _ = TypeTotal.objects.select_for_update().get_or_create(
            consumer=consumer, type=type_, outcome=outcome, defaults={"count": 0}
        )
        total.count += count
        total.save()


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
