"""When a scheduled message is due, and how it is taken back."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from messaging import signals
from messaging.context import current_scope
from messaging.database import store
from messaging.errors import ConfigurationError, ContractError, TransactionRequired
from messaging.policy import LONGEST_WAIT, seconds
from messaging.settings import options


def due_time(*, delay: str | float | timedelta | None, at: datetime | None) -> datetime | None:
    """Return when a message with this ``delay`` or ``at`` is due; None for at once.

    Raises:
        ContractError: both are given, ``at`` has no zone, or it is more than ten years away.
    """
    if delay is None and at is None:
        return None
    if delay is not None and at is not None:
        raise ContractError("Give delay= or at=, not both.", field="delay")
    now = store().now()
    due_at = at if at is not None else now + timedelta(seconds=_wait(delay))
    if due_at.tzinfo is None:
        raise ContractError("at= must name its time zone, like datetime(..., tzinfo=UTC).", field="at")
    if due_at > now + timedelta(seconds=LONGEST_WAIT):
        raise ContractError("A message can wait ten years at most.", field="at" if at is not None else "delay")
    return due_at if due_at > now else None


def _wait(delay: str | float | timedelta | None) -> float:
    assert delay is not None
    try:
        wait = seconds(delay)
    except ConfigurationError as error:
        raise ContractError(f"delay={error}", field="delay") from error
    return min(wait, LONGEST_WAIT * 2)  # what is longer would be no timedelta; it is refused by its due time


def cancel_scheduled(message_id: UUID, *, reason: str = "") -> bool:
    """Take back a message that waits for its time; False when it has fired or was cancelled already.

    Inside a handler it takes effect with the handler's outcome.

    Raises:
        TransactionRequired: no transaction is open.
    """
    scope = current_scope.get()
    if scope is not None:
        unsent = [envelope for envelope in scope.published if envelope.id == message_id and envelope.due_at]
        if unsent:  # published by this very handler: it is not even stored yet
            scope.published.remove(unsent[0])
            return True
    if not transaction.get_connection().in_atomic_block:
        raise TransactionRequired("cancel_scheduled() needs an open transaction: wrap it in transaction.atomic().")
    return take_back(message_id, by=scope.context.consumer if scope else options().source, reason=reason)


def take_back(message_id: UUID, *, by: str, reason: str) -> bool:
    """Delete a scheduled message's row and note that it was cancelled. Needs a transaction."""
    if not store().take_back(message_id, by=by, reason=reason):
        return False
    transaction.on_commit(lambda: signals.changed.send_robust(None, topics=frozenset({"scheduled"})), robust=True)
    return True
