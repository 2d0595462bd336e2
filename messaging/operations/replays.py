"""Replay a range of history to one consumer, in shadow or for real; abort it, go on with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction

from messaging import audit, signals
from messaging.actors import Actor
from messaging.consumers import Consumer, find_consumer
from messaging.database import store
from messaging.errors import OperationRefused
from messaging.ids import id_at
from messaging.models import HistoryReplay, Message
from messaging.operations.guard import carry_out, checked_reason

FASTEST = 1_000.0
DEFAULT_RATE = 50.0
MODES = ("shadow", "real")
State = HistoryReplay.State


def replay_history(
    *,
    consumer: str,
    mode: str,
    since: datetime,
    until: datetime | None = None,
    types: Sequence[str] = (),
    rate: float = DEFAULT_RATE,
    only_missing: bool = False,
    actor: Actor,
    reason: str,
    request_id: str | None = None,
) -> UUID:
    """Begin to run stored messages again for one consumer, with a reason (required); return the replay's id.

    ``shadow`` rolls each run back and reports what it would have changed; ``real`` sends new runs through the outbox.
    The range ends at ``until``, now by default, and never takes in what comes later. ``types`` are those the consumer
    handles unless said otherwise. ``only_missing`` leaves out what the consumer has had: the backfill of a new one.
    ``rate`` is in messages per second.
    """

    def act() -> str:
        why, now = checked_reason(reason), store().now()
        declared = _checked_consumer(consumer, mode)
        chosen = _checked_types(declared, types)
        ends = min(until or now, now)
        _check_range(since, ends, rate)
        if only_missing and mode != "real":
            raise _invalid("only_missing", "only_missing is for mode real: a shadow run compares with what was had.")
        found = Message.objects.filter(type__in=chosen, id__gte=id_at(since), id__lt=id_at(ends))
        replay = HistoryReplay.objects.create(
            consumer=declared.name, mode=mode, types=chosen, from_at=since, to_at=ends, only_missing=only_missing,
            rate=rate, total=found.count(), next_at=now, started_at=now, started_by=actor.name, reason=why,
        )  # fmt: skip
        audit.record(
            actor, "history.replay", f"replay:{replay.id}", reason=why, request_id=request_id, consumer=declared.name,
            mode=mode, types=chosen, since=since.isoformat(), until=ends.isoformat(), messages=replay.total,
        )  # fmt: skip
        transaction.on_commit(_changed, robust=True)
        return str(replay.id)

    question = (consumer, mode, str(since), str(until), list(types), rate, only_missing, reason)
    return UUID(
        carry_out(
            act, actor=actor, action="history.replay", target=f"consumer:{consumer}", question=question,
            request_id=request_id,
        )
    )  # fmt: skip


def abort_replay(*, id: UUID, actor: Actor, reason: str, request_id: str | None = None) -> None:
    """Send nothing more of a replay, with a reason (required). What is on its way already goes on."""
    _move(id, "history.replay_abort", State.RUNNING, State.ABORTED, actor, reason, request_id)


def resume_replay(*, id: UUID, actor: Actor, reason: str, request_id: str | None = None) -> None:
    """Go on with an aborted replay after the last message that it looked at, with a reason (required)."""
    _move(id, "history.replay_resume", State.ABORTED, State.RUNNING, actor, reason, request_id)


def _move(
    id: UUID, action: str, before: State, after: State, actor: Actor, reason: str, request_id: str | None
) -> None:
    def act() -> None:
        why, now = checked_reason(reason), store().now()
        ended = (
            {"ended_at": now, "ended_by": actor.name} if after == State.ABORTED else {"ended_at": None, "ended_by": ""}
        )
        moved = HistoryReplay.objects.filter(id=id, state=before).update(
            state=after, token=None, leased_until=None, next_at=now, **ended
        )
        if not moved:
            row = HistoryReplay.objects.filter(id=id).first()
            if row is None:
                raise OperationRefused(f"There is no replay {id}.", code="not_found", field="id")
            raise OperationRefused(f"The replay is {row.state}.", code="conflict", field="id")
        audit.record(actor, action, f"replay:{id}", reason=why, request_id=request_id)
        transaction.on_commit(_changed, robust=True)

    carry_out(act, actor=actor, action=action, target=f"replay:{id}", question=(str(id), reason), request_id=request_id)


def _checked_consumer(name: str, mode: str) -> Consumer:
    if mode not in MODES:
        raise _invalid("mode", 'mode is "shadow" or "real".')
    declared = find_consumer(name)
    if declared is None:
        raise OperationRefused(f"There is no consumer {name!r} in this release.", code="not_found", field="consumer")
    if mode == "shadow" and declared.guarantee != "exactly_once":
        raise _invalid(
            "mode",
            f"{name} is {declared.guarantee}: its handler runs outside a transaction, so a shadow run could not be"
            " rolled back. Only exactly_once consumers run in shadow.",
        )
    return declared


def _checked_types(declared: Consumer, types: Sequence[str]) -> list[str]:
    unknown = sorted(set(types) - declared.accepts.keys())
    if unknown:
        raise _invalid("types", f"{declared.name} does not handle {', '.join(unknown)}.")
    return sorted(set(types) or declared.accepts)


def _check_range(since: datetime, until: datetime, rate: float) -> None:
    for name, moment in (("since", since), ("until", until)):
        if moment.tzinfo is None:
            raise _invalid(name, f"{name} must name its time zone, like 2026-11-24T08:00:00Z.")
    if since >= until:
        raise _invalid("since", f"since must lie before until, {until.isoformat()}.")
    if not 0 < rate <= FASTEST:
        raise _invalid("rate", f"rate must be above 0 and at most {FASTEST:g} messages per second.")


def _invalid(field: str, why: str) -> OperationRefused:
    return OperationRefused(why, code="invalid", field=field)


def _changed() -> None:
    signals.changed.send_robust(None, topics=frozenset({"operations", "audit"}))
