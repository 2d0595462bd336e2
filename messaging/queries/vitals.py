"""The state of the bus in one statement: for the strip of every page, /stats, /readyz and /metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, starmap
from typing import Any, NamedTuple

from django.db.models import BigIntegerField, Count, DateTimeField, F, Min, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast

from messaging import clock
from messaging.models import (
    ConsumerState,
    DeadLetter,
    Delivery,
    Gate,
    OutboxEntry,
    QuarantinedMessage,
    Schedule,
    ScheduledMessage,
    Worker,
)
from messaging.queries.lanes import IS_UNRESOLVED
from messaging.queries.scheduling import OVERDUE
from messaging.queries.shared import once
from messaging.settings import options


@dataclass(frozen=True, kw_only=True)
class Pause:
    """A paused consumer, and how many deliveries wait for it."""

    name: str
    by: str
    reason: str
    since: datetime | None
    until: datetime | None
    backlog: int


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """What the status strip shows."""

    as_of: datetime
    outbox_rows: int
    outbox_lag_seconds: float
    """Age of the oldest row the relay has not fanned out, 0 when there is none."""
    relays_alive: int
    workers_alive: int
    workers_known: int
    processes: dict[str, int]
    """How many of each role have a heartbeat row, silent ones included."""
    processes_silent: int
    dead_letters: int
    """Unresolved."""
    backlog: int
    oldest_at: datetime | None
    pauses: tuple[Pause, ...]
    open_breakers: tuple[str, ...]
    """Consumers and dependencies whose breaker is open or half open."""
    behind: tuple[str, ...]
    """Consumers whose backlog passed its limit."""
    quarantined: int
    """Open in quarantine or parked."""
    scheduled: int
    """Messages that wait for their time."""
    scheduled_overdue: int
    """Of them: should have gone by now."""
    schedules_failing: int
    """Recurring schedules whose message cannot be made, or whose due time passed and nobody fired it."""

    @property
    def paused(self) -> tuple[str, ...]:
        return tuple(pause.name for pause in self.pauses)


@once
def vitals() -> Vitals:
    """Read the state of the bus in one statement."""
    now = clock.now()
    found = _state(now)
    one = {row.kind: row for row in found}
    many = groupby(sorted(found, key=lambda row: row.kind), key=lambda row: row.kind)
    rows = {kind: list(some) for kind, some in many}
    nothing = _StateRow("", 0, None, "", None, "", "")
    outbox, delivery = one.get("outbox", nothing), one.get("delivery", nothing)
    processes, alive = ({row.name: row.rows for row in rows.get(kind, ())} for kind in ("process", "alive"))
    backlogs = {row.name: row.rows for row in rows.get("backlog", ())}
    pauses = sorted(rows.get("paused", ()), key=lambda row: row.name)
    gates = sorted(rows.get("gate", ()), key=lambda row: (row.moment, row.name))
    return Vitals(
        as_of=now,
        outbox_rows=outbox.rows,
        outbox_lag_seconds=max(0.0, (now - outbox.moment).total_seconds()) if outbox.moment else 0.0,
        relays_alive=alive.get("relay", 0),
        workers_alive=alive.get("worker", 0),
        workers_known=processes.get("worker", 0),
        processes=processes,
        processes_silent=sum(processes.values()) - sum(alive.values()),
        dead_letters=one.get("dead_letter", nothing).rows,
        backlog=delivery.rows,
        oldest_at=delivery.moment,
        pauses=tuple(
            Pause(name=row.name, by=row.by, reason=row.reason, since=row.moment, until=row.until,
                  backlog=backlogs.get(row.name, 0))
            for row in pauses
        ),
        open_breakers=tuple(row.name for row in gates),
        behind=tuple(sorted(row.name for row in rows.get("behind", ()))),
        quarantined=one.get("quarantine", nothing).rows,
        scheduled=one.get("scheduled", nothing).rows,
        scheduled_overdue=one.get("overdue", nothing).rows,
        schedules_failing=one.get("schedule", nothing).rows,
    )  # fmt: skip


class _StateRow(NamedTuple):
    """A count with its oldest moment, or one thing with its name."""

    kind: str
    rows: int
    moment: datetime | None
    name: str
    until: datetime | None
    by: str
    reason: str


def _state(now: datetime) -> list[_StateRow]:
    """Count the hot tables with the oldest row of each, and name what is paused, open or behind: one statement."""
    consumers = ConsumerState.objects.filter(retired_at=None)
    paused = consumers.filter(paused_at__isnull=False).filter(Q(paused_until=None) | Q(paused_until__gt=now))
    alive = Worker.objects.filter(heartbeat_at__gte=stale_before(now))
    idle = Schedule.objects.filter(
        Q(failures__gt=0) | Q(next_at__lt=now - OVERDUE), paused_at=None, retired_at=None
    )  # fmt: skip
    parts = [
        _count(OutboxEntry.objects.all(), "outbox", "created_at"),
        _count(Delivery.objects.all(), "delivery", "created_at"),
        _count(DeadLetter.objects.filter(IS_UNRESOLVED), "dead_letter", "dead_at"),
        _count(QuarantinedMessage.objects.filter(state="open"), "quarantine", "received_at"),
        _count(ScheduledMessage.objects.all(), "scheduled", "due_at"),
        _count(ScheduledMessage.objects.filter(due_at__lt=now - OVERDUE), "overdue", "due_at"),
        _count(idle, "schedule", "next_at"),
        _count(Worker.objects.all(), "process", "started_at", by="role"),
        _count(alive, "alive", "started_at", by="role"),
        _count(Delivery.objects.filter(consumer__in=paused.values("name")), "backlog", "created_at", by="consumer"),
        _each(paused, "paused", moment="paused_at", until="paused_until", by="paused_by", reason="pause_reason"),
        _each(consumers.filter(behind_since__isnull=False), "behind", moment="behind_since"),
        _each(Gate.objects.filter(opened_at__isnull=False), "gate", moment="opened_at"),
    ]
    return list(starmap(_StateRow, parts[0].union(*parts[1:], all=True)))


def _count(rows: QuerySet[Any], kind: str, time: str, *, by: str = "") -> QuerySet[Any, Any]:
    kind_of, empty = Value(kind, TextField()), Value("", TextField())
    counted: QuerySet[Any, Any] = rows.order_by().values(table=kind_of, of=F(by) if by else empty)
    counted = counted.annotate(rows=Count("*"), oldest=Min(time), until=_never(), by=empty, why=empty)
    return counted.values_list("table", "rows", "oldest", "of", "until", "by", "why")


def _each(rows: QuerySet[Any], kind: str, **columns: str) -> QuerySet[Any, Any]:
    by, why = (F(columns[name]) if name in columns else Value("", TextField()) for name in ("by", "reason"))
    until = F(columns["until"]) if "until" in columns else _never()
    return rows.order_by().values_list(
        Value(kind, TextField()), Value(1, BigIntegerField()), F(columns["moment"]), F("name"), until, by, why
    )


def _never() -> Cast:
    """Return nothing, typed: PostgreSQL would take that of a union's first part for a text."""
    return Cast(Value(None), DateTimeField())


def stale_before(now: datetime) -> datetime:
    """Return the time before which the last heartbeat of a live process cannot lie."""
    return now - timedelta(seconds=options().stale_after_seconds)
