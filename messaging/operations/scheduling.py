"""Cancel and hasten scheduled messages; pause, resume and fire schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from messaging import audit, signals
from messaging.actors import Actor
from messaging.database import store
from messaging.errors import MessagingError, OperationRefused
from messaging.failure import storable
from messaging.models import CancelledMessage, Message, Schedule, ScheduledMessage
from messaging.operations.bulk import BulkResult, Refusal, checked_ids, label
from messaging.operations.guard import carry_out, checked_reason, record_refusal
from messaging.scheduling.due import take_back
from messaging.scheduling.firing import publish_by_hand
from messaging.scheduling.recurring import find_schedule
from messaging.scheduling.synchronising import rule_of


def cancel_messages(*, ids: Sequence[UUID], actor: Actor, reason: str, request_id: str | None = None) -> BulkResult:
    """Take scheduled messages back before their time, with a reason (required). They are never delivered."""
    return _each(_cancel, "message.cancel", ids, actor, reason, request_id, needs_reason=True)


def hasten_messages(
    *, ids: Sequence[UUID], actor: Actor, reason: str = "", request_id: str | None = None
) -> BulkResult:
    """Make scheduled messages due now."""
    return _each(_hasten, "message.hasten", ids, actor, reason, request_id, needs_reason=False)


def pause_schedule(*, name: str, actor: Actor, reason: str, request_id: str | None = None) -> None:
    """Fire a schedule no more, with a reason (required). Due times that pass meanwhile are not made up for."""

    def act(row: Schedule, why: str) -> None:
        held = Schedule.objects.filter(name=row.name, paused_at=None, retired_at=None)
        if not held.update(paused_at=store().now(), paused_by=actor.name, pause_reason=why):
            raise _conflict(row, f"already paused by {row.paused_by}" if row.paused_at else "retired")

    _change(act, "schedule.pause", name, actor, reason, request_id, needs_reason=True)


def resume_schedule(*, name: str, actor: Actor, reason: str = "", request_id: str | None = None) -> None:
    """Fire a paused schedule again, from its next due time on."""

    def act(row: Schedule, _: str) -> None:
        next_at = rule_of(row).next_after(store().now())
        held = Schedule.objects.filter(name=row.name, paused_at__isnull=False, retired_at=None)
        if not held.update(
            paused_at=None, paused_by="", pause_reason="", next_at=next_at, retry_at=None, failures=0, last_error=""
        ):
            raise _conflict(row, "retired" if row.retired_at else "not paused")

    _change(act, "schedule.resume", name, actor, reason, request_id, needs_reason=False)


def fire_schedule(*, name: str, actor: Actor, reason: str, request_id: str | None = None) -> UUID:
    """Publish a schedule's message now, beside its due times, with a reason (required); return the message's id."""

    def act(row: Schedule, _: str) -> dict[str, str]:
        declared = find_schedule(row.name)
        if row.retired_at or declared is None:
            raise _conflict(row, "retired" if row.retired_at else f"declared by {row.source}, which must fire it")
        try:
            return {"message_id": str(publish_by_hand(declared, by=actor.name))}
        except OperationRefused:
            raise
        except MessagingError as error:
            raise OperationRefused(f"{name} could not make its message: {error}", code="conflict") from error

    answer = _change(act, "schedule.fire", name, actor, reason, request_id, needs_reason=True)
    return UUID(answer["message_id"])


def _conflict(row: Schedule, why: str) -> OperationRefused:
    return OperationRefused(f"{row.name} is {why}.", code="conflict", field="name")


def _change(
    change: Callable[[Schedule, str], Any], action: str, name: str, actor: Actor, reason: str, request_id: str | None,
    *, needs_reason: bool,
) -> Any:  # fmt: skip
    def act() -> Any:
        why = checked_reason(reason, is_required=needs_reason)
        row = Schedule.objects.select_for_update().filter(name=storable(name)).first()
        if row is None:
            raise OperationRefused(f"There is no schedule {name!r}.", code="not_found", field="name")
        answer = change(row, why)
        audit.record(actor, action, f"schedule:{row.name}", reason=why, request_id=request_id, **(answer or {}))
        transaction.on_commit(_changed, robust=True)
        return answer

    return carry_out(
        act, actor=actor, action=action, target=f"schedule:{name}", question=(name, reason), request_id=request_id
    )


def _each(
    one: Callable[[UUID, Actor, str], str | None], action: str, ids: Sequence[UUID], actor: Actor, reason: str,
    request_id: str | None, *, needs_reason: bool,
) -> BulkResult:  # fmt: skip
    def act() -> dict[str, object]:
        wanted, why = checked_ids(ids), checked_reason(reason, is_required=needs_reason)
        done, refused = [], []
        for id in sorted(wanted):  # in one order, so that two operators wait for each other instead of deadlocking
            refusal = one(id, actor, why)
            if refusal:
                refused.append(Refusal(id=id, why=refusal))
                record_refusal(actor, action, f"message:{id}", refusal, reason=why, request_id=request_id)
            else:
                done.append(id)
                audit.record(actor, action, f"message:{id}", reason=why, request_id=request_id)
        transaction.on_commit(_changed, robust=True)
        return BulkResult(done=tuple(done), refused=tuple(refused)).as_json()

    answer = carry_out(
        act, actor=actor, action=action, target=label(ids, "message"), question=(list(ids), reason),
        request_id=request_id,
    )  # fmt: skip
    return BulkResult.from_json(answer)


def _changed() -> None:
    signals.changed.send_robust(None, topics=frozenset({"scheduled", "messages", "audit"}))


def _cancel(id: UUID, actor: Actor, why: str) -> str | None:
    return None if take_back(id, by=actor.name, reason=why) else _why_not(id)


def _hasten(id: UUID, _: Actor, __: str) -> str | None:
    now = store().now()
    return None if ScheduledMessage.objects.filter(message_id=id).update(due_at=now) else _why_not(id)


def _why_not(id: UUID) -> str:
    cancelled = CancelledMessage.objects.filter(message_id=id).values_list("cancelled_by", flat=True).first()
    if cancelled is not None:
        return f"already cancelled by {cancelled}"
    return "has fired already" if Message.objects.filter(id=id).exists() else "does not exist"
