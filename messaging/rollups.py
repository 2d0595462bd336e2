"""Per-minute roll-ups: workers insert deltas, a scheduled task folds them. Charts and metrics read nothing else."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from messaging import failpoints
from messaging.database import store
from messaging.database.statements import Delta
from messaging.models import Rollup, RollupDelta, Total, TypeTotal

Kind = Literal["critical", "processing", "wakeup"]
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 300000)
"""Upper bounds of the critical-time histogram, in milliseconds; what is longer counts as "inf"."""
_BOUNDS_US = [bound * 1000 for bound in BOUNDS_MS]
_BUCKETS = [*map(str, BOUNDS_MS), "inf"]
AT_ONCE = 100
"""Rows that one statement of a fold reads or writes."""
FOLD_BATCH = 5_000
BATCHES = "batches"
"""Outcome of the rows that count calls of batch handlers instead of deliveries."""


def bucket_of(microseconds: int) -> str:
    """Return the histogram bucket of a duration: its upper bound in milliseconds, as text."""
    return _BUCKETS[bisect_left(_BOUNDS_US, microseconds)]


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
    counts = Counter[tuple[Any, ...]]()
    for row in rows:
        if row.type:
            counts[row.consumer, row.type, row.outcome] += row.count

    def add(total: TypeTotal) -> None:
        total.count += counts[total.pk]

    _change(TypeTotal, list(counts), {"count": 0}, add)


def _add(model: Any, key: tuple[str, ...], rows: list[RollupDelta]) -> None:
    groups: dict[tuple[Any, ...], list[RollupDelta]] = defaultdict(list)
    for row in rows:
        groups[tuple(getattr(row, name) for name in key)].append(row)

    def add(found: Any) -> None:
        buckets = Counter(found.buckets)
        for row in groups[found.pk]:
            found.count += row.count
            found.duration_us += row.duration_us
            found.critical_us += row.critical_us
            buckets.update(row.buckets)
        found.buckets = dict(buckets)

    _change(model, list(groups), {"count": 0, "duration_us": 0, "critical_us": 0, "buckets": {}}, add)


def _change(model: Any, keys: list[tuple[Any, ...]], nothing: Mapping[str, Any], change: Callable[[Any], None]) -> None:
    """Make the missing rows of ``keys`` with ``nothing`` in them, lock all, change each and save them.

    First all inserts, then all locks, both in the order of the keys: two that fold at once never wait for each other.
    """
    names = model._meta.pk.field_names
    keys.sort()
    blank = [model(**dict(zip(names, key, strict=True)), **nothing) for key in keys]
    model.objects.bulk_create(blank, AT_ONCE, ignore_conflicts=True)
    rows: list[Any] = []
    for first in range(0, len(keys), AT_ONCE):
        part = keys[first : first + AT_ONCE]
        rows += model.objects.select_for_update().filter(pk__in=part).order_by(*names)
    for row in rows:
        change(row)
    model.objects.bulk_create(rows, AT_ONCE, update_conflicts=True, unique_fields=names, update_fields=[*nothing])
