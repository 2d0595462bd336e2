"""Reads of the per-minute roll-ups: folded rows and the deltas that wait to be folded, always both in one statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import connection
from django.utils.dateparse import parse_datetime

from messaging.models import Attempt, Rollup, RollupDelta
from messaging.queries.shared import once
from messaging.rollups import BOUNDS_MS, histogram

_LOWER: dict[str, int] = {"1": 0, **{str(high): low for low, high in pairwise(BOUNDS_MS)}, "inf": BOUNDS_MS[-1]}

_Outcome = Attempt.Outcome
HANDLED = (_Outcome.HANDLED, _Outcome.IGNORED)
FAILED = (_Outcome.RETRIED, _Outcome.DEAD_LETTERED, _Outcome.CRASHED, _Outcome.DROPPED)
WILL_RETRY = (_Outcome.RETRIED, _Outcome.CRASHED)
PUBLISHED = "published"
"""Outcome of the rows without a consumer: what the relay fanned out."""
ATTEMPTED = (*HANDLED, *FAILED, _Outcome.POSTPONED)
HISTORY_MINUTES = 60
FAILING_WINDOW = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Tally:
    """How often an outcome happened to a consumer within one minute."""

    consumer: str
    minute: datetime
    outcome: str
    count: int


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def percentile(buckets: Mapping[str, int], share: float) -> float | None:
    """Return the critical time in milliseconds below which ``share`` (0 to 1) of the histogram lies.

    The times of a bucket are taken as spread evenly, so the answer is interpolated linearly between its bounds;
    in the open last bucket it is that bucket's lower bound. None without any time.
    """
    total = sum(buckets.values())
    if total <= 0:
        return None
    wanted, below = share * total, 0
    for name, low in _LOWER.items():
        count = buckets.get(name, 0)
        if count and below + count >= wanted:
            if name == "inf":
                break
            return low + (int(name) - low) * (wanted - below) / count
        below += count
    return float(BOUNDS_MS[-1])


@dataclass(frozen=True, slots=True)
class Recent:
    """What the last hour recorded, and the critical times of what consumers handled in the last 15 minutes."""

    tallies: Sequence[Tally]
    published: Mapping[datetime, int]
    """Messages that the relay fanned out, by minute."""
    histograms: Mapping[str, Mapping[str, int]]
    """By consumer."""


def recent(now: datetime, *, consumer: str = "") -> Recent:
    """Read the last hour of one consumer or of all, in one statement."""
    return _recent(minute_of(now), consumer)


@once
def _recent(minute: datetime, consumer: str) -> Recent:
    match = "=" if consumer else ">="  # of all: the empty name too, under which stands what was published
    tallies: list[Tally] = []
    published: dict[datetime, int] = {}
    histograms: dict[str, dict[str, int]] = defaultdict(dict)
    rows = _counts_and_buckets(
        "consumer, minute, outcome", "consumer, MAX(minute) AS minute, ''", "consumer", match,
        since=minute - timedelta(minutes=HISTORY_MINUTES - 1), buckets_since=minute - FAILING_WINDOW, consumer=consumer,
    )  # fmt: skip
    for name, moment, outcome, bucket, count in rows:
        if bucket:
            histograms[name][bucket] = count
        elif name:
            tallies.append(Tally(name, _moment(moment), outcome, count))
        elif outcome == PUBLISHED:
            published[_moment(moment)] = count
    return Recent(tallies, published, {name: histogram(found, "critical") for name, found in histograms.items()})


def course(
    *, since: datetime, step: int, consumer: str = ""
) -> tuple[list[tuple[datetime, str, int]], dict[datetime, dict[str, int]]]:
    """Return outcomes and histograms of critical times for each step of ``step`` minutes, in one statement.

    Steps begin at multiples of ``step`` since the epoch.
    """
    if connection.vendor == "postgresql":
        start = f"date_bin(interval '{step} minutes', minute, timestamptz 'epoch')"
    else:
        start = f"datetime(CAST(strftime('%%s', minute) AS integer) / {step * 60} * {step * 60}, 'unixepoch')"
    outcomes: list[tuple[datetime, str, int]] = []
    buckets: dict[datetime, dict[str, int]] = defaultdict(dict)
    rows = _counts_and_buckets(
        f"'' AS consumer, {start} AS start, outcome", f"'' AS consumer, {start} AS start, ''", start, _match(consumer),
        since=since, buckets_since=since, consumer=consumer, counts_by=f"{start}, outcome",
    )  # fmt: skip
    for _, moment, outcome, bucket, count in rows:
        if bucket:
            buckets[_moment(moment)][bucket] = count
        else:
            outcomes.append((_moment(moment), outcome, count))
    return outcomes, {moment: histogram(found, "critical") for moment, found in buckets.items()}


def _counts_and_buckets(
    counted: str, summed: str, buckets_by: str, match: str, *, since: datetime, buckets_since: datetime, consumer: str,
    counts_by: str = "consumer, minute, outcome",
) -> list[tuple[Any, ...]]:  # fmt: skip
    """Count outcomes by ``counts_by``, and sum the histograms of what was handled by ``buckets_by``: one statement."""
    each = "jsonb_each_text" if connection.vendor == "postgresql" else "json_each"
    handled = "AND outcome IN (%s, %s) AND consumer <> ''"
    sql = f"""
        SELECT {counted}, '' AS bucket, CAST(SUM(count) AS bigint)
        FROM ({_both("consumer, minute, outcome, count", match)}) AS recorded
        GROUP BY {counts_by}
        UNION ALL
        SELECT {summed}, bucket.key, CAST(SUM(CAST(bucket.value AS bigint)) AS bigint)
        FROM ({_both("consumer, minute, buckets", match, handled)}) AS recorded
        CROSS JOIN {each}(recorded.buckets) AS bucket
        GROUP BY {buckets_by}, bucket.key"""
    counts, buckets = _bounds(since, consumer), [*_bounds(buckets_since, consumer), *map(str, HANDLED)]
    return _fetch(sql, [*counts, *counts, *buckets, *buckets])


def _match(consumer: str) -> str:
    """Return the operator that finds one consumer, or all: the empty name ("published") is no consumer."""
    return "=" if consumer else "<>"


def _both(columns: str, match: str, extra: str = "") -> str:
    """Return the SELECT over folded roll-ups and unfolded deltas."""
    where = f"WHERE minute >= %s AND consumer {match} %s {extra}"
    tables = (model._meta.db_table for model in (Rollup, RollupDelta))
    return " UNION ALL ".join(f"SELECT {columns} FROM {table} {where}" for table in tables)


def _bounds(since: datetime, consumer: str) -> list[Any]:
    return [connection.ops.adapt_datetimefield_value(minute_of(since)), consumer]


def _fetch(sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def _moment(value: datetime | str) -> datetime:
    """Return an aware time: SQLite answers a raw statement with naive UTC text."""
    moment = parse_datetime(value) if isinstance(value, str) else value
    assert moment is not None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def minutes_until(now: datetime, *, count: int) -> tuple[datetime, ...]:
    """Return the starts of the last ``count`` minutes, oldest first, the running one last."""
    last = minute_of(now)
    return tuple(last - timedelta(minutes=back) for back in range(count - 1, -1, -1))
