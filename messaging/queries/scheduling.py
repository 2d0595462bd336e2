"""What waits for its time: scheduled messages, recurring schedules, the bus's own housekeeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID
from zoneinfo import ZoneInfo

from messaging import clock
from messaging.models import CancelledMessage, Housekeeping, Message, Schedule, ScheduledMessage, ScheduleFiring
from messaging.queries.due_pages import DuePage, after_cursor, cursor_of, split
from messaging.queries.pages import CappedCount, capped_count, is_storable
from messaging.scheduling.synchronising import rule_of

OVERDUE = timedelta(seconds=5)
"""A scheduled message that is due for longer than this should have gone: no relay looks, or it is far behind."""
NEXT_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ScheduledRow:
    """A message that waits for its time, or was taken back before it."""

    message_id: UUID
    type: str
    key: str | None
    due_at: datetime
    created_at: datetime
    consumer: str | None
    """The only one it goes to; null: all subscribers."""
    correlation_id: str
    is_overdue: bool
    cancelled_at: datetime | None = None
    cancelled_by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class NextDue:
    at: datetime
    local: datetime
    """The same moment in the schedule's zone."""


@dataclass(frozen=True, kw_only=True)
class ScheduleRow:
    """A recurring message as deployed."""

    name: str
    status: str
    """active, failing (its message cannot be made), paused, retired."""
    type: str
    description: str
    rule: str
    """As declared: "0 3 * * *", or "every 15 min"."""
    words: str
    zone: str
    missed: str
    source: str
    declared_in: str
    next: tuple[NextDue, ...]
    last_due_at: datetime | None
    last_fired_at: datetime | None
    last_message_id: UUID | None
    fired: int
    skipped: int
    is_overdue: bool
    last_error: str
    retry_at: datetime | None
    paused_at: datetime | None
    paused_by: str
    pause_reason: str
    retired_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class FiringRow:
    """One due time that was fired; ``fired_by`` is the operator who did it by hand."""

    due_at: datetime
    fired_at: datetime
    message_id: UUID
    fired_by: str


@dataclass(frozen=True, kw_only=True)
class HousekeepingRow:
    """One of the scheduler's own tasks."""

    name: str
    owner: str
    """The app that it belongs to."""
    every_seconds: float
    last_at: datetime | None
    next_at: datetime | None
    duration_us: int
    outcome: str
    """done, failed; empty before its first run."""
    result: str
    process: str
    runs: int
    is_late: bool


def list_scheduled(*, type: str = "", limit: int = 50, after: str = "") -> DuePage[ScheduledRow]:
    """Return waiting messages, the next due first; overdue ones stand at the top."""
    if not is_storable(type):
        return DuePage(rows=(), next=None)
    rows = ScheduledMessage.objects.filter(**({"type": type} if type else {}))
    rows = after_cursor(rows, "due_at", after).order_by("due_at", "message_id")
    found, more = split(rows, limit)
    flows = _correlations([row.message_id for row in found])
    late_before = clock.now() - OVERDUE
    return DuePage(
        rows=tuple(
            ScheduledRow(
                message_id=row.message_id, type=row.type, key=row.key, due_at=row.due_at, created_at=row.created_at,
                consumer=row.consumer, correlation_id=flows.get(row.message_id, ""),
                is_overdue=row.due_at < late_before,
            )
            for row in found
        ),
        next=cursor_of(found[-1].due_at, found[-1].message_id) if more else None,
    )  # fmt: skip


def list_cancelled(*, limit: int = 50) -> tuple[ScheduledRow, ...]:
    """Return what was cancelled last, newest first."""
    found = list(CancelledMessage.objects.order_by("-cancelled_at")[: max(1, min(limit, 500))])
    messages = {m.id: m for m in Message.objects.filter(id__in=[row.message_id for row in found]).defer("body")}
    return tuple(
        ScheduledRow(
            message_id=row.message_id, type=message.type, key=message.key, due_at=row.due_at,
            created_at=message.published_at, consumer=message.consumer, correlation_id=message.correlation_id,
            is_overdue=False, cancelled_at=row.cancelled_at, cancelled_by=row.cancelled_by, reason=row.reason,
        )
        for row in found
        if (message := messages.get(row.message_id))
    )  # fmt: skip


