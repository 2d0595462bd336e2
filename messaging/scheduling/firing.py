"""Fire schedules whose time has come: each due time once, however many relays look.

The compare-and-set on ``next_at`` lets one of them through; the unique row of (schedule, due time) stands behind it,
for a rule that was set back by a deploy. Both are in the transaction that publishes the message.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F, Q
from django.db.utils import DatabaseError, InterfaceError

from messaging import failpoints, signals, tracing
from messaging.contracts.model import MessageModel
from messaging.database import put, store
from messaging.envelope import Envelope
from messaging.errors import ContractError
from messaging.failure import storable
from messaging.models import Message, Schedule
from messaging.publishing import wrap
from messaging.scheduling.recurring import Recurrence, find_schedule
from messaging.scheduling.rules import Plan, plan
from messaging.scheduling.synchronising import rule_of

log = logging.getLogger("messaging.scheduling")
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=5)
SCHEDULE_HEADER, DUE_HEADER = "schedule", "schedule-due"


def fire_due() -> int:
    """Fire every schedule of this process that is due; return how many messages were published."""
    due = Schedule.objects.filter(_is_due(store().now())).order_by("next_at").values_list("name", flat=True)
    total = 0
    for name in list(due):
        declared = find_schedule(name)
        if declared is not None:  # else another service's, or of a release that is not here yet
            total += _fire_guarded(declared)
    if total:
        signals.changed.send_robust(None, topics=frozenset({"messages", "scheduled"}))
    return total


def _is_due(now: datetime) -> Q:
    return Q(next_at__lte=now, paused_at=None, retired_at=None) & (Q(retry_at=None) | Q(retry_at__lte=now))


def _fire_guarded(declared: Recurrence) -> int:
    try:
        return fire(declared)
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001  a factory is the user's code: its failure must not stop the relay
        log.warning("Schedule %s could not make its message: %r", declared.name, error)
        _note_failure(declared.name, error)
        return 0


def fire(declared: Recurrence) -> int:
    """Fire one schedule if it is due; return how many messages were published."""
    with failpoints.atomic("fire"):
        now = store().now()
        row = Schedule.objects.filter(_is_due(now), name=declared.name).first()
        if row is None or row.next_at is None:
            return 0
        planned = plan(rule_of(row), due=row.next_at, now=now, missed=row.missed, limit=row.missed_limit)
        # Nothing moved: another relay got there first, or an operator paused it meanwhile.
        if not _move_on(row, planned, now):
            return 0
        failpoints.reach("fire.moved")
        published: list[UUID] = []
        for due in planned.fire:
            if id := _publish_once(declared, due, after=published[-1] if published else row.last_message_id):
                published.append(id)
        if published:
            Schedule.objects.filter(name=row.name).update(
                fired=F("fired") + len(published), last_message_id=published[-1],
                last_due_at=planned.fire[-1], last_fired_at=now,
            )  # fmt: skip
        return len(published)


def _move_on(row: Schedule, planned: Plan, now: datetime) -> bool:
    as_read = Schedule.objects.filter(_is_due(now), name=row.name, next_at=row.next_at)
    moved = as_read.update(
        next_at=planned.next_at, skipped=F("skipped") + planned.skipped, failures=0, retry_at=None, last_error=""
    )
    return bool(moved)


def _publish_once(declared: Recurrence, due: datetime, *, after: UUID | None) -> UUID | None:
    envelope = envelope_for(declared, due, after=after)
    if not store().note_firing(schedule=declared.name, due_at=due, message_id=envelope.id):
        return None
    put([envelope])
    return envelope.id


def publish_by_hand(declared: Recurrence, *, by: str) -> UUID:
    """Publish a schedule's message now, beside its due times. Needs a transaction."""
    now = store().now()
    last = Schedule.objects.filter(name=declared.name).values_list("last_message_id", flat=True).first()
    envelope = envelope_for(declared, now, after=last)
    store().note_firing(schedule=declared.name, due_at=now, message_id=envelope.id, by=by)
    put([envelope])
    Schedule.objects.filter(name=declared.name).update(
        fired=F("fired") + 1, last_message_id=envelope.id, last_fired_at=now
    )
    return envelope.id


def envelope_for(declared: Recurrence, due: datetime, *, after: UUID | None) -> Envelope:
    """Make the message of a due time: the beginning of a flow and of a trace of its own.

    ``after`` is the message fired before it: the trace is linked to that one's.
    """
    message = declared.make(due)
    if not isinstance(message, MessageModel):
        raise ContractError(f"The function of schedule {declared.name!r} returned no message but {message!r:.100}.")
    with tracing.producing("publish", is_root=True, links=_traces_of(after)) as made:
        envelope = wrap(
            message, key=declared.key, tenant=declared.tenant, occurred_at=due,
            headers={SCHEDULE_HEADER: declared.name, DUE_HEADER: due.isoformat()},
        )  # fmt: skip
        envelope = replace(
            envelope, correlation_id=str(envelope.id), causation_id=None, traceparent=tracing.root_traceparent()
        )  # fmt: skip
        made.append(envelope)
    return envelope


def _traces_of(message_id: UUID | None) -> list[str]:
    if message_id is None or not tracing.is_on():
        return []
    return list(Message.objects.filter(id=message_id).values_list("traceparent", flat=True))


def _note_failure(name: str, error: Exception) -> None:
    row = Schedule.objects.filter(name=name).first()
    if row is None:
        return
    wait = min(FIRST_WAIT * 2 ** min(row.failures, 10), LONGEST_WAIT)
    Schedule.objects.filter(name=name, next_at=row.next_at).update(
        failures=F("failures") + 1, retry_at=store().now() + wait,
        last_error=storable(f"{type(error).__name__}: {error}")[:2000],
    )  # fmt: skip
