"""Append who did what. Outcomes of deliveries are audited by their attempts."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from messaging.actors import Actor
from messaging.database import store
from messaging.failure import storable
from messaging.models import AuditRecord, UnsealedRecords

DONE, REFUSED, DENIED = "done", "refused", "denied"


def record(
    actor: Actor, action: str, target: str, *, outcome: str = DONE, reason: str = "", request_id: str | None = None,
    **details: Any,
) -> None:  # fmt: skip
    """Append one audit record, and the note that it is to be sealed, in the caller's transaction."""
    # A denial has no transaction of its own; elsewhere a savepoint would only cost a round trip.
    with transaction.atomic(savepoint=False):
        appended = AuditRecord.objects.create(
            at=store().now(), actor=actor.name, actor_kind=actor.kind, address=storable(actor.address)[:64],
            action=action, outcome=outcome, target=storable(target)[:300], reason=reason,
            request_id=request_id or "", details=details,
        )  # fmt: skip
        UnsealedRecords.objects.create(kind="audit", ids=appended.id.bytes)
