"""Replay and discard dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from messaging import audit, signals
from messaging.actors import Actor
from messaging.consumers import find_consumer
from messaging.database import store
from messaging.envelope import Envelope
from messaging.models import ConsumerState, DeadLetter, Message
from messaging.operations.bulk import BulkResult, Refusal, checked_ids, label
from messaging.operations.guard import carry_out, checked_reason, record_refusal

__all__ = ["BulkResult", "Refusal", "discard_dead_letters", "replay_dead_letters", "why_not_open"]

State = DeadLetter.State
ReasonNot = str | None


def replay_dead_letters(*, ids: Sequence[UUID], actor: Actor, reason: str, request_id: str | None = None) -> BulkResult:
    """Run each dead letter's message again, unchanged, for the consumer that failed, as a new run."""
    return _each(_replay, "dead_letter.replay", ids=ids, actor=actor, reason=reason, request_id=request_id)


def discard_dead_letters(
    *, ids: Sequence[UUID], actor: Actor, reason: str, request_id: str | None = None
) -> BulkResult:
    """Give dead letters up on purpose, with a reason (required)."""
    return _each(_discard, "dead_letter.discard", ids=ids, actor=actor, reason=reason, request_id=request_id)


def _each(
    one: Callable[[DeadLetter, Actor], ReasonNot], action: str, *, ids: Sequence[UUID], actor: Actor, reason: str,
    request_id: str | None,
) -> BulkResult:  # fmt: skip
    def act() -> dict[str, object]:
        wanted, why = checked_ids(ids), checked_reason(reason)
        # Locked in id order, so that two operators with overlapping selections wait instead of deadlocking.
        rows = {row.id: row for row in DeadLetter.objects.select_for_update().filter(id__in=wanted).order_by("id")}
        done, refused = [], []
        for id in wanted:
            row = rows.get(id)
            refusal = "does not exist" if row is None else one(row, actor)
            if refusal:
                refused.append(Refusal(id=id, why=refusal))
                record_refusal(actor, action, f"dead_letter:{id}", refusal, reason=why, request_id=request_id)
                continue
            assert row is not None
            done.append(id)
            audit.record(
                actor, action, f"dead_letter:{id}", reason=why, request_id=request_id,
                message_id=str(row.message_id), consumer=row.consumer, run=row.run,
            )  # fmt: skip
        transaction.on_commit(partial(_changed), robust=True)
        return BulkResult(done=tuple(done), refused=tuple(refused)).as_json()

    answer = carry_out(
        act, actor=actor, action=action, target=label(ids, "dead_letter"), question=(list(ids), reason),
        request_id=request_id,
    )  # fmt: skip
    return BulkResult.from_json(answer)


def _changed() -> None:
    signals.changed.send_robust(None, topics=frozenset({"dead_letters", "messages", "audit"}))


def why_not_open(row: DeadLetter) -> ReasonNot:
    """Say why a dead letter cannot be acted on, in words for an operator; None when it can."""
    by = f" by {row.resolved_by}" if row.resolved_by else ""
    at = f" at {row.resolved_at:%H:%M:%S} UTC" if row.resolved_at else ""
    return {
        State.OPEN: None,
        State.REPLAYING: f"a replay is already on its way, started{by}",
        State.RESUBMITTING: f"an edited copy is already on its way, resubmitted{by}",
        State.RESOLVED: f"already resolved ({row.resolution}){by}{at}",
        State.DISCARDED: f"already discarded{by}{at}",
    }[State(row.state)]


def _replay(row: DeadLetter, actor: Actor) -> ReasonNot:
    refusal = why_not_open(row)
    if refusal:
        return refusal
    if find_consumer(row.consumer) is None and not ConsumerState.objects.filter(name=row.consumer).exists():
        return f"the consumer {row.consumer} does not exist any more"
    message = Message.objects.filter(id=row.message_id).first()
    if message is None:
        return "its message was removed by retention"
    moved = DeadLetter.objects.filter(id=row.id, state=State.OPEN).update(state=State.REPLAYING, resolved_by=actor.name)
    if not moved:
        return "another process got there first"
    runs = DeadLetter.objects.filter(message_id=row.message_id, consumer=row.consumer).aggregate(last=Max("run"))
    store().direct(_new_run(message, row, run=runs["last"] + 1))
    return None


def _new_run(message: Message, row: DeadLetter, *, run: int) -> Envelope:
    return Envelope(
        id=message.id, type=message.type, version=message.version, kind=message.kind, source=message.source,
        tenant=message.tenant, body=b"", correlation_id=message.correlation_id, causation_id=message.causation_id,
        traceparent=message.traceparent, occurred_at=message.occurred_at, key=message.key,
        position=row.position if row.position is not None else message.position,
        consumer=row.consumer, run=run, resolves=row.id,
    )  # fmt: skip


def _discard(row: DeadLetter, actor: Actor) -> ReasonNot:
    refusal = why_not_open(row)
    if refusal:
        return refusal
    moved = DeadLetter.objects.filter(id=row.id, state=State.OPEN).update(
        state=State.DISCARDED, resolution="discarded", resolved_by=actor.name, resolved_at=store().now()
    )
    return None if moved else "another process got there first"
