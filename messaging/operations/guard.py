"""What every guarded operation shares: permission, reason, one transaction, idempotency, audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from messaging import audit, failpoints
from messaging.actors import OPERATE, Actor, Permission
from messaging.errors import OperationRefused
from messaging.failure import storable
from messaging.operations import requests

REASON_LIMIT = 2_000


def carry_out(
    act: Callable[[], Any],
    *,
    actor: Actor,
    action: str,
    target: str,
    question: tuple[Any, ...],
    request_id: str | None,
    permission: Permission = OPERATE,
) -> Any:
    """Run ``act`` in one transaction as ``actor`` and return its answer, plain JSON.

    The same ``request_id`` with the same ``question`` gets the first answer again. A denial or a refusal is audited
    after the rollback.

    Raises:
        OperationRefused: "forbidden", "request_id_reused", or what ``act`` raises.
    """
    target, noted_id = storable(target)[:300], storable(request_id or "")[:200]
    if not actor.may(permission):
        audit.record(actor, action, target, outcome=audit.DENIED, request_id=noted_id)
        raise OperationRefused(f"{actor.name} may not do this: it needs {permission!r}.", code="forbidden")
    try:
        with failpoints.atomic("operation"):
            if request_id is None:
                return act()
            return requests.once(
                actor_name=requests.asker(actor),
                request_id=request_id,
                fingerprint=requests.fingerprint(action, *question),
                act=act,
            ).value
    except OperationRefused as refused:
        audit.record(actor, action, target, outcome=audit.REFUSED, request_id=noted_id, why=str(refused))
        raise


def record_refusal(actor: Actor, action: str, target: str, why: str, *, reason: str, request_id: str | None) -> None:
    """Audit one row of a bulk operation that was left as it is."""
    audit.record(actor, action, target, outcome=audit.REFUSED, reason=reason, request_id=request_id, why=why)


def checked_reason(reason: str, *, is_required: bool = True) -> str:
    """Return the reason trimmed and storable.

    Raises:
        OperationRefused: it is missing or too long; ``field`` is "reason".
    """
    text = storable(reason).strip()
    if is_required and not text:
        raise OperationRefused("A reason is needed: it is kept in the audit.", code="invalid", field="reason")
    if len(text) > REASON_LIMIT:
        raise OperationRefused(f"A reason has at most {REASON_LIMIT} characters.", code="invalid", field="reason")
    return text
