"""Trip and reset breakers; put another rate or concurrency in place of the code's."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.db import transaction

from messaging import audit, signals
from messaging.actors import Actor
from messaging.database import store
from messaging.errors import ConfigurationError, OperationRefused
from messaging.failure import storable
from messaging.limits import Rate
from messaging.models import ConsumerState, Gate
from messaging.operations.guard import carry_out, checked_reason

Subject = Literal["consumer", "dependency"]
_CLOSED: dict[str, Any] = {
    "opened_at": None, "open_until": None, "opened_by": "", "open_reason": "", "probe_token": None,
    "probe_worker": None, "probe_at": None, "run": 0, "calls": 0, "failed": 0, "half_at": None, "earlier_calls": 0,
    "earlier_failed": 0,
}  # fmt: skip
_LONGEST_BURST = 1_000_000


def trip_breaker(
    *, kind: Subject, name: str, actor: Actor, reason: str, until: datetime | None = None, request_id: str | None = None
) -> None:
    """Open a breaker by hand: nothing is claimed until somebody resets it, or until a probe is due at ``until``."""

    def act() -> None:
        why, now = checked_reason(reason), store().now()
        if until is not None and (until.tzinfo is None or until <= now):
            raise OperationRefused("Give a time in the future, with its zone.", code="invalid", field="until")
        row = _with_breaker(kind, name)
        if row.opened_at and row.opened_by:
            raise OperationRefused(f"{name} was tripped by {row.opened_by} already.", code="conflict", field="name")
        changed = {**_CLOSED, "opened_at": now, "open_until": until, "opened_by": actor.name, "open_reason": why}
        Gate.objects.filter(id=row.id).update(**changed, times_opened=row.times_opened + 1)
        _note(actor, "breaker.trip", row.id, why, request_id, until=until.isoformat() if until else None)

    _carry_out(act, actor, "breaker.trip", f"{kind}:{name}", (kind, name, reason, until), request_id)


def reset_breaker(
    *, kind: Subject, name: str, actor: Actor, reason: str = "", request_id: str | None = None
) -> None:  # fmt: skip
    """Close a breaker by hand: what waits is claimed again, at once and without a probe."""

    def act() -> None:
        why = checked_reason(reason, is_required=False)
        row = _with_breaker(kind, name)
        if row.opened_at is None:
            raise OperationRefused(f"The breaker of {name} is not open.", code="conflict", field="name")
        Gate.objects.filter(id=row.id).update(**_CLOSED)
        _note(actor, "breaker.reset", row.id, why, request_id)

    _carry_out(act, actor, "breaker.reset", f"{kind}:{name}", (kind, name, reason), request_id)


def override_limits(
    *, name: str, actor: Actor, reason: str, rate: tuple[float, str, int | None] | None = None,
    concurrency: int | None = None, request_id: str | None = None,
) -> None:  # fmt: skip
    """Put a rate (count, per, burst), a concurrency or both in place of the code's, until they are cleared.

    They hold for new claims. Where the code has no limit at all, workers heed it from their next heartbeat on,
    and one that begins from its first claim.
    """

    def act() -> None:
        why = checked_reason(reason)
        given = _checked(rate, concurrency)
        row = _gate_of(name)
        Gate.objects.filter(id=row.id).update(
            override=given, overridden_by=actor.name, override_reason=why, overridden_at=store().now()
        )
        _note(actor, "limits.override", row.id, why, request_id, before=row.override, **given)

    question = (name, reason, list(rate) if rate else None, concurrency)
    _carry_out(act, actor, "limits.override", f"consumer:{name}", question, request_id)


def clear_override(*, name: str, actor: Actor, reason: str = "", request_id: str | None = None) -> None:
    """Let the limits of the code hold again."""

    def act() -> None:
        why = checked_reason(reason, is_required=False)
        row = _gate_of(name)
        cleared = Gate.objects.filter(id=row.id, overridden_at__isnull=False).update(
            override={}, overridden_by="", override_reason="", overridden_at=None
        )
        if not cleared:
            raise OperationRefused(f"{name} has the limits of its code.", code="conflict", field="name")
        _note(actor, "limits.clear", row.id, why, request_id, before=row.override)

    _carry_out(act, actor, "limits.clear", f"consumer:{name}", (name, reason), request_id)


def _carry_out(act: Any, actor: Actor, action: str, target: str, question: Any, request_id: str | None) -> None:
    carry_out(act, actor=actor, action=action, target=target, question=question, request_id=request_id)


def _note(actor: Actor, action: str, target: str, why: str, request_id: str | None, **details: Any) -> None:
    audit.record(actor, action, target, reason=why, request_id=request_id, **details)
    transaction.on_commit(
        lambda: signals.changed.send_robust(None, topics=frozenset({"consumers", "audit"})), robust=True
    )


def _with_breaker(kind: Subject, name: str) -> Gate:
    """Lock the gate of a subject that has a breaker."""
    row = Gate.objects.select_for_update().filter(id=f"{kind}:{storable(name)}").first()
    if row is None and (kind == "dependency" or not ConsumerState.objects.filter(name=storable(name)).exists()):
        raise OperationRefused(f"There is no {kind} {name!r}.", code="not_found", field="name")
    if row is None or not row.declared:
        raise OperationRefused(
            f"{name} has no breaker of its own; pause it instead.", code="conflict", field="name"
        )  # fmt: skip
    return row


def _gate_of(name: str) -> Gate:
    """Lock the gate of a consumer; make it where the code has no limits."""
    stored = storable(name)
    if not ConsumerState.objects.filter(name=stored).exists():
        raise OperationRefused(f"There is no consumer {name!r}.", code="not_found", field="name")
    id = f"consumer:{stored}"
    Gate.objects.bulk_create([Gate(id=id, kind=Gate.Kind.CONSUMER, name=stored)], ignore_conflicts=True)
    return Gate.objects.select_for_update().get(id=id)


def _checked(rate: tuple[float, str, int | None] | None, concurrency: int | None) -> dict[str, Any]:
    if rate is None and concurrency is None:
        raise OperationRefused("Give a rate, a concurrency or both.", code="invalid", field="rate")
    given: dict[str, Any] = {}
    if rate is not None:
        count, per, burst = rate
        try:
            limit = Rate(count, per=per, burst=burst)
        except ConfigurationError as error:
            raise OperationRefused(str(error), code="invalid", field="rate") from error
        if not 0 < limit.per_second < _LONGEST_BURST or limit.size > _LONGEST_BURST:
            raise OperationRefused(f"At most {_LONGEST_BURST:,} a second.", code="invalid", field="rate")
        given["rate_limit"] = limit.describe()
    if concurrency is not None:
        if not 1 <= concurrency <= 10_000:
            raise OperationRefused("Concurrency is between 1 and 10,000.", code="invalid", field="concurrency")
        given["concurrency"] = concurrency
    return given
