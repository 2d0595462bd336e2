"""Call a batch handler once for many messages, and keep what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.trace import SpanKind

from messaging import clock, tracing
from messaging.consumers import Consumer
from messaging.context import BatchContext, Scope, current_scope, transaction_depth
from messaging.database.statements import Claimed
from messaging.delivery import spans
from messaging.delivery.execution import Execution, call, context_of, read
from messaging.envelope import Envelope


@dataclass(slots=True)
class Together:
    """One call of a batch handler: an execution for each message; follow-ups or an error of the whole."""

    executions: list[Execution]
    published: list[Envelope] = field(default_factory=list)
    error: Exception | SystemExit | None = None
    culprit: int | None = None
    """The place of a message that could not even be read: it alone is to blame."""


def read_together(consumer: Consumer, rows: Sequence[Claimed]) -> tuple[Together, list[Any]]:
    """Read the messages of a batch; the first that cannot be read becomes its ``culprit``."""
    together = Together(executions=[Execution(row=row, started_at=clock.now()) for row in rows])
    messages = []
    for place, row in enumerate(rows):
        try:
            messages.append(read(consumer, row))
        except Exception as error:  # noqa: BLE001  an upcaster is the user's code
            together.error, together.culprit = error, place
            break
    return together, messages


def execute_together(consumer: Consumer, rows: Sequence[Claimed]) -> Together:
    """Read the messages and call a batch handler once. An exception is kept in ``error``, never raised."""
    began = time.perf_counter()
    together, messages = read_together(consumer, rows)
    if together.error is not None:
        return together
    batch = BatchContext(contexts=tuple(context_of(row) for row in rows))
    scope = Scope(context=batch.contexts[0], depth=transaction_depth(), depends_on=consumer.depends_on)
    token = current_scope.set(scope)
    try:
        with _span(consumer, rows) if tracing.is_on() else nullcontext() as current:
            if current is not None:
                scope.members = tuple(spans.reserve(each, batch=current) for each in together.executions)
            call(consumer, messages, batch, scope)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the one place where whatever a handler raises is caught
        together.error = error
    finally:
        current_scope.reset(token)
        share = int((time.perf_counter() - began) * 1_000_000) // len(rows)
        for execution in together.executions:
            execution.duration_us = share
    together.published = scope.published
    _remember(together)
    together.executions[0].touched = scope.touched
    return together


def _remember(together: Together) -> None:
    """What was published for a message has its handling as parent, also where the batch is rolled back."""
    if tracing.is_on():
        causes = {envelope.causation_id for envelope in together.published}
        for execution in together.executions:
            if str(execution.row.message_id) in causes:
                spans.remember(execution)


def _span(consumer: Consumer, rows: Sequence[Claimed]) -> Any:
    return tracing.span(
        f"process {consumer.name}", kind=SpanKind.CONSUMER, links=[row.traceparent for row in rows],
        messaging__system="signalbox", messaging__operation__name="process", messaging__operation__type="process",
        messaging__consumer__group__name=consumer.name, messaging__batch__message_count=len(rows),
    )  # fmt: skip