def count_scheduled() -> CappedCount:
    return capped_count(ScheduledMessage.objects.all())


def scheduled_ids(ids: list[UUID]) -> list[UUID]:
    """Return those of ``ids`` that still wait, so that a confirmation names what it can change."""
    waiting = ScheduledMessage.objects.filter(message_id__in=ids).order_by("due_at", "message_id")
    return list(waiting.values_list("message_id", flat=True))


def _correlations(ids: list[UUID]) -> dict[UUID, str]:
    return dict(Message.objects.filter(id__in=ids).values_list("id", "correlation_id"))


def list_schedules() -> list[ScheduleRow]:
    """Return every schedule: those that need a person first, then by what is due next; retired ones last."""
    now = clock.now()
    rows = [_schedule(row, now) for row in Schedule.objects.all()]
    order = ("failing", "active", "paused", "retired")
    far = now + timedelta(days=36_500)
    return sorted(rows, key=lambda row: (order.index(row.status), row.next[0].at if row.next else far, row.name))


def get_schedule(name: str) -> ScheduleRow | None:
    found = Schedule.objects.filter(name=name).first() if is_storable(name) else None
    return _schedule(found, clock.now()) if found else None


def last_firings(name: str, *, limit: int = 20) -> tuple[FiringRow, ...]:
    """Return the last due times that were fired, newest first."""
    found = ScheduleFiring.objects.filter(schedule=name).order_by("-due_at")[:limit] if is_storable(name) else ()
    return tuple(
        FiringRow(due_at=row.due_at, fired_at=row.fired_at, message_id=row.message_id, fired_by=row.fired_by)
        for row in found
    )


def _schedule(row: Schedule, now: datetime) -> ScheduleRow:
    rule = rule_of(row)
    return ScheduleRow(
        name=row.name, status=_status(row), type=row.type, description=row.description,
        rule=row.cron or rule.words().lower(), words=rule.words(), zone=row.zone,
        missed=row.missed, source=row.source, declared_in=row.declared_in, next=_next(row),
        last_due_at=row.last_due_at, last_fired_at=row.last_fired_at, last_message_id=row.last_message_id,
        fired=row.fired, skipped=row.skipped,
        is_overdue=_status(row) in ("active", "failing") and row.next_at is not None and row.next_at < now - OVERDUE,
        last_error=row.last_error, retry_at=row.retry_at, paused_at=row.paused_at, paused_by=row.paused_by,
        pause_reason=row.pause_reason, retired_at=row.retired_at,
    )  # fmt: skip


def _status(row: Schedule) -> str:
    if row.retired_at:
        return "retired"
    if row.paused_at:
        return "paused"
    return "failing" if row.failures else "active"


def _next(row: Schedule) -> tuple[NextDue, ...]:
    """Return the next due times; of a paused schedule those it would have."""
    if row.next_at is None or row.retired_at:
        return ()
    zone = ZoneInfo(row.zone)
    times = [row.next_at, *islice(rule_of(row).after(row.next_at), NEXT_SHOWN - 1)]
    return tuple(NextDue(at=moment, local=moment.astimezone(zone)) for moment in times)


def housekeeping(intervals: Mapping[str, float]) -> list[HousekeepingRow]:
    """Return the tasks of ``intervals`` (name to seconds) with their last runs; the ones in trouble first."""
    now = clock.now()
    last = {row.name: row for row in Housekeeping.objects.all()}
    rows = [_task(name, every, last.get(name), now) for name, every in intervals.items()]
    return sorted(rows, key=lambda row: (row.outcome != "failed", not row.is_late, row.name))


def _task(name: str, every: float, last: Housekeeping | None, now: datetime) -> HousekeepingRow:
    next_at = last.started_at + timedelta(seconds=every) if last else None
    return HousekeepingRow(
        name=name, owner=name.partition(".")[0], every_seconds=every, last_at=last.started_at if last else None,
        next_at=next_at, duration_us=last.duration_us if last else 0, outcome=last.outcome if last else "",
        result=last.result if last else "", process=last.process if last else "", runs=last.runs if last else 0,
        is_late=next_at is not None and now > next_at + timedelta(seconds=max(every, 30)),
    )  # fmt: skip
