"""Reads of the per-minute roll-ups: folded rows and the deltas that wait to be folded, always both in one statement."""

from __future__ import annotations

from collections.abc import Mapping
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


def tallies(*, since: datetime, consumer: str = "") -> list[Tally]:
    """Count attempt outcomes per consumer and minute from ``since`` on, in one statement."""
    return [tally for tally in _recorded(since=since, consumer=consumer) if tally.consumer]


@once
def _recorded(*, since: datetime, consumer: str) -> list[Tally]:
    """Count outcomes of one consumer or of all, what was published included."""
    match = "=" if consumer else ">="  # of all: the empty name too
    sql = f"""
        SELECT consumer, minute, outcome, SUM(count)
        FROM ({_both("consumer, minute, outcome, count", match)}) AS recorded
        GROUP BY consumer, minute, outcome"""
    rows = _fetch(sql, [*_bounds(since, consumer), *_bounds(since, consumer)])
    return [Tally(name, _moment(minute), outcome, int(count)) for name, minute, outcome, count in rows]


def outcomes(*, since: datetime, consumer: str = "") -> list[tuple[datetime, str, int]]:
    """Count attempt outcomes per minute from ``since`` on, of all consumers together or of one."""
    sql = f"""
        SELECT minute, outcome, SUM(count)
        FROM ({_both("minute, outcome, count", _match(consumer))}) AS recorded
        GROUP BY minute, outcome"""
    rows = _fetch(sql, [*_bounds(since, consumer), *_bounds(since, consumer)])
    return [(_moment(minute), outcome, int(count)) for minute, outcome, count in rows]


def published(*, since: datetime) -> dict[datetime, int]:
    """Count the messages that the relay fanned out per minute from ``since`` on, by the same read as ``tallies``."""
    recorded = _recorded(since=since, consumer="")
    return {each.minute: each.count for each in recorded if not each.consumer and each.outcome == PUBLISHED}


def histograms(*, since: datetime, by: str, consumer: str = "") -> dict[Any, dict[str, int]]:
    """Sum the histograms of critical times of handled deliveries ``by`` "consumer" or "minute", in one statement."""
    if by not in ("consumer", "minute"):
        raise ValueError(f"by={by!r}: use 'consumer' or 'minute'.")
    each = "jsonb_each_text" if connection.vendor == "postgresql" else "json_each"
    sql = f"""
        SELECT {by}, bucket.key, SUM(CAST(bucket.value AS bigint))
        FROM ({_both(f"{by}, buckets", _match(consumer), "AND outcome IN (%s, %s)")}) AS recorded
        CROSS JOIN {each}(recorded.buckets) AS bucket
        GROUP BY {by}, bucket.key"""
    values = [*_bounds(since, consumer), *map(str, HANDLED)]
    sums: dict[Any, dict[str, int]] = {}
    for group, bucket, count in _fetch(sql, [*values, *values]):
        sums.setdefault(_moment(group) if by == "minute" else group, {})[bucket] = int(count)
    return {group: histogram(buckets, "critical") for group, buckets in sums.items()}


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
