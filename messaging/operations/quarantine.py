"""Retry or discard what an ingress set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from django.db import transaction

from messaging import audit, failpoints, ingest, signals
from messaging.actors import Actor
from messaging.database import store
from messaging.errors import Backlogged, ContractError
from messaging.models import QuarantinedMessage
from messaging.operations.bulk import BulkResult, Refusal, checked_ids, label
from messaging.operations.guard import carry_out, checked_reason, record_refusal

State = QuarantinedMessage.State


def retry_quarantined(
    *, ids: Sequence[UUID], actor: Actor, reason: str = "", request_id: str | None = None
) -> BulkResult:
    """Send quarantined or parked messages through the ingress again; those accepted are published."""
    return _each(_retry, "quarantine.retry", ids, actor, reason, request_id, needs_reason=False)


def discard_quarantined(*, ids: Sequence[UUID], actor: Actor, reason: str, request_id: str | None = None) -> BulkResult:
    """Give quarantined messages up on purpose, with a reason (required)."""
    return _each(_discard, "quarantine.discard", ids, actor, reason, request_id, needs_reason=True)


def _each(
    one: Callable[[QuarantinedMessage, Actor], str | None], action: str, ids: Sequence[UUID], actor: Actor, reason: str,
    request_id: str | None, *, needs_reason: bool,
) -> BulkResult:  # fmt: skip
    def act() -> dict[str, object]:
        wanted, why = checked_ids(ids), checked_reason(reason, is_required=needs_reason)
        rows = {r.id: r for r in QuarantinedMessage.objects.select_for_update().filter(id__in=wanted).order_by("id")}
        done, refused = [], []
        for id in wanted:
            row = rows.get(id)
            refusal = (
                "does not exist" if row is None
                else f"already {row.state} by {row.resolved_by}" if row.state != State.OPEN
                else one(row, actor)
            )  # fmt: skip
            if refusal:
                refused.append(Refusal(id=id, why=refusal))
                record_refusal(actor, action, f"quarantine:{id}", refusal, reason=why, request_id=request_id)
            else:
                done.append(id)
                audit.record(actor, action, f"quarantine:{id}", reason=why, request_id=request_id)
        transaction.on_commit(
            lambda: signals.changed.send_robust(None, topics=frozenset({"quarantine", "messages", "audit"})),
            robust=True,
        )
        return BulkResult(done=tuple(done), refused=tuple(refused)).as_json()

    answer = carry_out(
        act, actor=actor, action=action, target=label(ids, "quarantine"), question=(list(ids), reason),
        request_id=request_id,
    )  # fmt: skip
    return BulkResult.from_json(answer)


def _retry(row: QuarantinedMessage, actor: Actor) -> str | None:
    try:
        with failpoints.atomic("quarantine.retry"):
            received = ingest.retry(row)
            _close(row, actor, State.ACCEPTED, message_id=received.message_id)
    except (ContractError, Backlogged) as problem:
        return f"still refused: {problem}"
    return None


def _discard(row: QuarantinedMessage, actor: Actor) -> str | None:
    _close(row, actor, State.DISCARDED)
    return None


def _close(row: QuarantinedMessage, actor: Actor, state: str, *, message_id: UUID | None = None) -> None:
    QuarantinedMessage.objects.filter(id=row.id, state=State.OPEN).update(
        state=state, resolved_at=store().now(), resolved_by=actor.name, message_id=message_id
    )
