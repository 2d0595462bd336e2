"""Pause, drain and resume a consumer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from messaging import audit, signals
from messaging.actors import Actor
from messaging.database import store
from messaging.errors import OperationRefused
from messaging.failure import storable
from messaging.models import ConsumerState
from messaging.operations.guard import carry_out, checked_reason


def pause_consumer(
    *, name: str, actor: Actor, reason: str, until: datetime | None = None, request_id: str | None = None
) -> None:
    """Stop claiming for a consumer; what is in flight finishes. Needs a reason; ``until`` resumes it by itself."""

    def act() -> None:
        why, now = checked_reason(reason), store().now()
        if until is not None and (until.tzinfo is None or until <= now):
            raise OperationRefused(
                "The end of the pause must be a time in the future, with its zone.", code="invalid", field="until"
            )
        _change(
            name, lambda row: "already paused" if _is_paused(row, now) else None,
            paused_at=now, paused_by=actor.name, pause_reason=why, paused_until=until, drain_at=None,
        )  # fmt: skip
        audit.record(
            actor, "consumer.pause", f"consumer:{name}", reason=why, request_id=request_id,
            until=until.isoformat() if until else None,
        )  # fmt: skip

    carry_out(
        act, actor=actor, action="consumer.pause", target=f"consumer:{name}", question=(name, reason, until),
        request_id=request_id,
    )  # fmt: skip


def drain_consumer(*, name: str, actor: Actor, reason: str, request_id: str | None = None) -> None:
    """Finish what was relayed by now, then pause by itself: for a release that goes, or before a repair."""

    def act() -> None:
        why, now = checked_reason(reason), store().now()
        _change(
            name,
            lambda row: "already paused" if _is_paused(row, now) else "already draining" if row.drain_at else None,
            paused_at=None, paused_until=None, paused_by=actor.name, pause_reason=why, drain_at=now,
        )  # fmt: skip
        audit.record(actor, "consumer.drain", f"consumer:{name}", reason=why, request_id=request_id)

    carry_out(
        act, actor=actor, action="consumer.drain", target=f"consumer:{name}", question=(name, reason),
        request_id=request_id,
    )  # fmt: skip


def resume_consumer(*, name: str, actor: Actor, reason: str = "", request_id: str | None = None) -> None:
    """Claim again for a consumer that is paused, or end its draining."""

    def act() -> None:
        why, now = checked_reason(reason, is_required=False), store().now()
        _change(
            name, lambda row: None if _is_paused(row, now) or row.drain_at else "not paused",
            paused_at=None, paused_by="", pause_reason="", paused_until=None, drain_at=None,
        )  # fmt: skip
        audit.record(actor, "consumer.resume", f"consumer:{name}", reason=why, request_id=request_id)

    carry_out(
        act, actor=actor, action="consumer.resume", target=f"consumer:{name}", question=(name, reason),
        request_id=request_id,
    )  # fmt: skip


def _is_paused(row: ConsumerState, now: datetime) -> bool:
    return row.paused_at is not None and (row.paused_until is None or row.paused_until > now)


def _change(name: str, refusal: Any, **values: Any) -> None:
    row = ConsumerState.objects.select_for_update().filter(name=storable(name)).first()
    if row is None:
        raise OperationRefused(f"There is no consumer {name!r}.", code="not_found", field="name")
    why = refusal(row)
    if why:
        by = f" by {row.paused_by}" if row.paused_by else ""
        raise OperationRefused(f"{name} is {why}{by}.", code="conflict", field="name")
    ConsumerState.objects.filter(name=name).update(**values)
    transaction.on_commit(
        lambda: signals.changed.send_robust(None, topics=frozenset({"consumers", "audit"})), robust=True
    )
