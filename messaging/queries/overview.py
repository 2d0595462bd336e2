"""What flowed through the bus and what runs it: for the overview, /stats and /metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from messaging import clock
from messaging.models import RollupDelta, Total, TypeTotal
from messaging.queries import rates
from messaging.queries.shared import processes
from messaging.queries.vitals import Pause, Vitals, stale_before, vitals

__all__ = [
    "Pause",
    "Series",
    "TotalRow",
    "TypeRow",
    "Vitals",
    "WorkerRow",
    "published_per_minute",
    "series",
    "totals",
    "type_totals",
    "vitals",
    "workers",
]

_SERIES_OF: dict[str, str] = {
    **dict.fromkeys(map(str, rates.HANDLED), "handled"),
    **dict.fromkeys(map(str, rates.WILL_RETRY), "will_retry"),
    "dead_lettered": "dead_lettered",
    "dropped": "dropped",
}
"""Which line of the charts an outcome belongs to."""


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    name: str
    role: str
    host: str
    pid: int
    release: str
    started_at: datetime
    heartbeat_at: datetime
    is_alive: bool


@dataclass(frozen=True, kw_only=True)
class Series:
    """Per minute, oldest first, one entry a minute, all lists of equal length."""

    minutes: tuple[datetime, ...]
    handled: tuple[int, ...]
    dead_lettered: tuple[int, ...]
    will_retry: tuple[int, ...]
    dropped: tuple[int, ...]
    """Failed deliveries to at-most-once consumers, which never come back."""
    critical_p50_ms: tuple[float | None, ...]
    critical_p95_ms: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class TotalRow:
    consumer: str
    outcome: str
    count: int
    duration_us: int
    critical_us: int
    buckets: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class TypeRow:
    consumer: str
    """Empty for what was published."""
    type: str
    outcome: str
    count: int


def series(*, minutes: int = 60, consumer: str = "", step: int = 1) -> Series:
    """Return the last ``minutes`` minutes in steps of ``step`` minutes (1: one entry a minute), in one statement.

    Steps begin at multiples of ``step`` since the epoch, so that a point does not move while the window slides;
    the last one is still running. Critical times are those of what was handled.
    """
    now = clock.now()
    starts = _starts(now, minutes=minutes, step=step)
    place_of = {start: place for place, start in enumerate(starts)}
    outcomes, histograms = rates.course(since=starts[0], step=step, consumer=consumer)
    counts = {name: [0] * len(starts) for name in ("handled", "dead_lettered", "will_retry", "dropped")}
    for start, outcome, count in outcomes:
        place, name = place_of.get(start), _SERIES_OF.get(outcome)
        if place is not None and name:
            counts[name][place] += count
    buckets = [histograms.get(start, {}) for start in starts]
    return Series(
        minutes=starts,
        critical_p50_ms=tuple(rates.percentile(histogram, 0.5) for histogram in buckets),
        critical_p95_ms=tuple(rates.percentile(histogram, 0.95) for histogram in buckets),
        **{name: tuple(numbers) for name, numbers in counts.items()},
    )


def _starts(now: datetime, *, minutes: int, step: int) -> tuple[datetime, ...]:
    last = _floor(now, step)
    return tuple(last - timedelta(minutes=step * back) for back in range(max(1, minutes // step) - 1, -1, -1))


def _floor(moment: datetime, step: int) -> datetime:
    seconds = step * 60
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)


def published_per_minute() -> tuple[int, ...]:
    """Messages that left the outbox per minute of the last hour, oldest first, the running minute last."""
    now = clock.now()
    counts = rates.recent(now).published
    return tuple(counts.get(start, 0) for start in rates.minutes_until(now, count=rates.HISTORY_MINUTES))


def type_totals(everything: Sequence[TotalRow]) -> list[TypeRow]:
    """Outcomes per consumer and type since the beginning, deltas that are not folded yet included.

    ``everything`` is ``totals()``: what it counted before types were known is under the type "".
    """
    counts = Counter[tuple[str, str, str]]()
    columns = ("consumer", "type", "outcome", "count")
    deltas = RollupDelta.objects.exclude(type="").values_list(*columns)
    for consumer, type_, outcome, count in TypeTotal.objects.order_by().values_list(*columns).union(deltas, all=True):
        counts[consumer, type_, outcome] += count
    untyped = Counter({(row.consumer, row.outcome): row.count for row in everything})
    for (consumer, _, outcome), count in counts.items():
        untyped[consumer, outcome] -= count
    rows = [*counts.items(), *(((consumer, "", outcome), n) for (consumer, outcome), n in untyped.items() if n > 0)]
    return [TypeRow(consumer=c, type=t, outcome=o, count=count) for (c, t, o), count in sorted(rows)]


def totals() -> list[TotalRow]:
    """Outcomes since the beginning, deltas that are not folded yet included."""
    columns = ("consumer", "outcome", "count", "duration_us", "critical_us", "buckets")
    folded = Total.objects.order_by().values_list(*columns)
    sums: dict[tuple[str, str], list[int]] = {}
    histograms: dict[tuple[str, str], Counter[str]] = {}
    # One statement: between two, the fold could move a delta and it would count twice or not at all.
    for consumer, outcome, *numbers, buckets in folded.union(RollupDelta.objects.values_list(*columns), all=True):
        key = (consumer, outcome)
        sums[key] = [a + b for a, b in zip(sums.get(key, [0, 0, 0]), numbers, strict=True)]
        histograms.setdefault(key, Counter()).update(buckets)
    return [
        TotalRow(
            consumer=consumer,
            outcome=outcome,
            count=count,
            duration_us=duration_us,
            critical_us=critical_us,
            buckets=dict(histograms[consumer, outcome]),
        )
        for (consumer, outcome), (count, duration_us, critical_us) in sorted(sums.items())
    ]


def workers(*, now: datetime | None = None) -> list[WorkerRow]:
    """Every process with a heartbeat row, by role and name; silent ones are not alive."""
    silent_before = stale_before(now or clock.now())
    return [
        WorkerRow(
            name=worker.name,
            role=worker.role,
            host=worker.host,
            pid=worker.pid,
            release=worker.release,
            started_at=worker.started_at,
            heartbeat_at=worker.heartbeat_at,
            is_alive=worker.heartbeat_at >= silent_before,
        )
        for worker in processes()
    ]
