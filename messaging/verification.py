"""Recount from the tables what became of every message: nothing lost, nothing handled twice, business in order.

Everything is counted in one snapshot with set-based statements, so that it can run beside live traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils.module_loading import autodiscover_modules

from messaging import clock
from messaging import verification_sql as sql
from messaging.database.snapshots import snapshot
from messaging.ids import id_at
from messaging.recount import wrong_counters
from messaging.sagas.recount import illegal_moves

SHOWN = 20
"""Most examples listed for one kind of violation."""

Invariant = Callable[[], Iterable[str]]
_invariants: dict[str, Invariant] = {}


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What became of deliveries. Every field but the first and the last two adds up to ``expected``."""

    expected: int = 0
    """One per message and subscribed consumer."""
    handled: int = 0
    ignored: int = 0
    dropped: int = 0
    """At-most-once: failed after it was settled."""
    filtered: int = 0
    """The subscription's filter did not want it, as the relay wrote down."""
    dead_lettered: int = 0
    """Unresolved."""
    discarded: int = 0
    resubmitted: int = 0
    """An edited copy took its place."""
    cancelled: int = 0
    """Taken back before its time."""
    waiting: int = 0
    lost: int = 0
    duplicated: int = 0
    """Handled more than once in one run."""


@dataclass(frozen=True, kw_only=True)
class FlowCount:
    """All messages whose flow began with a message of type ``root``."""

    root: str
    flows: int
    published: int
    outcomes: Outcomes


@dataclass(frozen=True, kw_only=True)
class ConsumerCount:
    consumer: str
    outcomes: Outcomes


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """One delivery that was lost or handled twice."""

    message_id: UUID
    consumer: str


@dataclass(frozen=True, kw_only=True)
class InvariantResult:
    name: str
    violations: tuple[str, ...]
    """The first of them, in words."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The recount. Lost and duplicated name the first few culprits."""

    as_of: datetime
    since: datetime | None
    flows: tuple[FlowCount, ...]
    consumers: tuple[ConsumerCount, ...]
    lost: tuple[Culprit, ...]
    duplicated: tuple[Culprit, ...]
    invariants: tuple[InvariantResult, ...]
    counters: tuple[str, ...] = ()
    """Roll-ups that differ from a recount of history, in words, if that was asked."""

    @property
    def is_sound(self) -> bool:
        is_kept = not any(each.violations for each in self.invariants)
        return is_kept and not self.lost and not self.duplicated and not self.counters


def invariant(name: str) -> Callable[[Invariant], Invariant]:
    """Register a business invariant: a function that reads the tables and returns its violations in words.

    ``verify`` finds it in an app's module ``invariants``.
    """

    def register(function: Invariant) -> Invariant:
        _invariants[name] = function
        return function

    return register


_invariants["sagas: only legal moves; what fails is undone"] = illegal_moves


def verify(*, since: datetime | None = None, with_counters: bool = False) -> Report:
    """Recount all messages published at ``since`` or later, and check every registered invariant.

    ``with_counters`` also compares the roll-ups with history, all of it that is kept.
    """
    autodiscover_modules("invariants")
    with snapshot(), _counted(since):
        consumers = [ConsumerCount(consumer=name, outcomes=found) for name, found in _outcomes(sql.BY_CONSUMER).items()]
        return Report(
            as_of=clock.now(),
            since=since,
            flows=tuple(_flows(since)),
            consumers=tuple(consumers),
            lost=_culprits(sql.LOST),
            duplicated=_culprits(sql.DUPLICATED),
            invariants=tuple(
                InvariantResult(name=name, violations=tuple(islice(_invariants[name](), SHOWN)))
                for name in sorted(_invariants)
            ),
            counters=tuple(islice(wrong_counters(), SHOWN)) if with_counters else (),
        )


@contextmanager
def _counted(since: datetime | None) -> Iterator[None]:
    """Hold the outcome of every delivery in a temporary table."""
    _drop()
    try:
        with connection.cursor() as cursor:
            for table, select in sql.STEPS.items():
                cursor.execute(f"CREATE TEMPORARY TABLE {table} AS {select}", {"since": _lowest_id(since)})
                if connection.vendor == "postgresql":
                    cursor.execute(f"ANALYZE {table}")
        yield
    finally:
        if connection.vendor == "sqlite" or not connection.needs_rollback:
            _drop()


def _drop() -> None:
    with connection.cursor() as cursor:
        for table in sql.STEPS:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")


def _lowest_id(since: datetime | None) -> UUID | str:
    lowest = id_at(since) if since else UUID(int=0)
    return lowest.hex if connection.vendor == "sqlite" else lowest


def _outcomes(statement: str) -> dict[str, Outcomes]:
    """Read rows of (name, outcome, count, duplicated)."""
    counts: dict[str, dict[str, int]] = {}
    for name, outcome, count, duplicated in _rows(statement):
        mine = counts.setdefault(name, {field.name: 0 for field in fields(Outcomes)})
        mine[outcome] += count
        mine["expected"] += count
        mine["duplicated"] += int(duplicated)
    return {name: Outcomes(**counts[name]) for name in sorted(counts)}


def _flows(since: datetime | None) -> Iterator[FlowCount]:
    outcomes = _outcomes(sql.BY_FLOW)
    for root, flows, published in _rows(sql.FLOWS, {"since": _lowest_id(since)}):
        yield FlowCount(root=root, flows=flows, published=published, outcomes=outcomes.get(root, Outcomes()))


def _culprits(statement: str) -> tuple[Culprit, ...]:
    found = _rows(statement, {"limit": SHOWN})
    return tuple(Culprit(message_id=UUID(str(message_id)), consumer=consumer) for message_id, consumer in found)


def _rows(statement: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
