"""Write what came of executions: the outcome, its history and its follow-ups share the handlers' transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from messaging import failpoints, logs, policy
from messaging.consumers import Consumer
from messaging.database import put, store
from messaging.database.statements import AttemptRow, Claimed, Delta
from messaging.delivery import spans
from messaging.delivery.execution import Execution
from messaging.delivery.presence import presence
from messaging.errors import StaleClaim
from messaging.failure import Failure, describe
from messaging.ids import new_id
from messaging.models import Attempt, ConsumerState, DeadLetter, Delivery, RollupDelta, UnsealedRecords
from messaging.rollups import BATCHES, deltas_of
from messaging.rollups import Outcome as Counted

Outcome = Attempt.Outcome


def settle_done(
    token: UUID, executions: Sequence[Execution], *, outcome: str = Outcome.HANDLED, is_batch: bool = False
) -> None:
    """Settle deliveries as done. Needs the transaction in which their rows were locked.

    ``is_batch``: one call of the handler did them all, and is counted: deliveries over calls is the size in use.

    Raises:
        StaleClaim: a row left while it was held; the caller's transaction must roll back.
    """
    follow_ups = [envelope for execution in executions for envelope in execution.published or ()]
    if follow_ups and outcome == Outcome.HANDLED:
        put(follow_ups)
    rows = [_attempt(execution, outcome) for execution in executions]
    deltas = deltas_of(_counted(execution, outcome) for execution in executions)
    if is_batch:
        deltas.append(Delta(executions[0].row.consumer, "", BATCHES, count=1))
    if store().settle(token=token, rows=rows, deltas=deltas) != len(rows):
        raise StaleClaim
    logs.after_commit(executions, outcome)
    spans.after_commit(executions, outcome)
    for execution in executions:
        if execution.row.resolves:
            resolve(execution.row.resolves)


def resolve(dead_letter: UUID) -> None:
    """Resolve the dead letter whose replay or edited copy was handled."""
    failpoints.reach("resolve.before")
    now = store().now()
    for state, resolution in (("replaying", "replayed"), ("resubmitting", "resubmitted")):
        DeadLetter.objects.filter(id=dead_letter, state=state).update(
            state=DeadLetter.State.RESOLVED, resolution=resolution, resolved_at=now
        )
    _resolve_originals(dead_letter, now)


def _resolve_originals(dead_letter: UUID, now: datetime) -> None:
    """Resolve with a copy's dead letter its original, which was opened again when the copy first failed."""
    link = DeadLetter.objects.filter(id=dead_letter).values("resolves", "message_id").first()
    while link and link["resolves"]:
        DeadLetter.objects.filter(id=link["resolves"], state=DeadLetter.State.OPEN, copy_id=link["message_id"]).update(
            state=DeadLetter.State.RESOLVED, resolution="resubmitted", resolved_at=now
        )
        link = DeadLetter.objects.filter(id=link["resolves"]).values("resolves", "message_id").first()


def settle_failed(consumer: Consumer, token: UUID, execution: Execution) -> None:
    """Decide what follows a failed execution and write it, in a transaction of its own.

    Writes nothing when the delivery was taken over meanwhile.
    """
    assert execution.error is not None
    with failpoints.atomic("failure"):
        held = store().lock(token=token, only=execution.row.message_id, is_patient=True)
        if not held:
            raise StaleClaim
        row = execution.row
        luck = policy.luck_of(row.message_id, row.failures)
        decision = policy.decide(execution.error, failures=row.failures, retry=consumer.retry, luck=luck)
        failure = describe(execution.error, consumer=consumer.name)
        match decision:
            case policy.TryAgain():
                _try_again(token, execution, failure, decision)
            case policy.Ignore():
                settle_done(token, [execution], outcome=Outcome.IGNORED)
            case policy.GiveUp(reason=reason):
                give_up(row, failure, reason)
                record(execution, failure, Outcome.DEAD_LETTERED)
            case _:
                assert_never(decision)


