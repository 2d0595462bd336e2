"""Run one handler on one message, and keep what came of it."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from messaging import clock, failpoints, logs, payloads, tracing
from messaging.consumers import Consumer
from messaging.context import Context, Scope, current_scope, transaction_depth
from messaging.contracts.model import MessageModel
from messaging.contracts.registry import decode
from messaging.database import store
from messaging.database.connections import is_aborted
from messaging.database.statements import Claimed
from messaging.delivery import spans
from messaging.envelope import Envelope
from messaging.errors import ContractError, MessageExpired, PermanentError


class SwallowedDatabaseError(PermanentError):
    """The handler caught a database error and went on, so nothing can be committed: use a savepoint around it."""


@dataclass(slots=True)
class Execution:
    """One run of a handler: when, how long, and its follow-ups or its error."""

    row: Claimed
    started_at: datetime
    duration_us: int = 0
    published: list[Envelope] | None = None
    error: Exception | SystemExit | None = None
    finished_at: datetime | None = None
    touched: dict[str, bool] = field(default_factory=dict)
    """Dependencies that the handler called, and whether a call failed."""
    span: Any = None
    """Of OpenTelemetry, not ended; None without tracing, and once it has ended."""
    batch: str = ""
    """Traceparent of the span of the batch it ran in, where spans are made."""

    @property
    def critical_us(self) -> int:
        """From the outbox row to handled, on the database's clock, in microseconds.

        Not from the publication: a scheduled message or a replay is not late.
        """
        ended = self.row.locked_at + timedelta(microseconds=self.duration_us)
        return max(0, int((ended - self.row.created_at).total_seconds() * 1_000_000))


def execute(consumer: Consumer, row: Claimed) -> Execution:
    """Decode the message and call the handler. An exception is kept in ``error``, never raised."""
    execution = Execution(row=row, started_at=clock.now())
    if tracing.is_on():
        spans.start(execution)
    began = time.perf_counter()
    scope = Scope(context=context_of(row), depth=transaction_depth(), depends_on=consumer.depends_on)
    token = current_scope.set(scope)
    try:
        with tracing.current(execution.span, row.headers) if execution.span is not None else nullcontext():
            call(consumer, read(consumer, row), scope.context, scope)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the one place where whatever a handler raises is caught
        execution.error = error
    finally:
        current_scope.reset(token)
        execution.duration_us = int((time.perf_counter() - began) * 1_000_000)
    execution.published, execution.touched = scope.published, scope.touched
    return execution


def read(consumer: Consumer, row: Claimed) -> MessageModel:
    """Return the message of a delivery as its handler wants it.

    Raises:
        MessageExpired, ContractError, BodyUnavailable: there is none to be handled.
    """
    if not row.type:
        raise ContractError("The message's row is gone: retention removed it while a delivery still waited.")
    if is_late(row):
        raise MessageExpired
    model = consumer.accepts.get(row.type)
    if model is None:
        raise ContractError(f"{consumer.name} does not handle {row.type}.", field="type")
    message = decode(row.type, row.version, payloads.content(row.body, row.blob), model=model)
    logs.received(row)
    return message


def is_late(row: Claimed) -> bool:
    """Say whether a message is expired by now: since it was locked its neighbours ran, or this process was frozen."""
    return row.expires_at is not None and row.is_expired_at(store().now())


def call(consumer: Consumer, what: Any, context: Any, scope: Scope) -> None:
    """Call the handler, and see to it that what it wrote can be committed.

    Raises:
        SwallowedDatabaseError: it cannot.
    """
    failpoints.reach("handler.before")
    consumer.handler(what, context)
    failpoints.reach("handler.after")
    if transaction_depth() != scope.depth:
        raise SwallowedDatabaseError("The handler left a transaction open or closed one that is not its own.")
    if connection.in_atomic_block and is_aborted():
        raise SwallowedDatabaseError


def context_of(row: Claimed) -> Context:
    """Return what the handler is told about its message."""
    return Context(
        message_id=row.message_id, type=row.type, version=row.version, consumer=row.consumer, run=row.run,
        attempt=row.failures + row.crashes + 1, correlation_id=row.correlation_id, causation_id=row.causation_id,
        key=row.key, headers=row.headers, source=row.source, tenant=row.tenant, published_at=row.published_at,
        traceparent=row.traceparent,
    )  # fmt: skip
