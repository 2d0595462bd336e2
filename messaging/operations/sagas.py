"""What operators do to sagas. Each is a message to the saga itself, so that its own worker does it, exactly once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from messaging import audit, signals
from messaging.actors import Actor
from messaging.context import use_correlation
from messaging.errors import OperationRefused
from messaging.failure import storable
from messaging.models import DeadLetter, SagaInstance, ScheduledMessage
from messaging.operations.dead_letters import replay_dead_letters
from messaging.operations.guard import carry_out, checked_reason
from messaging.operations.scheduling import hasten_messages
from messaging.publishing import publish_to
from messaging.sagas import find_saga
from messaging.sagas.messages import SagaInterventionRequested

Act = Callable[[SagaInstance, str], dict[str, Any]]


def compensate_saga(
    *, saga: str, correlation: str, actor: Actor, reason: str, to: str = "", request_id: str | None = None
) -> None:
    """Undo the completed steps of an unfinished saga; it ends ``to`` a final state, by default the declared one."""

    def act(row: SagaInstance, why: str) -> dict[str, Any]:
        if row.undoing_to:
            raise OperationRefused(f"{saga} {correlation} is compensating already.", code="conflict")
        return _intervene(row, "compensate", to or _definition(saga).default_undoing_to(), actor, why)

    _on_unfinished("saga.compensate", act, saga, correlation, actor, reason, request_id, question=to)


def complete_saga(
    *, saga: str, correlation: str, to: str, actor: Actor, reason: str, request_id: str | None = None
) -> None:
    """End an unfinished saga by hand in the final state ``to``; nothing is undone and nothing sent."""

    def act(row: SagaInstance, why: str) -> dict[str, Any]:
        return _intervene(row, "complete", to, actor, why)

    _on_unfinished("saga.complete", act, saga, correlation, actor, reason, request_id, question=to)


def fire_saga_timeout(
    *, saga: str, correlation: str, timeout: str, actor: Actor, reason: str, request_id: str | None = None
) -> None:
    """Let a pending timeout of a saga be due now."""

    def act(row: SagaInstance, why: str) -> dict[str, Any]:
        pending = row.timeouts.get(timeout)
        if pending is None or not ScheduledMessage.objects.filter(message_id=pending["message_id"]).exists():
            raise OperationRefused(f"No timeout {timeout!r} is pending.", code="conflict", field="timeout")
        hasten_messages(ids=[UUID(pending["message_id"])], actor=actor, reason=why)
        return {"timeout": timeout}

    _on_unfinished("saga.fire_timeout", act, saga, correlation, actor, reason, request_id, question=timeout)


def retry_saga(*, saga: str, correlation: str, actor: Actor, reason: str, request_id: str | None = None) -> None:
    """Replay what gave up in an unfinished saga's flow: its own messages, and those that it sent."""

    def act(row: SagaInstance, why: str) -> dict[str, Any]:
        ids = list(failed_of(row).values_list("id", flat=True)[:500])
        if not ids:
            raise OperationRefused("Nothing of it is dead-lettered.", code="conflict")
        done = replay_dead_letters(ids=ids, actor=actor, reason=why).done
        return {"replayed": len(done)}

    _on_unfinished("saga.retry", act, saga, correlation, actor, reason, request_id, question="")


def failed_of(row: SagaInstance) -> Any:
    """Return the open dead letters of an instance: those of its flow, and of what it told itself."""
    mine = Q(correlation_id=row.flow) | Q(consumer=row.saga, key=row.correlation)
    return DeadLetter.objects.filter(mine, state=DeadLetter.State.OPEN).order_by("id")


def _on_unfinished(
    action: str, act: Act, saga: str, correlation: str, actor: Actor, reason: str, request_id: str | None, *,
    question: str,
) -> None:  # fmt: skip
    target = f"saga:{saga}/{correlation}"

    def guarded() -> None:
        why = checked_reason(reason)
        row = SagaInstance.objects.filter(saga=storable(saga), correlation=storable(correlation)).first()
        if row is None:
            raise OperationRefused(f"There is no {saga} of {correlation}.", code="not_found", field="correlation")
        if row.ended_at is not None:
            raise OperationRefused(f"{saga} {correlation} has ended as {row.state}.", code="conflict")
        audit.record(actor, action, target, reason=why, request_id=request_id, **act(row, why))
        transaction.on_commit(_changed, robust=True)

    carry_out(
        guarded, actor=actor, action=action, target=target, question=(saga, correlation, question, reason),
        request_id=request_id,
    )  # fmt: skip


def _intervene(row: SagaInstance, action: Any, to: str, actor: Actor, why: str) -> dict[str, Any]:
    definition = _definition(row.saga)
    if not definition.is_final(to):
        finals = ", ".join(name for name, state in definition.states.items() if state.is_final)
        raise OperationRefused(f"{to!r} is no final state of {row.saga}; choose {finals}.", code="invalid", field="to")
    request = SagaInterventionRequested(
        correlation=row.correlation, action=action, to=to, actor=actor.name[:200], reason=why
    )
    with use_correlation(row.flow):
        publish_to(row.saga, request, key=row.correlation)
    return {"to": to}


def _definition(saga: str) -> Any:
    declared = find_saga(saga)
    if declared is None:
        raise OperationRefused(f"This release does not know the saga {saga!r}.", code="not_found", field="saga")
    return declared.definition


def _changed() -> None:
    signals.changed.send_robust(None, topics=frozenset({"sagas", "scheduled", "audit"}))
