"""Structured logs: what a record of a delivery carries, and one record for what came of each delivery.

A record says which message, never what was in it: bodies and the texts of exceptions stay in the tables, where they are
masked by contract.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, Protocol

from django.db import transaction

from messaging.context import current_correlation, current_scope, incoming_trace
from messaging.database.statements import Claimed

log = logging.getLogger("messaging.deliveries")
LEVELS = {
    "handled": logging.INFO,
    "ignored": logging.INFO,
    "postponed": logging.INFO,
    "retried": logging.WARNING,
    "crashed": logging.ERROR,
    "dead_lettered": logging.ERROR,
    "dropped": logging.ERROR,
}
FIELDS = ("consumer", "message_id", "message_type", "run", "attempt", "correlation_id", "trace_id")


class Ended(Protocol):
    """An execution, as far as its log record needs it."""

    @property
    def row(self) -> Claimed: ...

    @property
    def duration_us(self) -> int: ...

    @property
    def error(self) -> BaseException | None: ...


class DeliveryContext(logging.Filter):
    """Gives every record made during a delivery its message, consumer, correlation and trace.

    Put it on handlers, so that the records of your own code and of libraries carry them too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        scope = current_scope.get()
        if scope is not None:
            context = scope.context
            _fill(
                record, consumer=context.consumer, message_id=str(context.message_id), message_type=context.type,
                run=context.run, attempt=context.attempt, correlation_id=context.correlation_id,
                trace_id=context.traceparent[3:35],
            )  # fmt: skip
        else:
            _fill(record, correlation_id=current_correlation(), trace_id=(incoming_trace.get() or "")[3:35])
        record.delivery = _words(record)
        return True


def _fill(record: logging.LogRecord, **fields: Any) -> None:
    for name, value in fields.items():
        if value and not hasattr(record, name):
            setattr(record, name, value)


def _words(record: logging.LogRecord) -> str:
    """Return the context in words, for a terminal."""
    given = [f"{name}={getattr(record, name)}" for name in (*FIELDS, "error_type") if hasattr(record, name)]
    return f" [{' '.join(given)}]" if given else ""


def received(row: Claimed) -> None:
    """Log that a handler is about to run."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug("received", extra=_extra(row))


def after_commit(executions: Iterable[Ended], outcome: str) -> None:
    """Log each delivery's outcome once the open transaction has committed; nothing if it rolls back."""
    if log.isEnabledFor(LEVELS[outcome]):
        for execution in executions:
            transaction.on_commit(partial(_settled, execution, outcome), robust=True)


def _settled(execution: Ended, outcome: str) -> None:
    extra = _extra(execution.row) | {"outcome": outcome, "duration_ms": round(execution.duration_us / 1000, 3)}
    if execution.error is not None:
        extra["error_type"] = type(execution.error).__qualname__
    log.log(LEVELS[outcome], outcome.replace("_", " "), extra=extra)


def _extra(row: Claimed) -> dict[str, Any]:
    return {
        "consumer": row.consumer, "message_id": str(row.message_id), "message_type": row.type, "run": row.run,
        "attempt": row.failures + row.crashes + 1, "correlation_id": row.correlation_id,
        "trace_id": row.traceparent[3:35],
    }  # fmt: skip