def _try_again(token: UUID, execution: Execution, failure: Failure, decision: policy.TryAgain) -> None:
    row = execution.row
    next_at = store().now() + timedelta(seconds=decision.after)
    Delivery.objects.filter(
        message_id=row.message_id, consumer=row.consumer, run=row.run, claim_token=token
    ).update(
        failures=row.failures + (1 if decision.is_failure else 0),
        available_at=next_at, claim_token=None, worker=None, claimed_at=None,
        failed_at=next_at - timedelta(seconds=decision.after) if decision.is_failure else None,
        error_type=failure.path,
    )  # fmt: skip
    outcome = Outcome.RETRIED if decision.is_failure else Outcome.POSTPONED
    record(execution, failure, outcome, after=next_at)


def give_up(row: Claimed, failure: Failure, reason: str, *, attempts: int | None = None) -> None:
    """Move a delivery to the dead letters. Needs the transaction in which its row was locked."""
    now = store().now()
    Delivery.objects.filter(message_id=row.message_id, consumer=row.consumer, run=row.run).delete()
    failpoints.reach("dead_letter.before")
    DeadLetter.objects.create(
        message_id=row.message_id, consumer=row.consumer, run=row.run, type=row.type, version=row.version, key=row.key,
        correlation_id=row.correlation_id, reason=reason, attempts=attempts or row.failures + row.crashes + 1,
        fingerprint=failure.fingerprint, error_type=failure.type, error_message=failure.message,
        location=failure.location, traceback=failure.traceback, dead_at=now, resolves=row.resolves,
        position=row.position, blocks=reason != DeadLetter.Reason.EXPIRED and _blocks(row),
    )  # fmt: skip
    if row.resolves:
        # The replayed run's place is taken by this one; an original whose copy failed is open again.
        DeadLetter.objects.filter(id=row.resolves, state=DeadLetter.State.REPLAYING).update(
            state=DeadLetter.State.RESOLVED, resolution="failed_again", resolved_at=now
        )
        DeadLetter.objects.filter(id=row.resolves, state=DeadLetter.State.RESUBMITTING).update(
            state=DeadLetter.State.OPEN
        )


def _blocks(row: Claimed) -> bool:
    """Say whether what follows with the same key has to wait for the repair. The deployed policy decides."""
    return row.position is not None and ConsumerState.objects.filter(name=row.consumer, on_failure="block").exists()


def record(execution: Execution, failure: Failure, outcome: str, *, after: datetime | None = None) -> None:
    """Append the attempt of a failed execution and count it. Needs a transaction."""
    failpoints.reach("failure.record")
    base = _attempt(execution, outcome)
    Attempt.objects.create(
        id=base.id, message_id=base.message_id, consumer=base.consumer, run=base.run, number=base.number,
        outcome=outcome, started_at=base.started_at, duration_us=base.duration_us, worker=base.worker, next_at=after,
        error_type=failure.type, error_message=failure.message, location=failure.location,
        traceback=failure.traceback, fingerprint=failure.fingerprint,
    )  # fmt: skip
    logs.after_commit([execution], outcome)
    spans.after_commit([execution], outcome, next_at=after)
    UnsealedRecords.objects.create(kind="attempt", ids=base.id.bytes)
    _count(_counted(execution, outcome))


def _counted(execution: Execution, outcome: str) -> Counted:
    row = execution.row
    return Counted(row.consumer, row.type, outcome, execution.duration_us, execution.critical_us, row.waited_us)


def _count(counted: Counted) -> None:
    """Add one outcome to its minute. Needs a transaction."""
    minute = store().now().replace(second=0, microsecond=0)
    for delta in deltas_of([counted]):
        RollupDelta.objects.create(
            minute=minute, consumer=delta.consumer, type=delta.type, outcome=delta.outcome, count=delta.count,
            duration_us=delta.duration_us, critical_us=delta.critical_us, buckets=delta.buckets,
        )  # fmt: skip


def _attempt(execution: Execution, outcome: str) -> AttemptRow:
    row = execution.row
    return AttemptRow(
        id=new_id(), message_id=row.message_id, consumer=row.consumer, run=row.run,
        number=row.failures + row.crashes + 1, outcome=outcome, started_at=execution.started_at,
        duration_us=execution.duration_us, worker=presence().name, critical_us=execution.critical_us,
        error=describe(execution.error, consumer=row.consumer) if execution.error else None,
    )  # fmt: skip


def record_dropped(execution: Execution) -> None:
    """Record that an at-most-once handler failed after its delivery was settled."""
    assert execution.error is not None
    record(execution, describe(execution.error, consumer=execution.row.consumer), Outcome.DROPPED)
